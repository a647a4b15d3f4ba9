#pragma once

// Advanced SIMD with products of bfloat16 pairs. BFDOT, not BFMMLA: it takes the pairs of A and B
// as they lie for every target, where BFMMLA wants blocks of 2 x 4 and leaves blocks of 2 x 2.

#include "cpu/simd/neon.h"

namespace intp::cpu {
namespace {

struct NeonBf16 : Neon {
  static constexpr bool kDotsPairs = true;

  static Floats dot_pairs(Words a, Words b, Floats sum) {
    return bit_cast<Floats>(vbfdotq_f32(bit_cast<float32x4_t>(sum), bit_cast<bfloat16x8_t>(b),
                                        bit_cast<bfloat16x8_t>(a)));
  }
  static void store_pairs(BFloat16Pair* y, Floats first, Floats second) {
    const bfloat16x8_t pairs = vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(bit_cast<float32x4_t>(first)),
                                                   bit_cast<float32x4_t>(second));
    memcpy(y, &pairs, sizeof pairs);
  }

  using Neon::multiply_add_at;
  template <int kAt>
  static Floats multiply_add_at(Words a, Words b, Floats sum) {
    return bit_cast<Floats>(vbfdotq_laneq_f32(bit_cast<float32x4_t>(sum), bit_cast<bfloat16x8_t>(b),
                                              bit_cast<bfloat16x8_t>(a), kAt));
  }
};

}  // namespace
}  // namespace intp::cpu
