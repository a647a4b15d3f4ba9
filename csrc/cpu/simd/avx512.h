#pragma once

// AVX-512 F, BW, DQ and VL.

#define INTP_SIMD_WIDTH 16
#include "cpu/simd/portable.h"

namespace intp::cpu {
namespace {

struct Avx512 : Portable {
  static constexpr bool kScalesByPower = true;
  static constexpr bool kDotsShorts = true;

  static Words widen(Halves v) {
    return bit_cast<Words>(_mm512_cvtepu16_epi32(bit_cast<__m256i>(v)));
  }
  static Halves narrow(Words v) {
    return bit_cast<Halves>(_mm512_cvtepi32_epi16(bit_cast<__m512i>(v)));
  }
  static Shorts widen_bytes(const uint8_t* x) {
    return bit_cast<Shorts>(
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))));
  }
  static void store_bytes(uint8_t* y, Words v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm512_cvtepi32_epi8(bit_cast<__m512i>(v)));
  }

  static Floats load(const Float16* x) {
    return bit_cast<Floats>(
        _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))));
  }
  static Halves round_float16(Floats v) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return bit_cast<Halves>(_mm512_cvtps_ph(bit_cast<__m512>(v), kNearest));
  }

  template <class T>
  static void copy_part(T* to, const T* from, int64_t count) {
    const __mmask16 lanes = static_cast<__mmask16>((1u << count) - 1);
    if constexpr (sizeof(T) == 4) {
      _mm512_store_ps(to, _mm512_maskz_loadu_ps(lanes, from));
    } else {
      _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_maskz_loadu_epi16(lanes, from));
    }
  }
  static Words load_pairs_part(const BFloat16* x, int64_t count) {
    const __mmask32 lanes = static_cast<__mmask32>((uint64_t{1} << count) - 1);
    return bit_cast<Words>(_mm512_maskz_loadu_epi16(lanes, x));
  }

  using Line = __m512i;

  template <class Vector>
  static void stream_store(void* to, Vector v) {
    if constexpr (sizeof v == 64) {
      _mm512_stream_si512(static_cast<__m512i*>(to), bit_cast<__m512i>(v));
    } else if constexpr (sizeof v == 32) {
      _mm256_stream_si256(static_cast<__m256i*>(to), bit_cast<__m256i>(v));
    } else {
      Portable::stream_store(to, v);
    }
  }

  static Floats fma(Floats a, Floats b, Floats c) {
    return bit_cast<Floats>(
        _mm512_fmadd_ps(bit_cast<__m512>(a), bit_cast<__m512>(b), bit_cast<__m512>(c)));
  }
  static Floats max(Floats a, Floats b) {
    return bit_cast<Floats>(_mm512_max_ps(bit_cast<__m512>(a), bit_cast<__m512>(b)));
  }
  static Words dot_shorts(Words a, Words b, Words sum) {
    sum += bit_cast<Words>(_mm512_madd_epi16(bit_cast<__m512i>(a), bit_cast<__m512i>(b)));
    asm("" : "+v"(sum));  // GCC makes trees of long sums, more than the registers hold
    return sum;
  }
  static float lane_sum(Floats v) { return _mm512_reduce_add_ps(bit_cast<__m512>(v)); }
  static float lane_max(Floats v) { return _mm512_reduce_max_ps(bit_cast<__m512>(v)); }

  using Table = Shorts;  // twice
  static Table table_of(const uint16_t (&entries)[16]) {
    Shorts table;
    for (int i = 0; i < 32; ++i) table[i] = entries[i % 16];
    return table;
  }
  static Shorts look_up(const Table& table, Shorts index) {
    return bit_cast<Shorts>(
        _mm512_permutexvar_epi16(bit_cast<__m512i>(index), bit_cast<__m512i>(table)));
  }

  static Floats fraction(Floats y) {
    constexpr int kBelow = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    return bit_cast<Floats>(_mm512_reduce_ps(bit_cast<__m512>(y), kBelow));
  }
  static Floats scale_by_power(Floats p, Floats y, Floats d, float lost) {
    const __mmask16 lanes =
        _mm512_cmp_ps_mask(bit_cast<__m512>(d), _mm512_set1_ps(lost), _CMP_NLT_UQ);
    return bit_cast<Floats>(
        _mm512_maskz_scalef_ps(lanes, bit_cast<__m512>(p), bit_cast<__m512>(y)));
  }
};

}  // namespace
}  // namespace intp::cpu
