#pragma once

#include "common/token_order.h"

namespace intp {

struct TokenOrderParams {
  Grouping grouping;
  int32_t* rows;  // [length]
  int64_t length;
};

}  // namespace intp
