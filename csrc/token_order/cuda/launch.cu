#include "token_order/cuda/launch.h"

#include <algorithm>

#include "token_order/cuda/kernel.h"

namespace intp::cuda {

void launch_token_order(const TokenOrderParams& p, cudaStream_t stream) {
  constexpr int64_t kMostBlocks = 4096;  // the kernel loops
  const int64_t blocks = (p.length + kTokenOrderThreads - 1) / kTokenOrderThreads;
  launch_kernel(token_order_kernel, static_cast<unsigned>(std::min(blocks, kMostBlocks)),
                kTokenOrderThreads, 0, stream, p);
  check_launch("token_order");
}

}  // namespace intp::cuda
