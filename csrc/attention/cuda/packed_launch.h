#pragma once

#include <cuda_runtime.h>

#include "attention/cuda/launch.h"
#include "attention/cuda/packed_plan.h"

namespace intp {

// params.packed is in host memory, what it points to in device memory. workspace: plan.workspace
// floats.
void packed_attention_cuda_launch(const AttentionParams& params, const cuda::AttentionPlan& plan,
                                  float* workspace, cudaStream_t stream);

namespace cuda {

// What a kernel is given.
struct PackedArgs {
  AttentionArgs attention;  // keys: all; k and v: those after keys.tokens
  PackedKeys keys;
};

// T: __nv_bfloat16 or __half; launch_packed_plain also float.
template <class T>
void launch_packed_decode(const PackedArgs& args, int blocks, cudaStream_t stream);
template <class T>
void launch_packed_plain(const PackedArgs& args, int blocks, cudaStream_t stream);

}  // namespace cuda
}  // namespace intp
