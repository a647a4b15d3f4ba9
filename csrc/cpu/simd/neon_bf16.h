#pragma once

// Advanced SIMD with products of bfloat16 pairs: BFDOT, which takes the pairs of A and B as they
// lie for every target, and BFMMLA, which multiplies blocks of both.

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

  static constexpr bool kMultipliesBlocks = true;
  static Words load_block(const BFloat16Pair* first, const BFloat16Pair* second) {
    uint64_t low;
    memcpy(&low, first, sizeof low);
    const uint64x2_t row = vcombine_u64(vcreate_u64(low), vcreate_u64(0));
    return bit_cast<Words>(vld1q_lane_u64(reinterpret_cast<const uint64_t*>(second), row, 1));
  }
  static Floats multiply_add_blocks(Words a, Words b, Floats sum) {
    return bit_cast<Floats>(vbfmmlaq_f32(bit_cast<float32x4_t>(sum), bit_cast<bfloat16x8_t>(a),
                                         bit_cast<bfloat16x8_t>(b)));
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
