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
  FullTiles full;
  ScoreScale scale;
  uint2 ones;  // a pair of 1, twice
  struct alignas(16) Rows {
    const T* first;  // of the key head
    int64_t step;    // bytes from a row to the next one that the same thread copies
  };
  Rows keys, values;
};

template <class T, int kDim>
class PrefillBlock {
  using Shared = PrefillShared<T, kDim>;
  using Rows = typename Shared::Rows;
  static constexpr AttentionTile kTile = Shared::kTile;
  static constexpr int kThreads = kTile.warps * kWarp;
  static constexpr int kWarpRows = kTile.rows / kTile.warps;
  static constexpr int kM = kWarpRows / 16;
  static constexpr bool kSumByProduct = kDim != 128;  // where it has the registers

 public:
  INTP_DEVICE explicit PrefillBlock(const AttentionLaunch& launch)
      : launch_(launch), p_(launch.params), shared_(*static_cast<Shared*>(dynamic_shared())) {}

  INTP_DEVICE void run() {
    prepare();
    const int key_at = keep(key_row<kDim>()), value_at = keep(value_row<kDim>());
    // All but these is read anew from shared memory: at D = 128 every register counts.
    int n = shared_.share.begin;
    int begin = 0;
    bool is_full = false;
    const auto copy_keys = [&] {
      begin = tile_at(shared_.share.list, n) * kTile.keys;
      is_full = shared_.full.contains(begin);
      copy_tile(shared_.keys, p_.k.stride_s, head_dim(), shared_.k, begin, is_full);
    };
    bool more = n < shared_.share.end;
    if (more) copy_keys();
    commit_copies();

    sums_.clear();
    while (more) {
      wait_copies<0>();
      __syncthreads();  // k has arrived, v has been used
      copy_tile(shared_.values, p_.v.stride_s, value_dim(), shared_.v, begin, is_full);
      commit_copies();

      float scores[kM][kTile.keys / 8][4];
      multiply_keys<T, kDim, kM, kTile.keys>(
          scores, shared_.k, [&](int m, int c, uint32_t (&a)[4]) { load_query(m, c, a); }, key_at);
      // here: later there is no register for it at D = 128
      if (p_.softcap > 0.0f) cap_scores(scores, shared_.scale);
      wait_copies<0>();
      __syncthreads();  // v has arrived, k has been used
      const int used = begin;
      const bool is_edge = !is_full;
      ++n;
      more = n < shared_.share.end;
      if (more) copy_keys();
      commit_copies();

      if (is_edge) mask_scores<kM, kTile.keys>(scores, shared_.visible.rows + warp_row(), used);
      sums_.weigh(scores, shared_.scale.factor);
      sums_.template add<T, kTile.keys>(scores, shared_.v, value_at, shared_.ones);
    }
    finish();
  }

 private:
  static constexpr int kLanes = Swizzle<kDim>::kGroup;  // threads side by side on a row
  static constexpr int kRowsAtOnce = kThreads / kLanes;
  static constexpr int64_t kStep = kRowsAtOnce * sizeof(T);

  INTP_DEVICE void prepare() {
    const BlockTask task = block_task(launch_, 1, kTile.rows);
    copy_queries(task);
    shared_.visible.fill(p_, task);
    __syncthreads();
    if (threadIdx.x == 0) {
      shared_.task = task;
      shared_.scale = score_scale(p_);
      shared_.share = share_tiles(launch_, shared_.visible.any, task.split, kTile.keys);
      shared_.ones = {pack(T{}, 1.0f, 1.0f), pack(T{}, 1.0f, 1.0f)};
      shared_.keys = {head_data<T>(p_.k, task), kStep * p_.k.stride_s};
      shared_.values = {head_data<T>(p_.v, task), kStep * p_.v.stride_s};
      shared_.full = full_tiles(shared_.visible.all, kTile.keys);
    }
    wait_copies<0>();
    if (p_.scale <= 0.0f) sign_queries();
    __syncthreads();
  }

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
    for (int r = threadIdx.x / kLanes; r < kTile.rows; r += kThreads / kLanes) {
      for (int chunk = threadIdx.x % kLanes; chunk < kDim / 8; chunk += kLanes) {
        auto* pairs = reinterpret_cast<uint32_t*>(shared_.q + Swizzle<kDim>::at(r, chunk));
        for (int i = 0; i < 4; ++i) pairs[i] = signed_query(pairs[i], p_.scale);
      }
    }
  }

  // Keys that no row of the block sees are not read.
  INTP_DEVICE void copy_tile(Rows rows, int64_t stride, int channels, T* to, int begin,
                             bool is_full) {
    if (is_full) {
      copy_pieces(rows, stride, channels, to, begin, [](int) { return true; });
    } else {
      const KeySpans32 visible = shared_.visible.any;
      copy_pieces(rows, stride, channels, to, begin, [&](int key) { return sees(visible, key); });
    }
  }

  // A thread copies 16 bytes, or more, of every kRowsAtOnce-th row.
  template <class Reads>
  INTP_DEVICE void copy_pieces(Rows rows, int64_t stride, int channels, T* to, int begin,
                               const Reads& reads) {
    static_assert(kRowsAtOnce % 8 == 0);  // rows so far apart are swizzled alike
    const int row = static_cast<int>(threadIdx.x) / kLanes;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    T* const first = to + Swizzle<kDim>::at(row, lane);
    const auto* from = reinterpret_cast<const char*>(
        rows.first + static_cast<uint32_t>(begin + row) * stride + 8 * lane);
#pragma unroll
    for (int r = 0; r < kTile.keys; r += kRowsAtOnce) {
      const bool read = reads(begin + row + r);
#pragma unroll
      for (int chunk = 0; chunk < kDim / 8; chunk += kLanes) {
        copy_async_16(first + r * kDim + 8 * chunk, from + 8 * sizeof(T) * chunk,
                      read && 8 * (chunk + lane) < channels);
      }
      from += rows.step;
    }
  }

  INTP_DEVICE void load_query(int m, int c, uint32_t (&a)[4]) const {
    const int lane = threadIdx.x % kWarp;
    const int at = Swizzle<kDim>::at(warp_row() + lane % 16, lane / 16);
    load_matrices(a, shared_.q + Swizzle<kDim>::move(at, 2 * c) + 16 * m * kDim);
  }

  INTP_DEVICE void finish() {
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
        const float total = sums_.total(m, half);
        if (row >= end) continue;
        const Partial to = partial_of(launch_, task.head, task.split, task.row + row);
        if (lane % 4 == 0) *to.stats = {sums_.base(m, half), total};
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
        const float sink = sink_weight(p_, task, task.row + row, sums_.base(m, half));
        const float total = sums_.total(m, half) + sink;
        const float factor = inverse_total(total, [&] { return shared_.visible.rows[row]; });
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          *reinterpret_cast<uint32_t*>(shared_.q + Swizzle<kDim>::at(row, d) + lane % 4 * 2) =
              pack(T{}, sums_.o[m][d][2 * half] * factor, sums_.o[m][d][2 * half + 1] * factor);
        }
      }
    }
    __syncwarp();
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
  RunningSums<kM, kDim, kSumByProduct> sums_;
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
