#pragma once

// Without tensor cores: float32, and whatever does not lie on 16 bytes. Any head_dim: a block gives
// a slice of the channels of the output, and computes the scores it needs for that.
//
// 16 x 16 threads: thread (ty, tx) has rows 4 ty + i and keys tx + 16 j of a tile, i, j < 4, and
// channels tx + 16 j, j < 8, of the slice.

#include "attention/cuda/block.h"
#include "cuda/launch.h"

namespace intp::cuda {

struct SimtShared {
  static constexpr AttentionTile kTile = attention_tile(AttentionKernel::kSimt, kSimtChannels);
  static constexpr int kDepth = 32;   // channels of a step of the scores
  static constexpr int kValues = 32;  // keys of a step of the sums

  struct Steps {  // an odd pitch: a column lies in as many banks as a row
    float q[kTile.rows][kDepth + 1];
    float k[kTile.keys][kDepth + 1];
  };
  union {
    Steps steps;
    float v[kValues][kSimtChannels];
  };
  float weights[kTile.rows][kTile.keys + 1];
  VisibleKeys<kTile.rows> visible;
};

// Keys and values as they lie; another class may look them up elsewhere (packed_simt.h).
template <class T>
class RowElements {
 public:
  INTP_DEVICE explicit RowElements(const AttentionLaunch& launch) : p_(launch.params) {}

  INTP_DEVICE float key(const BlockTask& task, int key, int channel) const {
    return static_cast<float>(head_data<T>(p_.k, task)[key * p_.k.stride_s + channel]);
  }
  INTP_DEVICE float value(const BlockTask& task, int key, int channel) const {
    return static_cast<float>(head_data<T>(p_.v, task)[key * p_.v.stride_s + channel]);
  }

 private:
  const AttentionParams& p_;
};

template <class T, class Elements>
class SimtBlock {
  using Shared = SimtShared;
  static constexpr AttentionTile kTile = Shared::kTile;
  static constexpr int kThreads = kTile.warps * kWarp;
  static constexpr int kSide = 16;  // threads
  static constexpr int kRows = kTile.rows / kSide;
  static constexpr int kKeys = kTile.keys / kSide;
  static constexpr int kChannels = kSimtChannels / kSide;
  static_assert(kThreads == kSide * kSide);

 public:
  INTP_DEVICE SimtBlock(const AttentionLaunch& launch, const Elements& elements)
      : launch_(launch),
        p_(launch.params),
        elements_(elements),
        shared_(*static_cast<Shared*>(dynamic_shared())),
        task_(block_task(launch, slices(launch), kTile.rows)),
        channel_(task_.slice * static_cast<int>(kSimtChannels)),
        tx_(static_cast<int>(threadIdx.x) % kSide),
        ty_(static_cast<int>(threadIdx.x) / kSide) {}

  INTP_DEVICE void run() {
    shared_.visible.fill(p_, task_);
    for (int i = 0; i < kRows; ++i) {
      maximum_[i] = kMasked;
      total_[i] = 0.0f;
      for (int c = 0; c < kChannels; ++c) sums_[i][c] = 0.0f;
    }
    __syncthreads();
    const TileShare share = share_tiles(launch_, shared_.visible.any, task_.split, kTile.keys);
    for (int n = share.begin; n < share.end; ++n) {
      const int begin = tile_at(share.list, n) * kTile.keys;
      float scores[kRows][kKeys] = {};
      add_scores(scores, begin);
      weigh(scores, begin);
      add_values(begin);
    }
    write();
  }

 private:
  INTP_DEVICE static int slices(const AttentionLaunch& launch) {
    const int channels = static_cast<int>(kSimtChannels);
    return (static_cast<int>(launch.params.value_dim) + channels - 1) / channels;
  }

  INTP_DEVICE int head_dim() const { return static_cast<int>(p_.head_dim); }
  INTP_DEVICE int value_dim() const { return static_cast<int>(p_.value_dim); }

  INTP_DEVICE void add_scores(float (&scores)[kRows][kKeys], int begin) {
    const T* q = static_cast<const T*>(p_.q.data);
    const int rows = static_cast<int>(attention_rows(p_));
    const int lane = threadIdx.x % Shared::kDepth;
    for (int first = 0; first < head_dim(); first += Shared::kDepth) {
      __syncthreads();  // the step before, or the values, have been used
      const int channel = first + lane;
      for (int r = threadIdx.x / Shared::kDepth; r < kTile.rows; r += kThreads / Shared::kDepth) {
        const int row = task_.row + r, key = begin + r;
        float x = 0.0f, y = 0.0f;
        if (channel < head_dim() && row < rows) {
          x = static_cast<float>(q[row_offset(p_, p_.q, task_, row) + channel]);
        }
        if (channel < head_dim() && contains(shared_.visible.any, key)) {
          y = elements_.key(task_, key, channel);
        }
        shared_.steps.q[r][lane] = x;
        shared_.steps.k[r][lane] = y;
      }
      __syncthreads();
#pragma unroll 8
      for (int d = 0; d < Shared::kDepth; ++d) {
        float y[kKeys];
#pragma unroll
        for (int j = 0; j < kKeys; ++j) y[j] = shared_.steps.k[tx_ + kSide * j][d];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const float x = shared_.steps.q[kRows * ty_ + i][d];
#pragma unroll
          for (int j = 0; j < kKeys; ++j) scores[i][j] = fmaf(x, y[j], scores[i][j]);
        }
      }
    }
  }

  // Scores to weights in shared memory; the 16 threads of a row are a half of a warp.
  INTP_DEVICE void weigh(float (&scores)[kRows][kKeys], int begin) {
    const bool capped = p_.softcap > 0.0f;
    const float factor = capped ? kLog2E : p_.scale * kLog2E;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = kRows * ty_ + i;
      const KeySpans32 visible = shared_.visible.rows[row];
      float found = kMasked;
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        if (capped) scores[i][j] = p_.softcap * tanhf(scores[i][j] * (p_.scale / p_.softcap));
        const bool sees = contains(visible, begin + tx_ + kSide * j);
        scores[i][j] = sees ? multiply_rounded(scores[i][j], factor) : kMasked;
        found = fmaxf(found, scores[i][j]);
      }
#pragma unroll
      for (int mask = kSide / 2; mask > 0; mask /= 2) {
        found = fmaxf(found, __shfl_xor_sync(0xffffffffu, found, mask));
      }
      const float now = fmaxf(maximum_[i], found);
      const float base = score_base(now);
      const float rescale = exp2f(maximum_[i] - base);
      maximum_[i] = now;
      total_[i] *= rescale;
#pragma unroll
      for (int c = 0; c < kChannels; ++c) sums_[i][c] *= rescale;
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        const float weight = exp2f(scores[i][j] - base);
        total_[i] += weight;
        shared_.weights[row][tx_ + kSide * j] = weight;
      }
    }
  }

  INTP_DEVICE void add_values(int begin) {
    for (int first = 0; first < kTile.keys; first += Shared::kValues) {
      __syncthreads();  // scores, or the values before, have been used; weights are there
      for (int i = threadIdx.x; i < Shared::kValues * kSimtChannels; i += kThreads) {
        const int r = i / kSimtChannels, c = i % kSimtChannels;
        const int key = begin + first + r, channel = channel_ + c;
        const bool read = channel < value_dim() && contains(shared_.visible.any, key);
        shared_.v[r][c] = read ? elements_.value(task_, key, channel) : 0.0f;
      }
      __syncthreads();
#pragma unroll 4
      for (int r = 0; r < Shared::kValues; ++r) {
        float y[kChannels];
#pragma unroll
        for (int c = 0; c < kChannels; ++c) y[c] = shared_.v[r][tx_ + kSide * c];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const float x = shared_.weights[kRows * ty_ + i][first + r];
#pragma unroll
          for (int c = 0; c < kChannels; ++c) sums_[i][c] = fmaf(x, y[c], sums_[i][c]);
        }
      }
    }
  }

  INTP_DEVICE void write() {
    const int rows = static_cast<int>(attention_rows(p_));
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float total = total_[i];
#pragma unroll
      for (int mask = kSide / 2; mask > 0; mask /= 2) {
        total += __shfl_xor_sync(0xffffffffu, total, mask);
      }
      const int row = task_.row + kRows * ty_ + i;
      if (row >= rows) continue;
      const Partial partial = partial_of(launch_, task_.head, task_.split, row);
      if (launch_.splits > 1 && task_.slice == 0 && tx_ == 0) *partial.stats = {maximum_[i], total};
      const float sink = sink_weight(p_, task_, row, maximum_[i]);
      const auto visible = [&] { return shared_.visible.rows[row - task_.row]; };
      T* out = static_cast<T*>(p_.out.data) + row_offset(p_, p_.out, task_, row);
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
        const int channel = channel_ + tx_ + kSide * c;
        if (channel >= value_dim()) continue;
        if (launch_.splits > 1) {
          partial.sums[channel] = sums_[i][c];
        } else {
          out[channel] = static_cast<T>(sums_[i][c] * inverse_total(total + sink, visible));
        }
      }
    }
  }

  const AttentionLaunch& launch_;
  const AttentionParams& p_;
  const Elements elements_;
  Shared& shared_;
  const BlockTask task_;
  const int channel_;  // first of the slice
  const int tx_, ty_;
  float sums_[kRows][kChannels];
  float maximum_[kRows];  // of the scores, times scale, as a power of two
  float total_[kRows];    // this thread's part of the sum of weights
};

template <class T>
__global__ void __launch_bounds__(SimtShared::kTile.warps* kWarp, SimtShared::kTile.blocks)
    simt_kernel(const AttentionLaunch launch) {
  SimtBlock<T, RowElements<T>>(launch, RowElements<T>(launch)).run();
}

template <class T>
void launch_simt(const AttentionLaunch& launch, int blocks, cudaStream_t stream) {
  static_assert(sizeof(SimtShared) <= kMostShared);
  launch_kernel(simt_kernel<T>, dim3(blocks), SimtShared::kTile.warps * kWarp, sizeof(SimtShared),
                stream, launch);
}

}  // namespace intp::cuda
