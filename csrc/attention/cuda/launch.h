#pragma once

#include <cuda_runtime.h>

#include "attention/cuda/plan.h"

namespace intp::cuda {

// workspace: plan.workspace floats, on 16 bytes. What p points to is in device memory, but for
// p.packed, which is in host memory and points to device memory.
void launch_attention(const AttentionParams& p, const AttentionPlan& plan, float* workspace,
                      cudaStream_t stream);

// What a kernel is given.
struct AttentionLaunch {
  AttentionParams params;
  int row_tiles;  // as in AttentionPlan
  int splits;     // as in AttentionPlan
  float*
      partials;  // [B Hkv, splits, rows] of {maximum, total}, then [B Hkv, splits, rows, Dv] sums
};

// What a kernel over packed keys is given.
struct PackedLaunch {
  AttentionLaunch attention;  // keys: all; k and v: those after packed.tokens
  PackedKeys packed;
};

// Where pages become rows.
struct UnpackLaunch {
  AttentionParams params;  // as in PackedLaunch
  PackedKeys packed;
  void* k;  // [B, Hkv, Skv, D]
  void* v;
};

// T: __nv_bfloat16 or __half; all but prefill, decode and packed_decode also float.
template <class T>
void launch_prefill(const AttentionLaunch& launch, int blocks, cudaStream_t stream);
template <class T>
void launch_decode(const AttentionLaunch& launch, int blocks, cudaStream_t stream);
template <class T>
void launch_simt(const AttentionLaunch& launch, int blocks, cudaStream_t stream);
template <class T>
void launch_packed_decode(const PackedLaunch& launch, int blocks, cudaStream_t stream);
template <class T>
void launch_packed_simt(const PackedLaunch& launch, int blocks, cudaStream_t stream);
template <class T>
void launch_unpack(const UnpackLaunch& launch, cudaStream_t stream);
template <class T>
void launch_combine(const AttentionLaunch& launch, cudaStream_t stream);

}  // namespace intp::cuda
