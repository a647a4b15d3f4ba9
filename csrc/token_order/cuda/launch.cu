#include <algorithm>

#include "cuda/launch.h"
#include "token_order/cuda/launch.h"

namespace intp {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) token_order_kernel(const TokenOrderParams p) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t t = int64_t{blockIdx.x} * kThreads + threadIdx.x; t < p.length; t += stride) {
    p.rows[t] = static_cast<int32_t>(storage_row(p.grouping, t));
  }
}

}  // namespace

void token_order_cuda_launch(const TokenOrderParams& p, cudaStream_t stream) {
  const auto blocks =
      static_cast<unsigned>(std::min<int64_t>((p.length + kThreads - 1) / kThreads, 4096));
  cuda::launch_kernel(token_order_kernel, blocks, kThreads, 0, stream, p);
  check_launch("token_order");
}

}  // namespace intp
