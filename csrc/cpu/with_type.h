#pragma once

#include "common/dtype.h"
#include "cpu/simd/elements.h"

namespace intp::cpu {
namespace {

// f(T{}) for the element type.
template <class F>
auto with_type(FloatType type, F f) {
  if (type == FloatType::kFloat32) return f(Float32{});
  return type == FloatType::kBFloat16 ? f(BFloat16{}) : f(Float16{});
}

}  // namespace
}  // namespace intp::cpu
