#pragma once

// Prefill: a block computes a tile of rows against the keys they see, a tile of keys at a time.
//
//     time ->      K0 | Q K0^T | softmax |  P V0   | Q K1^T | softmax | P V1
//     loading      K0 |   V0   |  K1     |   K1    |   V1   |  K2     | K2       (cp.async)
//
// One tile of keys and one of values are in shared memory; each is loaded while the other is used.
// After FlashAttention-2 (Dao, arXiv 2307.08691).

#include "attention/cuda/block.h"
#include "attention/cuda/fragments.h"
#include "cuda/launch.h"

namespace intp::cuda {

template <class T, int kDim>
struct PrefillShared {
  static constexpr AttentionTile kTile = attention_tile(AttentionKernel::kPrefill, kDim);

  T q[kTile.rows * kDim];  // swizzled, as k and v; in the end the output
  T k[kTile.keys * kDim];
  T v[kTile.keys * kDim];
  VisibleKeys<kTile.rows> visible;
  // Of the block, where they take no registers of the main loop.
  BlockTask task;
  TileShare share;
  ScoreScale scale;
};

template <class T, int kDim>
class PrefillBlock {
  using Shared = PrefillShared<T, kDim>;
  static constexpr AttentionTile kTile = Shared::kTile;
  static constexpr int kThreads = kTile.warps * kWarp;
  static constexpr int kWarpRows = kTile.rows / kTile.warps;
  static constexpr int kM = kWarpRows / 16;

 public:
  INTP_DEVICE explicit PrefillBlock(const AttentionLaunch& launch)
      : launch_(launch), p_(launch.params), shared_(*static_cast<Shared*>(dynamic_shared())) {}

  INTP_DEVICE void run() {
    prepare();
    // All but n is read anew from shared memory: at D = 128 every register counts.
    const TileShare& share = shared_.share;
    int n = share.begin;
    if (n < share.end) copy_tile(p_.k, head_dim(), shared_.k, first_key(n));
    commit_copies();

    sums_.clear();
    for (; n < share.end; ++n) {
      wait_copies<0>();
      __syncthreads();  // k has arrived, v has been used
      copy_tile(p_.v, value_dim(), shared_.v, first_key(n));
      commit_copies();

      float scores[kM][kTile.keys / 8][4];
      multiply_keys<T, kDim, kM, kTile.keys>(
          scores, shared_.k, [&](int m, int c, uint32_t (&a)[4]) { load_query(m, c, a); });
      cap_scores(scores, shared_.scale);  // here: later there is no register for it at D = 128
      wait_copies<0>();
      __syncthreads();  // v has arrived, k has been used
      if (n + 1 < share.end) copy_tile(p_.k, head_dim(), shared_.k, first_key(n + 1));
      commit_copies();

      const int begin = first_key(n);
      if (!shared_.visible.is_full({begin, begin + kTile.keys})) {
        mask_scores<kM, kTile.keys>(scores, shared_.visible.rows + warp_row(), begin);
      }
      sums_.weigh(scores, shared_.scale.factor);
      multiply_values<T, kDim, kM, kTile.keys>(sums_.o, scores, shared_.v);
    }
    finish();
  }

 private:
  INTP_DEVICE void prepare() {
    const BlockTask task = block_task(launch_, 1, kTile.rows);
    copy_queries(task);
    shared_.visible.fill(p_, task);
    __syncthreads();
    if (threadIdx.x == 0) {
      shared_.task = task;
      shared_.scale = score_scale(p_);
      shared_.share = share_tiles(launch_, shared_.visible.any, task.split, kTile.keys);
    }
    wait_copies<0>();
    if (p_.scale <= 0.0f) sign_queries();
    __syncthreads();
  }

  INTP_DEVICE int first_key(int n) const { return tile_at(shared_.share.list, n) * kTile.keys; }

  // The warp's first row of the tile.
  INTP_DEVICE static int warp_row() { return static_cast<int>(threadIdx.x) / kWarp * kWarpRows; }

  // Rows of the tile, without those beyond the last.
  INTP_DEVICE int rows(const BlockTask& task) const {
    return static_cast<int>(least(kTile.rows, attention_rows(p_) - task.row));
  }

  INTP_DEVICE int head_dim() const { return static_cast<int>(p_.head_dim); }
  INTP_DEVICE int value_dim() const { return static_cast<int>(p_.value_dim); }

  INTP_DEVICE void copy_queries(const BlockTask& task) {
    const T* q = static_cast<const T*>(p_.q.data);
    const int end = rows(task);
    copy_rows<T, kDim, kTile.rows, kThreads>(
        shared_.q, threadIdx.x, head_dim(),
        [&](int r) { return q + row_offset(p_, p_.q, task, task.row + r); },
        [&](int r) { return r < end; });
    commit_copies();
  }

  // Each thread those 16-byte pieces that it copied.
  INTP_DEVICE void sign_queries() {
    constexpr int kLanes = Swizzle<kDim>::kGroup;
    for (int r = threadIdx.x / kLanes; r < kTile.rows; r += kThreads / kLanes) {
      for (int chunk = threadIdx.x % kLanes; chunk < kDim / 8; chunk += kLanes) {
        auto* pairs = reinterpret_cast<uint32_t*>(shared_.q + Swizzle<kDim>::at(r, chunk));
        for (int i = 0; i < 4; ++i) pairs[i] = signed_query(pairs[i], p_.scale);
      }
    }
  }

  // Keys that no row of the block sees are not read.
  INTP_DEVICE void copy_tile(const AttentionTensor<const void>& x, int channels, T* tile,
                             int begin) {
    const T* from = head_data<T>(x, shared_.task) + begin * x.stride_s;
    const auto address = [&](int r) { return from + r * x.stride_s; };
    if (shared_.visible.is_full({begin, begin + kTile.keys})) {
      copy_rows<T, kDim, kTile.keys, kThreads>(tile, threadIdx.x, channels, address,
                                               [](int) { return true; });
    } else {
      const KeySpans32 visible = shared_.visible.any;
      copy_rows<T, kDim, kTile.keys, kThreads>(tile, threadIdx.x, channels, address,
                                               [&](int r) { return contains(visible, begin + r); });
    }
  }

  INTP_DEVICE void load_query(int m, int c, uint32_t (&a)[4]) const {
    const int lane = threadIdx.x % kWarp;
    const int at = Swizzle<kDim>::at(warp_row() + lane % 16, lane / 16);
    load_matrices(a, shared_.q + Swizzle<kDim>::move(at, 2 * c) + 16 * m * kDim);
  }

  INTP_DEVICE void finish() {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        sums_.total[m][half] = row_sum(sums_.total[m][half]);
      }
    }
    if (launch_.splits > 1) {
      write_partial();
    } else {
      write_output();
    }
  }

  INTP_DEVICE void write_partial() {
    const BlockTask task = shared_.task;
    const int end = rows(task);
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = warp_row() + 16 * m + 8 * half + lane / 4;
        if (row >= end) continue;
        const Partial to = partial_of(launch_, task.head, task.split, task.row + row);
        if (lane % 4 == 0) *to.stats = {sums_.maximum[m][half], sums_.total[m][half]};
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          const int channel = 8 * d + lane % 4 * 2;
          if (channel >= value_dim()) continue;
          *reinterpret_cast<float2*>(to.sums + channel) = {sums_.o[m][d][2 * half],
                                                           sums_.o[m][d][2 * half + 1]};
        }
      }
    }
  }

  // Through shared memory, each warp where its own queries were, to write 16 bytes at a time.
  INTP_DEVICE void write_output() {
    const BlockTask task = shared_.task;
    const int end = rows(task);
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = warp_row() + 16 * m + 8 * half + lane / 4;
        const float sink = sink_weight(p_, task, task.row + row, sums_.maximum[m][half]);
        const float total = sums_.total[m][half] + sink;
        const float factor = inverse_total(total, [&] { return shared_.visible.rows[row]; });
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          *reinterpret_cast<uint32_t*>(shared_.q + Swizzle<kDim>::at(row, d) + lane % 4 * 2) =
              pack(T{}, sums_.o[m][d][2 * half] * factor, sums_.o[m][d][2 * half + 1] * factor);
        }
      }
    }
    __syncwarp();
    constexpr int kLanes = Swizzle<kDim>::kGroup;
    for (int r = warp_row() + lane / kLanes; r < warp_row() + kWarpRows; r += kWarp / kLanes) {
      if (r >= end) break;
      T* out = static_cast<T*>(p_.out.data) + row_offset(p_, p_.out, task, task.row + r);
      for (int chunk = lane % kLanes; chunk * 8 < value_dim(); chunk += kLanes) {
        *reinterpret_cast<uint4*>(out + chunk * 8) =
            *reinterpret_cast<const uint4*>(shared_.q + Swizzle<kDim>::at(r, chunk));
      }
    }
  }

  const AttentionLaunch& launch_;
  const AttentionParams& p_;
  Shared& shared_;
  RunningSums<kM, kDim> sums_;
};

template <class T, int kDim>
__global__ void __launch_bounds__(PrefillShared<T, kDim>::kTile.warps* kWarp,
                                  PrefillShared<T, kDim>::kTile.blocks)
    prefill_kernel(const AttentionLaunch launch) {
  PrefillBlock<T, kDim>(launch).run();
}

template <class T, int kDim>
void launch_prefill_of(const AttentionLaunch& launch, int blocks, cudaStream_t stream) {
  using Shared = PrefillShared<T, kDim>;
  static_assert(sizeof(Shared) <= kMostShared);
  launch_kernel(prefill_kernel<T, kDim>, dim3(blocks), Shared::kTile.warps * kWarp, sizeof(Shared),
                stream, launch);
}

template <class T>
void launch_prefill(const AttentionLaunch& launch, int blocks, cudaStream_t stream) {
  switch (prefill_dim(launch.params.head_dim)) {
    case 64:
      return launch_prefill_of<T, 64>(launch, blocks, stream);
    case 96:
      return launch_prefill_of<T, 96>(launch, blocks, stream);
    case 128:
      return launch_prefill_of<T, 128>(launch, blocks, stream);
    case 192:
      return launch_prefill_of<T, 192>(launch, blocks, stream);
    default:
      return launch_prefill_of<T, 256>(launch, blocks, stream);
  }
}

}  // namespace intp::cuda
