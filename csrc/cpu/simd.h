#pragma once

// Vectors of float for the instruction set this file is compiled for. Everything has internal
// linkage: see common/macros.h.

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace intp::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;  // SSE2, NEON
#endif

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Words __attribute__((vector_size(4 * kWidth)));
typedef uint16_t Halves __attribute__((vector_size(2 * kWidth)));

// Elements as they lie in memory.
struct Float32 {
  float bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <class To, class From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// 16 bits to 32 and back. GCC would split __builtin_convertvector into halves of a register.
#if defined(__AVX512F__)
inline Words widen(Halves v) {
  return bit_cast<Words>(_mm512_cvtepu16_epi32(bit_cast<__m256i>(v)));
}
inline Halves narrow(Words v) {
  return bit_cast<Halves>(_mm512_cvtepi32_epi16(bit_cast<__m512i>(v)));
}
#elif defined(__AVX2__)
inline Words widen(Halves v) {
  return bit_cast<Words>(_mm256_cvtepu16_epi32(bit_cast<__m128i>(v)));
}
inline Halves narrow(Words v) {
  const __m256i words = bit_cast<__m256i>(v);
  const __m256i lanes = _mm256_packus_epi32(words, words);  // low halves, within each 128 bits
  return bit_cast<Halves>(_mm256_castsi256_si128(_mm256_permute4x64_epi64(lanes, 0x08)));
}
#else
inline Words widen(Halves v) { return __builtin_convertvector(v, Words); }
inline Halves narrow(Words v) { return __builtin_convertvector(v, Halves); }
#endif

inline Floats load(const Float32* x) {
  Floats v;
  memcpy(&v, x, sizeof v);
  return v;
}

inline Floats load(const BFloat16* x) {
  Halves v;
  memcpy(&v, x, sizeof v);
  return bit_cast<Floats>(widen(v) << 16);
}

// round<T>(v): v as elements of T, rounded to nearest even; NaN stays NaN.
template <class T>
auto round(Floats v);

template <>
inline auto round<Float32>(Floats v) {
  return v;
}

template <>
inline auto round<BFloat16>(Floats v) {
  const Words bits = bit_cast<Words>(v);
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words nan = bit_cast<Words>(v != v);
  return narrow((rounded & ~nan) | (nan & 0x7fc0));
}

#if defined(__AVX512F__)
inline Floats load(const Float16* x) {
  return bit_cast<Floats>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))));
}

template <>
inline auto round<Float16>(Floats v) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return bit_cast<Halves>(_mm512_cvtps_ph(bit_cast<__m512>(v), kNearest));
}
#elif defined(__F16C__)
inline Floats load(const Float16* x) {
  return bit_cast<Floats>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))));
}

template <>
inline auto round<Float16>(Floats v) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return bit_cast<Halves>(_mm256_cvtps_ph(bit_cast<__m256>(v), kNearest));
}
#else
inline Floats load(const Float16* x) {
  Halves v;
  memcpy(&v, x, sizeof v);
  const Words half = widen(v), magnitude = half & 0x7fff;
  // scaling by 2^112 moves the exponent and normalises a subnormal; infinity and NaN get theirs
  const Words finite = bit_cast<Words>(bit_cast<Floats>(magnitude << 13) * 0x1p112f);
  const Words special = bit_cast<Words>(magnitude >= 0x7c00) & 0x7f800000;
  return bit_cast<Floats>(finite | special | (half & 0x8000) << 16);
}

template <>
inline auto round<Float16>(Floats v) {
  const Words bits = bit_cast<Words>(v), magnitude = bits & 0x7fffffff;
  const Words normal = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  // below 2^-14: the adder rounds at 2^-24
  const Words subnormal = bit_cast<Words>(bit_cast<Floats>(magnitude) + 0.5f) - 0x3f000000;
  Words half = magnitude < 0x38800000 ? subnormal : normal;
  half = magnitude >= 0x477ff000 ? Words{} + 0x7c00 : half;  // 65520 and more: infinity
  half = magnitude > 0x7f800000 ? Words{} + 0x7e00 : half;   // NaN
  return narrow(half | (bits >> 16 & 0x8000));
}
#endif

template <class T>
inline void store(T* y, Floats v) {
  const auto out = round<T>(v);
  memcpy(y, &out, sizeof out);
}

// The first `count` elements, 0 < count < kWidth; the lanes beyond are zero and not read.
template <class T>
inline Floats load_part(const T* x, int64_t count) {
  alignas(64) T lanes[kWidth] = {};
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  const __mmask16 kept = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(T) == 4) {
    _mm512_store_ps(lanes, _mm512_maskz_loadu_ps(kept, x));
  } else {
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_maskz_loadu_epi16(kept, x));
  }
#else
  for (int64_t i = 0; i < count; ++i) lanes[i] = x[i];
#endif
  return load(lanes);
}

// One element, by way of a vector: the same rounding as the rest of the row.
template <class T>
inline float load_one(const T* x) {
  T lanes[kWidth] = {*x};
  return load(lanes)[0];
}
template <class T>
inline void store_one(T* y, float value) {
  T lanes[kWidth];
  store(lanes, Floats{value});
  *y = lanes[0];
}

}  // namespace
}  // namespace intp::cpu
