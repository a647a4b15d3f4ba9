#pragma once

// Stands in for csrc/torch/cuda_stream.h: there is one stream, and a launch returns when it is
// done.

#include <cuda_runtime.h>

#include "torch/stable.h"

namespace intp {

inline cudaStream_t current_cuda_stream(int) { return nullptr; }

}  // namespace intp
