#include "rope/cuda/launch.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "rope/cuda/kernel.h"

namespace intp::cuda {
namespace {

constexpr int64_t kMostFrequencies = 6144;  // cos and sin of a token: 48 KiB of shared memory

// Is every address, stride and count a multiple of `elements`?
template <class T>
bool all_aligned(const RopeParams& p, int64_t elements) {
  int64_t counts = p.frequencies | p.head_dim;
  uintptr_t addresses = 0;
  for (int i = 0; i < p.tensor_count; ++i) {
    const RopeTensor& t = p.tensors[i];
    counts |= t.in_stride_b | t.in_stride_h | t.in_stride_s;
    counts |= t.out_stride_b | t.out_stride_h | t.out_stride_s;
    addresses |= reinterpret_cast<uintptr_t>(t.in) | reinterpret_cast<uintptr_t>(t.out);
  }
  return counts % elements == 0 && addresses % (elements * sizeof(T)) == 0;
}

// Tokens of a block: four batches of items for each thread, a sine or two for each to compute, and
// still some blocks for every processor of a large card.
template <class Traits>
int tokens_of_block(const RopeParams& p) {
  constexpr int64_t kItems = 4 * Traits::kBatch * Traits::kThreads, kBlocks = 512;
  const int64_t packs = (p.head_dim - p.frequencies) / Traits::N;
  const int64_t heads = p.tensors[0].heads + p.tensors[1].heads;
  int64_t tokens = std::max<int64_t>(1, kItems / std::max<int64_t>(1, heads * packs));
  tokens = std::min(tokens, kMostFrequencies / std::max<int64_t>(1, p.frequencies));
  tokens = std::min(tokens, std::max<int64_t>(1, p.batch * p.length / kBlocks));
  return static_cast<int>(std::max<int64_t>(1, tokens));
}

template <class Traits>
void launch_with(const RopeParams& p, cudaStream_t stream) {
  constexpr int64_t kMostBatches = 1 << 10;  // of a grid; the kernel loops
  const RopeLaunch launch{p, tokens_of_block<Traits>(p)};
  const dim3 grid(static_cast<unsigned>((p.length + launch.tokens - 1) / launch.tokens),
                  static_cast<unsigned>(std::min(p.batch, kMostBatches)));
  const auto shared = static_cast<int>(2 * launch.tokens * p.frequencies * int64_t{sizeof(float)});
  launch_kernel(rope_kernel<Traits>, grid, Traits::kThreads, shared, stream, launch);
}

template <class T>
void launch_type(const RopeParams& p, cudaStream_t stream) {
  constexpr int kWide = 16 / sizeof(T);
  if (all_aligned<T>(p, kWide)) {
    launch_with<RopeTraits<T, kWide>>(p, stream);
  } else {
    launch_with<RopeTraits<T, 1>>(p, stream);
  }
}

}  // namespace

void launch_rope(const RopeParams& p, cudaStream_t stream) {
  constexpr int64_t kMostTokens = 0x7fffffff, kMostItems = 1 << 30;
  if (p.length > kMostTokens || p.frequencies > kMostFrequencies ||
      (p.tensors[0].heads + p.tensors[1].heads) * p.head_dim > kMostItems) {
    throw std::invalid_argument(
        "apply_rope: expected at most 2^31 - 1 tokens, 6144 frequencies and 2^30 channels a token");
  }
  switch (p.type) {
    case FloatType::kFloat32:
      launch_type<float>(p, stream);
      break;
    case FloatType::kBFloat16:
      launch_type<__nv_bfloat16>(p, stream);
      break;
    case FloatType::kFloat16:
      launch_type<__half>(p, stream);
      break;
  }
  check_launch("apply_rope");
}

}  // namespace intp::cuda
