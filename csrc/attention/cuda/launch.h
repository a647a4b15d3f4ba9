#pragma once

#include <cuda_runtime.h>

#include "attention/cuda/plan.h"

namespace intp {

// workspace: plan.workspace floats. p.bounds is in device memory.
void attention_cuda_launch(const AttentionParams& p, const cuda::AttentionPlan& plan,
                           float* workspace, cudaStream_t stream);

namespace cuda {

// What a kernel is given.
struct AttentionArgs {
  AttentionParams p;
  int row_tiles;    // as in AttentionPlan
  int splits;       // as in AttentionPlan
  float* partials;  // [B Hkv, splits, rows] of {maximum, total}, then [B Hkv, splits, rows, D] sums
};

// T: __nv_bfloat16 or __half; launch_plain and launch_combine also float.
template <class T>
void launch_prefill(const AttentionArgs& args, int blocks, cudaStream_t stream);
template <class T>
void launch_decode(const AttentionArgs& args, int blocks, cudaStream_t stream);
template <class T>
void launch_plain(const AttentionArgs& args, int blocks, cudaStream_t stream);
template <class T>
void launch_combine(const AttentionArgs& args, cudaStream_t stream);

}  // namespace cuda
}  // namespace intp
