#include "rearrange/cuda/launch.h"

#include <algorithm>

#include "rearrange/cuda/kernel.h"

namespace intp::cuda {
namespace {

template <class Vector>
void launch_with(const RearrangeParams& p, cudaStream_t stream) {
  constexpr int64_t kMostParts = 1 << 10, kMostBatches = 1 << 10;  // of a grid; the kernel loops
  RearrangeLaunch launch{p, 1, p.row_bytes / int64_t{sizeof(Vector)}};
  while (launch.lanes < kWarp && launch.lanes * kRearrangeBatch < launch.vectors) launch.lanes *= 2;
  const int64_t rows = kRearrangeThreads / launch.lanes,
                part = int64_t{kRearrangeBatch} * launch.lanes;
  const dim3 grid(static_cast<unsigned>((p.length + rows - 1) / rows),
                  static_cast<unsigned>(std::min((launch.vectors + part - 1) / part, kMostParts)),
                  static_cast<unsigned>(std::min(p.batch, kMostBatches)));
  launch_kernel(rearrange_kernel<Vector>, grid, kRearrangeThreads, 0, stream, launch);
}

}  // namespace

void launch_rearrange(const RearrangeParams& p, cudaStream_t stream) {
  // every address and length in one word: the widest vector that divides them all
  const uint64_t alignment =
      reinterpret_cast<uintptr_t>(p.features) | reinterpret_cast<uintptr_t>(p.out) | p.row_bytes |
      p.features_stride_b | p.features_stride_r | p.out_stride_b | p.out_stride_s;
  if (alignment % 16 == 0) {
    launch_with<uint4>(p, stream);
  } else if (alignment % 8 == 0) {
    launch_with<uint2>(p, stream);
  } else if (alignment % 4 == 0) {
    launch_with<uint32_t>(p, stream);
  } else if (alignment % 2 == 0) {
    launch_with<uint16_t>(p, stream);
  } else {
    launch_with<uint8_t>(p, stream);
  }
  check_launch("rearrange");
}

}  // namespace intp::cuda
