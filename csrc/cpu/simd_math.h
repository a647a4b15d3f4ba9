#pragma once

// Arithmetic on the vectors of cpu/simd.h, for the instruction set this file is compiled for.

#include <cfloat>
#include <cstdint>
#include <utility>

#include "cpu/simd.h"

namespace intp::cpu {
namespace {

// Two bfloat16 in one lane, the first in the low half.
struct BFloat16Pair {
  uint32_t bits;
};

inline Floats broadcast(float x) { return x - Floats{}; }

inline Floats load_floats(const float* x) {
  Floats v;
  memcpy(&v, x, sizeof v);
  return v;
}
inline void store_floats(float* y, Floats v) { memcpy(y, &v, sizeof v); }

// a * b + c
inline Floats fma(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return bit_cast<Floats>(
      _mm512_fmadd_ps(bit_cast<__m512>(a), bit_cast<__m512>(b), bit_cast<__m512>(c)));
#elif defined(__FMA__)
  return bit_cast<Floats>(
      _mm256_fmadd_ps(bit_cast<__m256>(a), bit_cast<__m256>(b), bit_cast<__m256>(c)));
#else
  return a * b + c;
#endif
}

inline Floats max(Floats a, Floats b) {
#if defined(__AVX512F__)
  return bit_cast<Floats>(_mm512_max_ps(bit_cast<__m512>(a), bit_cast<__m512>(b)));
#elif defined(__AVX2__)
  return bit_cast<Floats>(_mm256_max_ps(bit_cast<__m256>(a), bit_cast<__m256>(b)));
#elif defined(__x86_64__)
  return bit_cast<Floats>(_mm_max_ps(bit_cast<__m128>(a), bit_cast<__m128>(b)));
#else
  return a > b ? a : b;
#endif
}

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
template <bool kCoarse>
inline Floats exp2_weight(Floats d, const WeightScale& scale) {
  using P = Exp2Fraction<kCoarse>;
  const Floats factor = broadcast(scale.factor);
#if defined(__AVX512F__)
  const __mmask16 kept =
      _mm512_cmp_ps_mask(bit_cast<__m512>(d), _mm512_set1_ps(scale.lost), _CMP_NLT_UQ);
  // y = n + g with an integer n, which scalef finds by itself, and 0 <= g < 1: 2^(y - 1/2)
  const Floats y = fma(d, factor, broadcast(0.5f));
  constexpr int kBelow = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
  const Floats g = bit_cast<Floats>(_mm512_reduce_ps(bit_cast<__m512>(y), kBelow));
  const Floats p = polynomial<P::kDegree>(P::kG, g);
  return bit_cast<Floats>(_mm512_maskz_scalef_ps(kept, bit_cast<__m512>(p), bit_cast<__m512>(y)));
#else
  constexpr float kRoundToInteger = 0x1.8p+23f;  // adding it leaves the integer in the low bits
  const Floats shifted = fma(d, factor, broadcast(kRoundToInteger));
  const Floats n = shifted - kRoundToInteger;
  const Floats p = polynomial<P::kDegree>(P::kF, fma(d, factor, -n));
  const Floats power = bit_cast<Floats>((bit_cast<Words>(shifted) + 127) << 23);
  const Words lost = bit_cast<Words>(d < scale.lost);
  return bit_cast<Floats>(bit_cast<Words>(p * power) & ~lost);
#endif
}

// Of two rows of a matrix, the 2x2 blocks of kStep lanes transposed: lane l of `low` is a[l] where
// l / kStep is even, else b[l - kStep]; lane l of `high` a[l + kStep], else b[l].
template <class Vector>
struct LowHigh {
  Vector low, high;
};

template <int kStep, class Vector, int... kLane>
inline LowHigh<Vector> exchange(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
#if defined(__clang__)
  return {__builtin_shufflevector(a, b, (kLane & kStep ? kLane - kStep + kWidth : kLane)...),
          __builtin_shufflevector(a, b, (kLane & kStep ? kLane + kWidth : kLane + kStep)...)};
#else
  typedef int32_t Lanes __attribute__((vector_size(4 * kWidth)));
  return {__builtin_shuffle(a, b, Lanes{(kLane & kStep ? kLane - kStep + kWidth : kLane)...}),
          __builtin_shuffle(a, b, Lanes{(kLane & kStep ? kLane + kWidth : kLane + kStep)...})};
#endif
}

template <int kStep = 1>
inline void transpose(Words (&rows)[kWidth]) {
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    if (i & kStep) continue;
    const auto pair =
        exchange<kStep>(rows[i], rows[i + kStep], std::make_integer_sequence<int, kWidth>());
    rows[i] = pair.low;
    rows[i + kStep] = pair.high;
  }
  if constexpr (2 * kStep < kWidth) transpose<2 * kStep>(rows);
}

// Lane l: the sum of the lanes of rows[l]. Overwrites rows.
template <int kStep = 1>
inline Floats lane_sums(Floats (&rows)[kWidth]) {
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; i += 2 * kStep) {
    const auto pair =
        exchange<kStep>(rows[i], rows[i + kStep], std::make_integer_sequence<int, kWidth>());
    rows[i] = pair.low + pair.high;
  }
  if constexpr (2 * kStep < kWidth) return lane_sums<2 * kStep>(rows);
  return rows[0];
}

inline float lane_sum(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(bit_cast<__m512>(v));
#else
  float sum = v[0];
  for (int i = 1; i < kWidth; ++i) sum += v[i];
  return sum;
#endif
}

inline float lane_max(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(bit_cast<__m512>(v));
#else
  float largest = v[0];
  for (int i = 1; i < kWidth; ++i) largest = largest > v[i] ? largest : v[i];
  return largest;
#endif
}

// What a product sums over: `load` a vector of B, `spread` one element of A, `multiply_add` both.
inline Floats spread(const Float32* a) { return broadcast(a->bits); }
inline Floats multiply_add(Floats a, Floats b, Floats sum) { return fma(a, b, sum); }

#if defined(__AVX512BF16__)
inline Words load(const BFloat16Pair* x) {
  Words v;
  memcpy(&v, x, sizeof v);
  return v;
}
// Pairs of the first `count` elements, 0 < count < 2 * kWidth; what lies beyond is zero, not read.
inline Words load_pairs_part(const BFloat16* x, int64_t count) {
  const __mmask32 kept = static_cast<__mmask32>((uint64_t{1} << count) - 1);
  return bit_cast<Words>(_mm512_maskz_loadu_epi16(kept, x));
}
inline Words spread(const BFloat16Pair* a) { return a->bits - Words{}; }
inline Floats multiply_add(Words a, Words b, Floats sum) {
  return bit_cast<Floats>(
      _mm512_dpbf16_ps(bit_cast<__m512>(sum), bit_cast<__m512bh>(b), bit_cast<__m512bh>(a)));
}

// 2 * kWidth floats to kWidth pairs; subnormals become zero.
inline void store_pairs(BFloat16Pair* y, Floats first, Floats second) {
  const __m512bh pairs = _mm512_cvtne2ps_pbh(bit_cast<__m512>(second), bit_cast<__m512>(first));
  memcpy(y, &pairs, sizeof pairs);
}
#endif

}  // namespace
}  // namespace intp::cpu
