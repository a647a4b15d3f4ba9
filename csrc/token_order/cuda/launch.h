#pragma once

#include <cuda_runtime.h>

#include "common/token_order.h"

namespace intp {

struct TokenOrderParams {
  Grouping grouping;
  int32_t* rows;  // [length]
  int64_t length;
};

void token_order_cuda_launch(const TokenOrderParams& params, cudaStream_t stream);

}  // namespace intp
