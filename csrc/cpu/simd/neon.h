#pragma once

// Advanced SIMD, which every 64-bit Arm processor has. Its 32 registers of 128 bits are used one by
// one, not in pairs as vectors of 8 floats: GCC keeps those in memory. A tile of 6 x 4 vectors of
// sums leaves 8 registers: 6 hold four elements of each row of A, which FMLA multiplies by as they
// lie, lane after lane, and two pass B. That is 22 loads of 16 bytes for 96 products; elements of A
// spread to vectors, one by one, would take 40.

#include <arm_neon.h>

#include "cpu/simd/portable.h"

namespace intp::cpu {
namespace {

struct Neon : Portable {
  static Words widen(Halves v) { return bit_cast<Words>(vmovl_u16(bit_cast<uint16x4_t>(v))); }
  static Halves narrow(Words v) { return bit_cast<Halves>(vmovn_u32(bit_cast<uint32x4_t>(v))); }
  static Shorts widen_bytes(const uint8_t* x) { return bit_cast<Shorts>(vmovl_u8(vld1_u8(x))); }
  static void store_bytes(uint8_t* y, Words v) {
    const uint16x4_t halves = vmovn_u32(bit_cast<uint32x4_t>(v));
    const uint8x8_t bytes = vmovn_u16(vcombine_u16(halves, halves));
    memcpy(y, &bytes, kWidth);
  }

  static Floats load(const Float16* x) {
    Halves v;
    memcpy(&v, x, sizeof v);
    return bit_cast<Floats>(vcvt_f32_f16(bit_cast<float16x4_t>(v)));
  }
  static Halves round_float16(Floats v) {
    return bit_cast<Halves>(vcvt_f16_f32(bit_cast<float32x4_t>(v)));
  }

  static Floats fma(Floats a, Floats b, Floats c) {
    return bit_cast<Floats>(
        vfmaq_f32(bit_cast<float32x4_t>(c), bit_cast<float32x4_t>(a), bit_cast<float32x4_t>(b)));
  }
  static Floats max(Floats a, Floats b) {  // NaN if one is
    return bit_cast<Floats>(vmaxq_f32(bit_cast<float32x4_t>(a), bit_cast<float32x4_t>(b)));
  }
  static float lane_sum(Floats v) { return vaddvq_f32(bit_cast<float32x4_t>(v)); }
  static float lane_max(Floats v) { return vmaxvq_f32(bit_cast<float32x4_t>(v)); }

  static constexpr int kFactors = 4;
  template <int kAt>
  static Floats multiply_add_at(Floats a, Floats b, Floats sum) {
    return bit_cast<Floats>(vfmaq_laneq_f32(bit_cast<float32x4_t>(sum), bit_cast<float32x4_t>(b),
                                            bit_cast<float32x4_t>(a), kAt));
  }

  // All low bytes, then all high bytes: a lane asks for one of each.
  using Table = uint8x16x2_t;
  static Table table_of(const uint16_t (&entries)[16]) {
    uint8_t bytes[2][16];
    for (int i = 0; i < 16; ++i) {
      bytes[0][i] = static_cast<uint8_t>(entries[i]);
      bytes[1][i] = static_cast<uint8_t>(entries[i] >> 8);
    }
    return {{vld1q_u8(bytes[0]), vld1q_u8(bytes[1])}};
  }
  static Shorts look_up(const Table& table, Shorts index) {
    const uint16x8_t low = bit_cast<uint16x8_t>(index & uint16_t{15});
    const uint16x8_t both = vorrq_u16(vsliq_n_u16(low, low, 8), vdupq_n_u16(0x1000));
    return bit_cast<Shorts>(vqtbl2q_u8(table, vreinterpretq_u8_u16(both)));
  }
};

}  // namespace
}  // namespace intp::cpu
