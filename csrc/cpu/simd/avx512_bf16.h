#pragma once

// AVX-512 with products of bfloat16 pairs.

#include "cpu/simd/avx512.h"

namespace intp::cpu {
namespace {

struct Avx512Bf16 : Avx512 {
  static constexpr bool kDotsPairs = true;

  static Floats dot_pairs(Words a, Words b, Floats sum) {
    return bit_cast<Floats>(
        _mm512_dpbf16_ps(bit_cast<__m512>(sum), bit_cast<__m512bh>(b), bit_cast<__m512bh>(a)));
  }
  static void store_pairs(BFloat16Pair* y, Floats first, Floats second) {
    const __m512bh pairs = _mm512_cvtne2ps_pbh(bit_cast<__m512>(second), bit_cast<__m512>(first));
    memcpy(y, &pairs, sizeof pairs);
  }
};

}  // namespace
}  // namespace intp::cpu
