#pragma once

#include <cstdint>

#include "common/order.h"

namespace intp {

// out[b, s] = features[b, order[b, s]], rows as bytes
struct RearrangeParams {
  const void* features;  // [B, R, row_bytes]
  void* out;             // [B, S, row_bytes]
  Order order;
  int64_t batch;                                                             // B
  int64_t rows;                                                              // R
  int64_t length;                                                            // S
  int64_t row_bytes;                                                         // C * element size
  int64_t features_stride_b, features_stride_r, out_stride_b, out_stride_s;  // bytes
};

}  // namespace intp
