#pragma once

// Combines the partial results of the splits of a row. A kernel of its own, not the last block of
// the one before: that would need a counter in memory that is zeroed before, which costs the same
// one launch, and blocks that wait for what others wrote.

#include "attention/cuda/block.h"
#include "cuda/launch.h"

namespace intp::cuda {

constexpr int kCombineThreads = 128;

// Block x: row x % rows of key head x / rows; a thread a channel.
template <class T>
__global__ void __launch_bounds__(kCombineThreads) combine_kernel(const AttentionLaunch launch) {
  const AttentionParams& p = launch.params;
  const int rows = static_cast<int>(attention_rows(p)), kv_heads = static_cast<int>(p.kv_heads);
  BlockTask task{};
  task.head = static_cast<int>(blockIdx.x) / rows;
  task.row = static_cast<int>(blockIdx.x) % rows;
  task.b = task.head / kv_heads;
  task.h = task.head % kv_heads;

  float maximum = kMasked;
  for (int split = 0; split < launch.splits; ++split) {
    maximum = fmaxf(maximum, partial_of(launch, task.head, split, task.row).stats->x);
  }
  const float base = score_base(maximum);
  const float sink = sink_weight(p, task, task.row, maximum);
  const auto visible = [&] {
    const QuerySpan query = attention_queries(p, task.b, task.row, task.row + 1);
    return visible_keys(p.bounds[task.b], p.window, p.keys, query);
  };
  T* out = static_cast<T*>(p.out.data) + row_offset(p, p.out, task, task.row);
  for (int channel = threadIdx.x; channel < p.value_dim; channel += kCombineThreads) {
    float total = 0.0f, sum = 0.0f;
#pragma unroll 4
    for (int split = 0; split < launch.splits; ++split) {
      const Partial from = partial_of(launch, task.head, split, task.row);
      const float2 stats = *from.stats;
      const float weight = exp2f(stats.x - base);
      total += weight * stats.y;
      sum += weight * from.sums[channel];
    }
    out[channel] = static_cast<T>(sum * inverse_total(total + sink, visible));
  }
}

template <class T>
void launch_combine(const AttentionLaunch& launch, cudaStream_t stream) {
  const int64_t rows = launch.params.batch * launch.params.kv_heads * attention_rows(launch.params);
  launch_kernel(combine_kernel<T>, dim3(static_cast<unsigned>(rows)), kCombineThreads, 0, stream,
                launch);
}

}  // namespace intp::cuda
