#pragma once

// Vectors by the extensions of the compiler alone: what other targets do not do better they take
// from here. Those set the width of a vector first. cpu/simd.h says what each function means.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/simd/elements.h"

#if !defined(INTP_SIMD_WIDTH)
#define INTP_SIMD_WIDTH 4  // SSE2, NEON
#endif

namespace intp::cpu {
namespace {

constexpr int kWidth = INTP_SIMD_WIDTH;  // lanes

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Words __attribute__((vector_size(4 * kWidth)));
typedef int32_t Integers __attribute__((vector_size(4 * kWidth)));
typedef uint16_t Halves __attribute__((vector_size(2 * kWidth)));
typedef uint16_t Shorts __attribute__((vector_size(4 * kWidth)));  // two a word

struct Portable {
  static constexpr bool kDotsPairs = false;         // is there an instruction for dot_pairs?
  static constexpr bool kDotsShorts = false;        // for dot_shorts?
  static constexpr bool kScalesByPower = false;     // and for p * 2^y?
  static constexpr bool kMultipliesBlocks = false;  // and for multiply_add_blocks?
  static constexpr int kFactors = 1;                // lanes that products can take a factor from

  // --- conversions ---

  static Words widen(Halves v) { return __builtin_convertvector(v, Words); }
  static Halves narrow(Words v) { return __builtin_convertvector(v, Halves); }

  static Shorts widen_bytes(const uint8_t* x) {
    typedef uint8_t Bytes __attribute__((vector_size(2 * kWidth)));
    Bytes v;
    memcpy(&v, x, sizeof v);
    return __builtin_convertvector(v, Shorts);
  }
  static void store_bytes(uint8_t* y, Words v) {
    for (int i = 0; i < kWidth; ++i) y[i] = static_cast<uint8_t>(v[i]);
  }

  static Floats load(const Float16* x) {
    Halves v;
    memcpy(&v, x, sizeof v);
    const Words half = widen(v), magnitude = half & 0x7fff;
    // scaling by 2^112 moves the exponent and normalizes a subnormal; infinity and NaN get theirs
    const Words finite = bit_cast<Words>(bit_cast<Floats>(magnitude << 13) * 0x1p112f);
    const Words special = bit_cast<Words>(magnitude >= 0x7c00) & 0x7f800000;
    return bit_cast<Floats>(finite | special | (half & 0x8000) << 16);
  }

  static Halves round_float16(Floats v) {
    const Words bits = bit_cast<Words>(v), magnitude = bits & 0x7fffffff;
    const Words normal = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
    // below 2^-14: the adder rounds at 2^-24
    const Words subnormal = bit_cast<Words>(bit_cast<Floats>(magnitude) + 0.5f) - 0x3f000000;
    Words half = magnitude < 0x38800000 ? subnormal : normal;
    half = magnitude >= 0x477ff000 ? Words{} + 0x7c00 : half;  // 65520 and more: infinity
    half = magnitude > 0x7f800000 ? Words{} + 0x7e00 : half;   // NaN
    return narrow(half | (bits >> 16 & 0x8000));
  }

  // --- memory ---

  template <class T>
  static void copy_part(T* to, const T* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }

  static Words load_pairs_part(const BFloat16* x, int64_t count) {
    BFloat16 lanes[2 * kWidth] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = x[i];
    return bit_cast<Words>(lanes);
  }

#if defined(__x86_64__)
  using Line = __m128i;

  template <class Vector>
  static void stream_store(void* to, Vector v) {
    if constexpr (sizeof v == 16) {
      _mm_stream_si128(static_cast<__m128i*>(to), bit_cast<__m128i>(v));
    } else if constexpr (sizeof v == 8) {
      _mm_stream_si64(static_cast<long long*>(to), bit_cast<long long>(v));
    } else {
      memcpy(to, &v, sizeof v);
    }
  }
  static void stream_fence() { _mm_sfence(); }
#else
  using Line = uint64_t;

  template <class Vector>
  static void stream_store(void* to, Vector v) {
    memcpy(to, &v, sizeof v);
  }
  static void stream_fence() {}
#endif

  // --- arithmetic ---

  static Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }

  static Floats max(Floats a, Floats b) {
#if defined(__SSE2__) && INTP_SIMD_WIDTH == 4
    return bit_cast<Floats>(_mm_max_ps(bit_cast<__m128>(a), bit_cast<__m128>(b)));
#else
    return a > b ? a : b;
#endif
  }

  static float lane_sum(Floats v) {
    float sum = v[0];
    for (int i = 1; i < kWidth; ++i) sum += v[i];
    return sum;
  }

  static float lane_max(Floats v) {
    float largest = v[0];
    for (int i = 1; i < kWidth; ++i) largest = largest > v[i] ? largest : v[i];
    return largest;
  }

  struct Table {
    uint16_t entries[16];
  };
  static Table table_of(const uint16_t (&entries)[16]) {
    Table table;
    memcpy(table.entries, entries, sizeof entries);
    return table;
  }
  static Shorts look_up(const Table& table, Shorts index) {
    Shorts v;
    for (int i = 0; i < 2 * kWidth; ++i) v[i] = table.entries[index[i] % 16];
    return v;
  }

  static Floats dot_pairs(Words a, Words b, Floats sum) {
    const auto low = [](Words v) { return bit_cast<Floats>(v << 16); };
    const auto high = [](Words v) { return bit_cast<Floats>(v & 0xffff0000); };
    return fma(high(a), high(b), fma(low(a), low(b), sum));
  }

  static Words dot_shorts(Words a, Words b, Words sum) {
    const auto low = [](Words v) { return bit_cast<Integers>(v << 16) >> 16; };
    const auto high = [](Words v) { return bit_cast<Integers>(v) >> 16; };
    return sum + bit_cast<Words>(low(a) * low(b) + high(a) * high(b));
  }
};

}  // namespace
}  // namespace intp::cpu
