#pragma once

// Decode: the few rows of a key head (one query of every head of its group) against a share of the
// keys. Bound by reading keys and values, each once.
//
// Every warp takes tiles of 16 keys of its own, for all 16 rows, through a ring of stages that no
// other warp touches: no barrier until the end, where the results of the warps are combined.

#include "attention/cuda/block.h"
#include "attention/cuda/fragments.h"
#include "attention/cuda/results.h"
#include "cuda/launch.h"

namespace intp::cuda {

template <class T, int kDim>
struct DecodeShared {
  static constexpr AttentionTile kTile = attention_tile(AttentionKernel::kDecode, kDim);
  struct Stage {
    T k[kTile.keys * kDim];  // swizzled, as v
    T v[kTile.keys * kDim];
  };
  union {
    Stage stages[kTile.warps][kTile.stages];
    WarpResults<kDim, kTile.rows, kTile.warps> results;
  };
  VisibleKeys<kTile.rows> visible;
};

template <class T, int kDim>
class DecodeBlock {
  using Shared = DecodeShared<T, kDim>;
  using Stage = typename Shared::Stage;
  static constexpr AttentionTile kTile = Shared::kTile;

 public:
  INTP_DEVICE explicit DecodeBlock(const AttentionLaunch& launch)
      : launch_(launch),
        p_(launch.params),
        shared_(*static_cast<Shared*>(dynamic_shared())),
        task_(block_task(launch, 1, kTile.rows)),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        warp_(static_cast<int>(threadIdx.x) / kWarp) {}

  INTP_DEVICE void run() {
    shared_.visible.fill(p_, task_);
    load_queries();
    sums_.clear();
    __syncthreads();
    attend();
    __syncthreads();  // stages become results
    shared_.results.write(sums_);
    __syncthreads();
    shared_.results.template combine<T>(launch_, task_, shared_.visible.rows);
  }

 private:
  INTP_DEVICE int rows() const { return static_cast<int>(attention_rows(p_)); }
  INTP_DEVICE int head_dim() const { return static_cast<int>(p_.head_dim); }

  // Fragments of the 16 rows, zeros beyond the last row and channel.
  INTP_DEVICE void load_queries() {
    const T* q = static_cast<const T*>(p_.q.data);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 8 * half + lane_ / 4;
      const bool inside = row < rows();
      const T* from = q + (inside ? row_offset(p_, p_.q, task_, row) : 0);
#pragma unroll
      for (int c = 0; c < kDim / 8; ++c) {
        const int channel = 8 * c + lane_ % 4 * 2;
        uint32_t pair = 0;
        if (inside && channel < head_dim()) {
          pair = signed_query(*reinterpret_cast<const uint32_t*>(from + channel), p_.scale);
        }
        queries_[c / 2][c % 2 * 2 + half] = pair;
      }
    }
  }

  INTP_DEVICE void attend() {
    const TileShare share = share_tiles(launch_, shared_.visible.any, task_.split, kTile.keys);
    const auto first_key = [&](int n) { return tile_at(share.list, n) * kTile.keys; };
    const ScoreScale scale = score_scale(p_);
    int ahead = share.begin + warp_;  // next to be loaded
    int slot_ahead = 0, slot = 0;
    const auto copy_next = [&] {
      if (ahead < share.end) copy_stage(shared_.stages[warp_][slot_ahead], first_key(ahead));
      commit_copies();
      ahead += kTile.warps;
      slot_ahead = slot_ahead + 1 == kTile.stages ? 0 : slot_ahead + 1;
    };
#pragma unroll
    for (int i = 0; i < kTile.stages - 1; ++i) copy_next();
    for (int n = share.begin + warp_; n < share.end; n += kTile.warps) {
      wait_copies<kTile.stages - 2>();
      __syncwarp();  // the stage has arrived, the one before has been used
      copy_next();
      const Stage& stage = shared_.stages[warp_][slot];
      slot = slot + 1 == kTile.stages ? 0 : slot + 1;

      const int begin = first_key(n);
      float scores[1][kTile.keys / 8][4];
      multiply_keys<T, kDim, 1, kTile.keys>(scores, stage.k, [&](int, int c, uint32_t (&a)[4]) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a[i] = queries_[c][i];
      });
      cap_scores(scores, scale);
      if (!shared_.visible.is_full({begin, begin + kTile.keys})) {
        mask_scores<1, kTile.keys>(scores, shared_.visible.rows, begin);
      }
      sums_.weigh(scores, scale.factor);
      multiply_values<T, kDim, 1, kTile.keys>(sums_.o, scores, stage.v);
    }
  }

  // Keys that no row sees are not read.
  INTP_DEVICE void copy_stage(Stage& stage, int begin) {
    const KeySpans32 visible = shared_.visible.any;
    const auto copy = [&](const AttentionTensor<const void>& x, int channels, T* tile) {
      const T* from = head_data<T>(x, task_) + begin * x.stride_s;
      copy_rows<T, kDim, kTile.keys, kWarp>(
          tile, lane_, channels, [&](int r) { return from + r * x.stride_s; },
          [&](int r) { return contains(visible, begin + r); });
    };
    copy(p_.k, head_dim(), stage.k);
    copy(p_.v, static_cast<int>(p_.value_dim), stage.v);
  }

  const AttentionLaunch& launch_;
  const AttentionParams& p_;
  Shared& shared_;
  const BlockTask task_;
  const int lane_, warp_;
  uint32_t queries_[kDim / 16][4];
  RunningSums<1, kDim> sums_;
};

template <class T, int kDim>
__global__ void __launch_bounds__(DecodeShared<T, kDim>::kTile.warps* kWarp,
                                  DecodeShared<T, kDim>::kTile.blocks)
    decode_kernel(const AttentionLaunch launch) {
  DecodeBlock<T, kDim>(launch).run();
}

template <class T, int kDim>
void launch_decode_of(const AttentionLaunch& launch, int blocks, cudaStream_t stream) {
  using Shared = DecodeShared<T, kDim>;
  static_assert(sizeof(Shared) <= kMostShared);
  launch_kernel(decode_kernel<T, kDim>, dim3(blocks), Shared::kTile.warps * kWarp, sizeof(Shared),
                stream, launch);
}

template <class T>
void launch_decode(const AttentionLaunch& launch, int blocks, cudaStream_t stream) {
  switch (decode_dim(launch.params.head_dim)) {
    case 64:
      return launch_decode_of<T, 64>(launch, blocks, stream);
    default:
      return launch_decode_of<T, 128>(launch, blocks, stream);
  }
}

}  // namespace intp::cuda
