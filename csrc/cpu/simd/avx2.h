#pragma once

// AVX2 with FMA and F16C.

#define INTP_SIMD_WIDTH 8
#include "cpu/simd/portable.h"

namespace intp::cpu {
namespace {

struct Avx2 : Portable {
  static constexpr bool kDotsShorts = true;

  // GCC would split __builtin_convertvector into halves of a register
  static Words widen(Halves v) {
    return bit_cast<Words>(_mm256_cvtepu16_epi32(bit_cast<__m128i>(v)));
  }
  static Shorts widen_bytes(const uint8_t* x) {
    return bit_cast<Shorts>(
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))));
  }
  static Halves narrow(Words v) {
    const __m256i words = bit_cast<__m256i>(v);
    const __m256i lanes = _mm256_packus_epi32(words, words);  // low halves, within each 128 bits
    return bit_cast<Halves>(_mm256_castsi256_si128(_mm256_permute4x64_epi64(lanes, 0x08)));
  }

  static Floats load(const Float16* x) {
    return bit_cast<Floats>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))));
  }
  static Halves round_float16(Floats v) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return bit_cast<Halves>(_mm256_cvtps_ph(bit_cast<__m256>(v), kNearest));
  }

  // By pairs: what is copied one by one must reach memory before it can be loaded as a vector.
  static Words load_pairs_part(const BFloat16* x, int64_t count) {
    if (count % 2 != 0) return Portable::load_pairs_part(x, count);
    const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i pairs = _mm256_set1_epi32(static_cast<int>(count / 2));
    return bit_cast<Words>(
        _mm256_maskload_epi32(reinterpret_cast<const int*>(x), _mm256_cmpgt_epi32(pairs, place)));
  }

  using Line = __m256i;

  template <class Vector>
  static void stream_store(void* to, Vector v) {
    if constexpr (sizeof v == 32) {
      _mm256_stream_si256(static_cast<__m256i*>(to), bit_cast<__m256i>(v));
    } else {
      Portable::stream_store(to, v);
    }
  }

  static Floats fma(Floats a, Floats b, Floats c) {
    return bit_cast<Floats>(
        _mm256_fmadd_ps(bit_cast<__m256>(a), bit_cast<__m256>(b), bit_cast<__m256>(c)));
  }
  static Floats max(Floats a, Floats b) {
    return bit_cast<Floats>(_mm256_max_ps(bit_cast<__m256>(a), bit_cast<__m256>(b)));
  }
  static float lane_sum(Floats v) {
    const __m256 x = bit_cast<__m256>(v);
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
  }
  static float lane_max(Floats v) {
    const __m256 x = bit_cast<__m256>(v);
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
  }

  static Words dot_shorts(Words a, Words b, Words sum) {
    sum += bit_cast<Words>(_mm256_madd_epi16(bit_cast<__m256i>(a), bit_cast<__m256i>(b)));
    asm("" : "+x"(sum));  // GCC makes trees of long sums, more than the registers hold
    return sum;
  }
};

}  // namespace
}  // namespace intp::cpu
