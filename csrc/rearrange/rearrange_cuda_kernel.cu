#include <algorithm>

#include "cuda/launch.h"
#include "rearrange/rearrange_cuda.h"

namespace intp {
namespace {

constexpr int kThreads = 256;

// One warp per output row, `Vector` at a time. Vectors a row: row_bytes / sizeof(Vector).
template <class Vector>
__global__ void __launch_bounds__(kThreads) rearrange_kernel(const RearrangeParams p) {
  constexpr int kWarp = 32, kWarps = kThreads / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int64_t vectors = p.row_bytes / int64_t{sizeof(Vector)};
  const int64_t rows = p.batch * p.length;
  const int64_t stride = int64_t{gridDim.x} * kWarps;
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; row < rows;
       row += stride) {
    const int64_t b = row / p.length, s = row % p.length;
    const int64_t source = source_row(p.order, b, s);
    auto* to = reinterpret_cast<Vector*>(static_cast<char*>(p.out) + b * p.out_stride_b +
                                         s * p.out_stride_s);
    if (source < 0 || source >= p.rows) {
      for (int64_t i = lane; i < vectors; i += kWarp) to[i] = Vector{};
      continue;
    }
    const auto* from =
        reinterpret_cast<const Vector*>(static_cast<const char*>(p.features) +
                                        b * p.features_stride_b + source * p.features_stride_r);
#pragma unroll 4
    for (int64_t i = lane; i < vectors; i += kWarp) to[i] = from[i];
  }
}

template <class Vector>
void launch(const RearrangeParams& p, cudaStream_t stream) {
  constexpr int64_t kWarps = kThreads / 32;
  const int64_t blocks = (p.batch * p.length + kWarps - 1) / kWarps;
  const auto grid = static_cast<unsigned>(std::min<int64_t>(blocks, 1 << 20));
  cuda::launch_kernel(rearrange_kernel<Vector>, grid, kThreads, 0, stream, p);
}

}  // namespace

void rearrange_cuda_launch(const RearrangeParams& p, cudaStream_t stream) {
  // every address and length in one word: the widest vector that divides them all
  const uint64_t alignment =
      reinterpret_cast<uintptr_t>(p.features) | reinterpret_cast<uintptr_t>(p.out) | p.row_bytes |
      p.features_stride_b | p.features_stride_r | p.out_stride_b | p.out_stride_s;
  if (alignment % 16 == 0) {
    launch<uint4>(p, stream);
  } else if (alignment % 8 == 0) {
    launch<uint2>(p, stream);
  } else if (alignment % 4 == 0) {
    launch<uint32_t>(p, stream);
  } else if (alignment % 2 == 0) {
    launch<uint16_t>(p, stream);
  } else {
    launch<uint8_t>(p, stream);
  }
  check_launch("rearrange");
}

}  // namespace intp
