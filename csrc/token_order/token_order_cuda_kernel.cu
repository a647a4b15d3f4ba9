#include <algorithm>

#include "cuda/launch.h"
#include "token_order/token_order_cuda.h"

namespace intp {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    token_order_kernel(const Grouping grouping, int32_t* __restrict__ rows, const int64_t length) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t t = int64_t{blockIdx.x} * kThreads + threadIdx.x; t < length; t += stride) {
    rows[t] = static_cast<int32_t>(storage_row(grouping, t));
  }
}

}  // namespace

void token_order_cuda_launch(const Grouping& grouping, int32_t* rows, int64_t length,
                             cudaStream_t stream) {
  const auto blocks =
      static_cast<unsigned>(std::min<int64_t>((length + kThreads - 1) / kThreads, 4096));
  token_order_kernel<<<blocks, kThreads, 0, stream>>>(grouping, rows, length);
  check_launch("token_order");
}

}  // namespace intp
