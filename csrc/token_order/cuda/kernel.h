#pragma once

#include "cuda/launch.h"
#include "token_order/params.h"

namespace intp::cuda {

constexpr int kTokenOrderThreads = 256;

static __global__ void __launch_bounds__(kTokenOrderThreads)
    token_order_kernel(const TokenOrderParams p) {
  const int64_t stride = int64_t{gridDim.x} * kTokenOrderThreads;
  for (int64_t t = int64_t{blockIdx.x} * kTokenOrderThreads + threadIdx.x; t < p.length;
       t += stride) {
    p.rows[t] = static_cast<int32_t>(storage_row(p.grouping, t));
  }
}

}  // namespace intp::cuda
