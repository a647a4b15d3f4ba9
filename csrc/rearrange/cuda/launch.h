#pragma once

#include <cuda_runtime.h>

#include "rearrange/params.h"

namespace intp::cuda {

// A row of `order` outside 0 <= row < R gives zeros.
void launch_rearrange(const RearrangeParams& params, cudaStream_t stream);

}  // namespace intp::cuda
