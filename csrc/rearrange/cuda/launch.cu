#include <algorithm>

#include "cuda/launch.h"
#include "rearrange/cuda/launch.h"

namespace intp {
namespace {

constexpr int kThreads = 256;
// Vectors that a thread has in flight. With 16 bytes each and 1024 threads a processor waits for
// 64 KiB; an H200's memory delivers some 50 KiB to each in the time of two reads (order, row).
constexpr int kBatch = 4;

struct GatherParams {
  RearrangeParams rows;
  int lanes;        // threads that share a row: a power of two, at most a warp
  int64_t vectors;  // of a row
};

// A group of `lanes` threads copies kBatch * lanes vectors of one row at a time; a small row takes
// a part of a warp, a large one many blocks. Grid: groups of rows x parts of a row x batch.
template <class Vector>
__global__ void __launch_bounds__(kThreads)
    rearrange_kernel(const __grid_constant__ GatherParams params) {
  const RearrangeParams& p = params.rows;
  const int lane = threadIdx.x % params.lanes;
  const int64_t s = int64_t{blockIdx.x} * (kThreads / params.lanes) + threadIdx.x / params.lanes;
  if (s >= p.length) return;
  const int64_t part = int64_t{kBatch} * params.lanes;
  for (int64_t b = blockIdx.z; b < p.batch; b += gridDim.z) {
    const int64_t source = source_row(p.order, b, s);
    const bool inside = 0 <= source && source < p.rows;
    const auto* from = reinterpret_cast<const Vector*>(static_cast<const char*>(p.features) +
                                                       b * p.features_stride_b +
                                                       (inside ? source * p.features_stride_r : 0));
    auto* to = reinterpret_cast<Vector*>(static_cast<char*>(p.out) + b * p.out_stride_b +
                                         s * p.out_stride_s);
    for (int64_t first = blockIdx.y * part + lane; first < params.vectors;
         first += gridDim.y * part) {
      Vector batch[kBatch];  // every read begins before the first is waited for
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int64_t at = first + i * params.lanes;
        batch[i] = inside && at < params.vectors ? from[at] : Vector{};
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int64_t at = first + i * params.lanes;
        if (at < params.vectors) to[at] = batch[i];
      }
    }
  }
}

template <class Vector>
void launch(const RearrangeParams& p, cudaStream_t stream) {
  constexpr int kWarp = 32;
  constexpr int64_t kMostParts = 1 << 10, kMostBatches = 1 << 10;  // of a grid; the kernel loops
  GatherParams params{p, 1, p.row_bytes / int64_t{sizeof(Vector)}};
  while (params.lanes < kWarp && params.lanes * kBatch < params.vectors) params.lanes *= 2;
  const int64_t rows = kThreads / params.lanes, part = int64_t{kBatch} * params.lanes;
  const dim3 grid(static_cast<unsigned>((p.length + rows - 1) / rows),
                  static_cast<unsigned>(std::min((params.vectors + part - 1) / part, kMostParts)),
                  static_cast<unsigned>(std::min(p.batch, kMostBatches)));
  cuda::launch_kernel(rearrange_kernel<Vector>, grid, kThreads, 0, stream, params);
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
