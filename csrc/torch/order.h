#pragma once

#include "common/order.h"
#include "torch/check.h"

namespace intp {

// order: int32 or int64 [S], [1, S] or [B, S].
inline Order order_args(const char* where, const Tensor& order, int64_t batch) {
  const int64_t dim = order.dim();
  check(dim == 1 || (dim == 2 && (order.size(0) == 1 || order.size(0) == batch)), where,
        ": order: expected [S] or [", batch, ", S]");
  const bool batched = dim == 2 && order.size(0) == batch;
  return {order.const_data_ptr(), index_type(where, "order", order), batched ? order.stride(0) : 0,
          order.stride(dim - 1)};
}

// Reads every entry (host memory only): throws for the first outside 0 <= row < rows.
inline void check_order_range(const char* where, const Order& order, int64_t batch, int64_t length,
                              int64_t rows) {
  const int64_t distinct = order.stride_b == 0 ? 1 : batch;
  for (int64_t b = 0; b < distinct; ++b) {
    bool good = true;
    for (int64_t s = 0; s < length; ++s) {
      good &= static_cast<uint64_t>(source_row(order, b, s)) < static_cast<uint64_t>(rows);
    }
    for (int64_t s = 0; !good && s < length; ++s) {
      const int64_t row = source_row(order, b, s);
      check(0 <= row && row < rows, where, ": order[", s, "]: expected 0 <= row < ", rows, ", got ",
            row);
    }
  }
}

}  // namespace intp
