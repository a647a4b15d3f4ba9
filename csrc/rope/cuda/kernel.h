#pragma once

// The kernel of apply_rope: gather, rotate, write, in one pass over q and k.

#include "cuda/launch.h"
#include "rope/params.h"

namespace intp::cuda {

// T: an element; N: elements that are read and written at once. N divides F, D and every stride,
// and every address is aligned to N elements.
template <class T_, int N_>
struct RopeTraits {
  using T = T_;
  static constexpr int N = N_;
  static constexpr int kThreads = 256;
  // Items that a thread has in flight, an item being N channels and their partners: with 16 bytes
  // each and 1024 threads a processor waits for 64 KiB.
  static constexpr int kBatch = 2;
  struct alignas(sizeof(T) * N) Pack {
    T lane[N];
  };
};

// What the kernel is given.
struct RopeLaunch {
  RopeParams params;
  int tokens;  // of a block
};

// What a block works on: tokens first <= s < first + tokens of batch row b. Its items lie in the
// order of memory [S, H, D]: packs of a head, heads of a token (q, then k), tokens.
struct RopeBlock {
  int64_t b, first;
  int tokens, heads;
  int rotated;  // packs of a half that is rotated
  int packs;    // of a head: rotated, then those that pass through
  int items;    // tokens * heads * packs
};

struct RopeItem {
  const RopeTensor* tensor;
  int token, head, pack;
  int channel;  // the first one of the pack
};

template <class Traits>
INTP_DEVICE RopeItem rope_item(const RopeParams& p, const RopeBlock& block, int index) {
  const int row = index / block.packs, token = row / block.heads;
  const int pack = index - row * block.packs, head = row - token * block.heads;
  const int heads = static_cast<int>(p.tensors[0].heads);
  const int channel = (pack < block.rotated ? pack : block.rotated + pack) * Traits::N;
  if (head < heads) return {&p.tensors[0], token, head, pack, channel};
  return {&p.tensors[1], token, head - heads, pack, channel};
}

// cos and sin [tokens, F], once for all heads.
template <class Traits>
INTP_DEVICE void fill_table(const RopeParams& p, const RopeBlock& block, float* cos, float* sin) {
  const int frequencies = static_cast<int>(p.frequencies);
  for (int i = threadIdx.x; i < block.tokens * frequencies; i += Traits::kThreads) {
    const int token = i / frequencies, f = i - token * frequencies;
    const SinCos at = rope_sincos(p, block.b, block.first + token, f);
    cos[i] = at.cos;
    sin[i] = at.sin;
  }
}

// What a thread reads at once: channels c (low) and c + F (high) of kBatch items, kThreads apart.
template <class Traits>
struct RopeBatch {
  typename Traits::Pack low[Traits::kBatch], high[Traits::kBatch];
};

template <class Traits>
INTP_DEVICE void load_batch(const RopeParams& p, const RopeBlock& block, int index,
                            RopeBatch<Traits>& batch) {
  using Pack = typename Traits::Pack;
#pragma unroll
  for (int i = 0; i < Traits::kBatch; ++i, index += Traits::kThreads) {
    batch.low[i] = batch.high[i] = Pack{};
    if (index >= block.items) continue;
    const RopeItem item = rope_item<Traits>(p, block, index);
    const int64_t source = source_row(p.order, block.b, block.first + item.token);
    if (source < 0 || source >= p.rows) continue;
    const RopeTensor& x = *item.tensor;
    const auto* from = static_cast<const typename Traits::T*>(x.in) + block.b * x.in_stride_b +
                       source * x.in_stride_s + item.head * x.in_stride_h + item.channel;
    batch.low[i] = *reinterpret_cast<const Pack*>(from);
    if (item.pack < block.rotated) {
      batch.high[i] = *reinterpret_cast<const Pack*>(from + p.frequencies);
    }
  }
}

template <class Traits>
INTP_DEVICE void store_batch(const RopeParams& p, const RopeBlock& block, int index,
                             RopeBatch<Traits>& batch, const float* cos, const float* sin) {
  using T = typename Traits::T;
  using Pack = typename Traits::Pack;
#pragma unroll
  for (int i = 0; i < Traits::kBatch; ++i, index += Traits::kThreads) {
    if (index >= block.items) continue;
    const RopeItem item = rope_item<Traits>(p, block, index);
    const RopeTensor& x = *item.tensor;
    auto* to = static_cast<T*>(x.out) + block.b * x.out_stride_b +
               (block.first + item.token) * x.out_stride_s + item.head * x.out_stride_h +
               item.channel;
    Pack low = batch.low[i], high = batch.high[i];
    if (item.pack < block.rotated) {
      const int row = item.token * static_cast<int>(p.frequencies) + item.channel;
#pragma unroll
      for (int n = 0; n < Traits::N; ++n) {
        const auto rotated = rotate(static_cast<float>(low.lane[n]),
                                    static_cast<float>(high.lane[n]), cos[row + n], sin[row + n]);
        low.lane[n] = static_cast<T>(rotated.first);
        high.lane[n] = static_cast<T>(rotated.second);
      }
      *reinterpret_cast<Pack*>(to + p.frequencies) = high;
    }
    *reinterpret_cast<Pack*>(to) = low;
  }
}

// Grid: tiles of tokens x batch. The first reads are in flight while the sines are computed.
template <class Traits>
__global__ void __launch_bounds__(Traits::kThreads, 4)
    rope_kernel(const __grid_constant__ RopeLaunch launch) {
  const RopeParams& p = launch.params;
  auto* cos = static_cast<float*>(dynamic_shared());
  float* sin = cos + launch.tokens * p.frequencies;
  RopeBlock block;
  block.first = int64_t{blockIdx.x} * launch.tokens;
  block.tokens = static_cast<int>(min(int64_t{launch.tokens}, p.length - block.first));
  block.heads = static_cast<int>(p.tensors[0].heads + p.tensors[1].heads);
  block.rotated = static_cast<int>(p.frequencies) / Traits::N;
  block.packs = static_cast<int>(p.head_dim) / Traits::N - block.rotated;
  block.items = block.tokens * block.heads * block.packs;
  RopeBatch<Traits> batch;
  for (block.b = blockIdx.y; block.b < p.batch; block.b += gridDim.y) {
    int index = threadIdx.x;
    load_batch(p, block, index, batch);
    fill_table<Traits>(p, block, cos, sin);
    __syncthreads();
    while (index < block.items) {
      store_batch(p, block, index, batch, cos, sin);
      index += Traits::kBatch * Traits::kThreads;
      load_batch(p, block, index, batch);
    }
    __syncthreads();  // before the table of the next batch row
  }
}

}  // namespace intp::cuda
