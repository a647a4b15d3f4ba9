#pragma once

#include <cuda_runtime.h>

#include "rearrange/params.h"

namespace intp {

// A row of `order` outside 0 <= row < R gives zeros.
void rearrange_cuda_launch(const RearrangeParams& params, cudaStream_t stream);

}  // namespace intp
