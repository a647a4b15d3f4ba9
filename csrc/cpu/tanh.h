#pragma once

// The hyperbolic tangent.

#include "cpu/exp2.h"

namespace intp::cpu {
namespace {

// Relative error 2e-7 everywhere; NaN for NaN.
inline Floats tanh(Floats x) {
  const Words bits = bit_cast<Words>(x), sign = bits & 0x80000000;
  const Floats size = bit_cast<Floats>(bits ^ sign), square = size * size;
  // up to 1/2: x + x^3 p(x^2), a minimax polynomial of relative error 2e-8
  Floats p = broadcast(0.01724148f);
  p = fma(p, square, broadcast(-0.05304549f));
  p = fma(p, square, broadcast(0.13325879f));
  p = fma(p, square, broadcast(-0.33333144f));
  const Floats small = fma(size * square, p, size);
  // beyond, where 1 - e^(-2 x) cancels nothing
  const WeightScale squared_e = weight_scale(2.8853900817779268f);  // 2 log2(e)
  const Floats e = exp2_weight<false>(-size, squared_e);
  const Floats large = (1.0f - e) / (1.0f + e);
  const Words is_small = bit_cast<Words>(size < 0.5f);
  return bit_cast<Floats>((bit_cast<Words>(small) & is_small) |
                          (bit_cast<Words>(large) & ~is_small) | sign);
}

}  // namespace
}  // namespace intp::cpu
