#pragma once

#include <cstdint>

#include "common/order.h"
#include "cpu/target.h"

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

// Output rows begin <= b * S + s < end. Every order entry must lie in 0 <= row < R.
INTP_DECLARE_CPU_KERNEL(void, rearrange_rows, const RearrangeParams& params, int64_t begin,
                        int64_t end)
