#pragma once

// The end of a decode kernel: every warp has had other keys for the same rows, and what they have
// come to is combined in shared memory.

#include "attention/cuda/block.h"
#include "attention/cuda/fragments.h"

namespace intp::cuda {

template <int kDim, int kRows, int kWarps>
struct WarpResults {
  static constexpr int kPitch = kDim + 8;  // floats: 8 rows begin in 4 different sets of banks

  struct Result {
    float sums[kRows * kPitch];
    float bases[kRows];
    float totals[kRows];
  };
  Result warps[kWarps];

  // Of the calling warp.
  INTP_DEVICE void write(const RunningSums<1, kDim>& found) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    Result& to = warps[threadIdx.x / kWarp];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 8 * half + lane / 4;
      const float total = found.total(0, half);
      if (lane % 4 == 0) {
        to.bases[row] = found.base(0, half);
        to.totals[row] = total;
      }
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d) {
        float* at = to.sums + row * kPitch + 8 * d + lane % 4 * 2;
        *reinterpret_cast<float2*>(at) = {found.o[0][d][2 * half], found.o[0][d][2 * half + 1]};
      }
    }
  }

  // Rows task.row ... of the block, to the output or as a partial result. Two channels of a row at
  // a time, of all warps.
  template <class T>
  INTP_DEVICE void combine(const AttentionLaunch& launch, const BlockTask& task,
                           const KeySpans32* visible) const {
    const AttentionParams& p = launch.params;
    const int pairs = static_cast<int>(p.value_dim) / 2;
    const int rows = static_cast<int>(least(kRows, attention_rows(p) - task.row));
    for (int i = threadIdx.x; i < rows * pairs; i += kWarps * kWarp) {
      const int row = i / pairs, channel = i % pairs * 2;
      float largest = kMasked;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, warps[w].bases[row]);
      const float base = score_base(largest);
      float total = 0.0f, low = 0.0f, high = 0.0f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const Result& from = warps[w];
        const float weight = fast_exp2(from.bases[row] - base);
        const float2 sums = *reinterpret_cast<const float2*>(from.sums + row * kPitch + channel);
        total += weight * from.totals[row];
        low += weight * sums.x;
        high += weight * sums.y;
      }
      if (launch.splits > 1) {
        const Partial to = partial_of(launch, task.head, task.split, task.row + row);
        if (channel == 0) *to.stats = {largest, total};
        *reinterpret_cast<float2*>(to.sums + channel) = {low, high};
      } else {
        T* out = static_cast<T*>(p.out.data) + row_offset(p, p.out, task, task.row + row);
        const float sink = sink_weight(p, task, task.row + row, largest);
        const float factor = inverse_total(total + sink, [&] { return visible[row]; });
        *reinterpret_cast<uint32_t*>(out + channel) = pack(T{}, low * factor, high * factor);
      }
    }
  }
};

}  // namespace intp::cuda
