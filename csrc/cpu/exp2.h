#pragma once

// Powers of two, as the weights of a softmax.

#include <cfloat>

#include "cpu/simd.h"

namespace intp::cpu {
namespace {

// Minimax polynomials for 2^f, |f| <= 1/2: relative error 1e-4 (1/20 of what rounding the weight to
// bfloat16 costs), or 1e-7.
template <bool kCoarse>
struct Exp2Fraction {
  static constexpr int kDegree = kCoarse ? 3 : 5;
  struct Terms {
    double of[kDegree + 1];
  };
  static constexpr Terms of_f() {
    if constexpr (kCoarse) {
      return {{1.0, 0.6932829, 0.24221095, 0.05500893}};
    } else {
      return {{1.0, 0.693147, 0.24022242, 0.055507336, 9.671513e-3, 1.3264727e-3}};
    }
  }
  // Of 2^(g - 1/2), 0 <= g < 1, by powers of g.
  static constexpr Terms of_g() {
    Terms terms{};
    for (int k = 0; k <= kDegree; ++k) {
      double choose = 1.0, power = 1.0;  // n over k, (-1/2)^(n - k)
      for (int n = k; n <= kDegree; ++n) {
        terms.of[k] += of_f().of[n] * choose * power;
        choose = choose * (n + 1) / (n + 1 - k);
        power *= -0.5;
      }
    }
    return terms;
  }
  static constexpr Terms kF = of_f(), kG = of_g();
};

template <int kDegree, class Terms>
inline Floats polynomial(const Terms& terms, Floats x) {
  Floats p = broadcast(static_cast<float>(terms.of[kDegree]));
#pragma GCC unroll 5
  for (int k = kDegree - 1; k >= 0; --k) p = fma(p, x, broadcast(static_cast<float>(terms.of[k])));
  return p;
}

// Weights are 2^(factor * d), for d <= 0; those of d below `lost` are 0.
struct WeightScale {
  float factor, lost;
};

// A weight below 2^-126 is lost, and that of -infinity whatever the factor.
inline WeightScale weight_scale(float factor) {
  const float lost = -126.0f / factor;
  return {factor, lost > -FLT_MAX ? lost : -FLT_MAX};
}

// 2^(factor * d): exactly 1 for 0, exactly 0 below 2^-126 and for -infinity, NaN for NaN.
template <bool kCoarse, class Target = Simd>
inline Floats exp2_weight(Floats d, const WeightScale& scale) {
  using P = Exp2Fraction<kCoarse>;
  const Floats factor = broadcast(scale.factor);
  if constexpr (Target::kScalesByPower) {
    // y = n + g with an integer n, which scaling finds by itself, and 0 <= g < 1: 2^(y - 1/2)
    const Floats y = fma(d, factor, broadcast(0.5f));
    const Floats p = polynomial<P::kDegree>(P::kG, Target::fraction(y));
    return Target::scale_by_power(p, y, d, scale.lost);
  } else {
    constexpr float kRoundToInteger = 0x1.8p+23f;  // adding it leaves the integer in the low bits
    const Floats shifted = fma(d, factor, broadcast(kRoundToInteger));
    const Floats n = shifted - kRoundToInteger;
    const Floats p = polynomial<P::kDegree>(P::kF, fma(d, factor, -n));
    const Floats power = bit_cast<Floats>((bit_cast<Words>(shifted) + 127) << 23);
    const Words lost = bit_cast<Words>(d < scale.lost);
    return bit_cast<Floats>(bit_cast<Words>(p * power) & ~lost);
  }
}

}  // namespace
}  // namespace intp::cpu
