#pragma once

#include "cuda/launch.h"
#include "rearrange/params.h"

namespace intp::cuda {

constexpr int kRearrangeThreads = 256;
// Vectors that a thread has in flight. With 16 bytes each and 1024 threads a processor waits for
// 64 KiB; an H200's memory delivers some 50 KiB to each in the time of two reads (order, row).
constexpr int kRearrangeBatch = 4;

// What the kernel is given.
struct RearrangeLaunch {
  RearrangeParams params;
  int lanes;        // threads that share a row: a power of two, at most a warp
  int64_t vectors;  // of a row
};

// A group of `lanes` threads copies kRearrangeBatch * lanes vectors of one row at a time. A small
// row takes a part of a warp, a large one many blocks.
// Grid: groups of rows x parts of a row x batch.
template <class Vector>
__global__ void __launch_bounds__(kRearrangeThreads)
    rearrange_kernel(const __grid_constant__ RearrangeLaunch launch) {
  const RearrangeParams& p = launch.params;
  const int lane = threadIdx.x % launch.lanes;
  const int64_t s =
      int64_t{blockIdx.x} * (kRearrangeThreads / launch.lanes) + threadIdx.x / launch.lanes;
  if (s >= p.length) return;
  const int64_t part = int64_t{kRearrangeBatch} * launch.lanes;
  for (int64_t b = blockIdx.z; b < p.batch; b += gridDim.z) {
    const int64_t source = source_row(p.order, b, s);
    const bool inside = 0 <= source && source < p.rows;
    const auto* from = reinterpret_cast<const Vector*>(static_cast<const char*>(p.features) +
                                                       b * p.features_stride_b +
                                                       (inside ? source * p.features_stride_r : 0));
    auto* to = reinterpret_cast<Vector*>(static_cast<char*>(p.out) + b * p.out_stride_b +
                                         s * p.out_stride_s);
    for (int64_t first = blockIdx.y * part + lane; first < launch.vectors;
         first += gridDim.y * part) {
      Vector batch[kRearrangeBatch];  // every read begins before the first is waited for
#pragma unroll
      for (int i = 0; i < kRearrangeBatch; ++i) {
        const int64_t at = first + i * launch.lanes;
        batch[i] = inside && at < launch.vectors ? from[at] : Vector{};
      }
#pragma unroll
      for (int i = 0; i < kRearrangeBatch; ++i) {
        const int64_t at = first + i * launch.lanes;
        if (at < launch.vectors) to[at] = batch[i];
      }
    }
  }
}

}  // namespace intp::cuda
