#pragma once

#include <cuda_runtime.h>

#include "rope/params.h"

namespace intp::cuda {

// A row of `order` outside 0 <= row < rows gives zeros.
void launch_rope(const RopeParams& params, cudaStream_t stream);

}  // namespace intp::cuda
