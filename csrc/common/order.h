#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/macros.h"

namespace intp {

// Which input row each output row comes from: int32 or int64 [S] or [B, S].
struct Order {
  const void* data;  // nullptr: every row from its own place
  NumberType type;
  int64_t stride_b;  // 0 for [S]
  int64_t stride_s;
};

INTP_HD int64_t source_row(const Order& order, int64_t b, int64_t s) {
  if (order.data == nullptr) return s;
  return load_index(order.data, order.type, b * order.stride_b + s * order.stride_s);
}

}  // namespace intp
