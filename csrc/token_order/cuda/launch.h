#pragma once

#include <cuda_runtime.h>

#include "token_order/params.h"

namespace intp::cuda {

void launch_token_order(const TokenOrderParams& params, cudaStream_t stream);

}  // namespace intp::cuda
