#pragma once

#include <cuda_runtime.h>

#include "rope/params.h"

namespace intp {

// A row of `order` outside 0 <= row < rows gives zeros.
void rope_cuda_launch(const RopeParams& params, cudaStream_t stream);

}  // namespace intp
