#pragma once

#include <cuda_runtime.h>

#include "common/token_order.h"

namespace intp {

// rows: int32 [length]
void token_order_cuda_launch(const Grouping& grouping, int32_t* rows, int64_t length,
                             cudaStream_t stream);

}  // namespace intp
