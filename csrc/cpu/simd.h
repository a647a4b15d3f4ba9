#pragma once

// The vocabulary of kernels: vectors of float for the target that this file is compiled for. Only
// here it is asked which that is. Everything has internal linkage: see common/macros.h.

#if defined(__AVX512BF16__)
#include "cpu/simd/avx512_bf16.h"
#define INTP_SIMD Avx512Bf16
#elif defined(__AVX512F__)
#include "cpu/simd/avx512.h"
#define INTP_SIMD Avx512
#elif defined(__AVX2__)
#include "cpu/simd/avx2.h"
#define INTP_SIMD Avx2
#elif defined(INTP_NEON) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#include "cpu/simd/neon_bf16.h"
#define INTP_SIMD NeonBf16
#elif defined(INTP_NEON)
#include "cpu/simd/neon.h"
#define INTP_SIMD Neon
#else
#include "cpu/simd/portable.h"
#define INTP_SIMD Portable
#endif

namespace intp::cpu {
namespace {

using Simd = INTP_SIMD;

constexpr bool kDotsPairs = Simd::kDotsPairs;
constexpr bool kDotsShorts = Simd::kDotsShorts;
constexpr bool kMultipliesBlocks = Simd::kMultipliesBlocks;

// --- lanes of other widths ---

inline Words widen(Halves v) { return Simd::widen(v); }
inline Halves narrow(Words v) { return Simd::narrow(v); }
inline Shorts widen_bytes(const uint8_t* x) { return Simd::widen_bytes(x); }
inline void store_bytes(uint8_t* y, Words v) { Simd::store_bytes(y, v); }  // the low 8 bits

// --- elements of memory to floats and back ---

inline Floats broadcast(float x) { return x - Floats{}; }

inline Floats load_floats(const float* x) {
  Floats v;
  memcpy(&v, x, sizeof v);
  return v;
}
inline void store_floats(float* y, Floats v) { memcpy(y, &v, sizeof v); }

inline Floats load(const Float32* x) { return load_floats(&x->bits); }

inline Floats load(const BFloat16* x) {
  Halves v;
  memcpy(&v, x, sizeof v);
  return bit_cast<Floats>(widen(v) << 16);
}

inline Floats load(const Float16* x) { return Simd::load(x); }

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

template <>
inline auto round<Float16>(Floats v) {
  return Simd::round_float16(v);
}

template <class T>
inline void store(T* y, Floats v) {
  const auto out = round<T>(v);
  memcpy(y, &out, sizeof out);
}

// The first `count` elements, 0 < count < kWidth; the lanes beyond are zero and not read.
template <class T>
inline Floats load_part(const T* x, int64_t count) {
  alignas(64) T lanes[kWidth] = {};
  Simd::copy_part(lanes, x, count);
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

// Writes v past the cache; `to` is aligned to sizeof(v). Call stream_fence() before another thread
// reads it.
template <class Vector>
inline void stream_store(void* to, Vector v) {
  Simd::stream_store(to, v);
}
inline void stream_fence() { Simd::stream_fence(); }

// --- arithmetic ---

// a * b + c
inline Floats fma(Floats a, Floats b, Floats c) { return Simd::fma(a, b, c); }
inline Floats max(Floats a, Floats b) { return Simd::max(a, b); }
inline float lane_sum(Floats v) { return Simd::lane_sum(v); }
inline float lane_max(Floats v) { return Simd::lane_max(v); }

// Sixteen shorts, entry(i) each. Lane l of what is looked up: number index[l] modulo 16.
using Table = Simd::Table;
template <class Entry>
inline Table table_of(Entry entry) {
  uint16_t entries[16];
  for (int i = 0; i < 16; ++i) entries[i] = entry(i);
  return Simd::table_of(entries);
}
inline Shorts look_up(const Table& table, Shorts index) { return Simd::look_up(table, index); }

// What a product sums over: `load` a vector of B, `spread` one element of A, `multiply_add` both.
inline Floats spread(const Float32* a) { return broadcast(a->bits); }
inline Floats multiply_add(Floats a, Floats b, Floats sum) { return fma(a, b, sum); }

// The same of pairs of bfloat16. Every target has it; it pays where kDotsPairs.
inline Words load(const BFloat16Pair* x) {
  Words v;
  memcpy(&v, x, sizeof v);
  return v;
}
// Pairs of the first `count` elements, 0 < count < 2 * kWidth; what lies beyond is zero, not read.
inline Words load_pairs_part(const BFloat16* x, int64_t count) {
  return Simd::load_pairs_part(x, count);
}
inline Words spread(const BFloat16Pair* a) { return a->bits - Words{}; }
inline Floats multiply_add(Words a, Words b, Floats sum) { return Simd::dot_pairs(a, b, sum); }

// kFactors elements of A that lie side by side, and the product of one of them.
constexpr int kFactors = Simd::kFactors;
template <int kAt, class Factors, class Vector, class Target = Simd>
inline Floats multiply_add_at(Factors a, Vector b, Floats sum) {
  return Target::template multiply_add_at<kAt>(a, b, sum);
}

// Blocks of two rows of two pairs, where vectors hold as much (kMultipliesBlocks):
// load_block(row, row), and a product of blocks: element (i, j) is sum's plus row i of a times row
// j of b.
template <class Target = Simd>
inline Words load_block(const BFloat16Pair* first, const BFloat16Pair* second) {
  return Target::load_block(first, second);
}
template <class Target = Simd>
inline Floats multiply_add_blocks(Words a, Words b, Floats sum) {
  return Target::multiply_add_blocks(a, b, sum);
}

// Of pairs of signed 16-bit integers: sum + a.first * b.first + a.second * b.second. Every target
// has it; it pays where kDotsShorts.
inline Words dot_shorts(Words a, Words b, Words sum) { return Simd::dot_shorts(a, b, sum); }
inline Floats integers_to_floats(Words v) {
  return __builtin_convertvector(bit_cast<Integers>(v), Floats);
}

// 2 * kWidth floats to kWidth pairs; with kDotsPairs subnormals become zero.
template <class Target = Simd>
inline void store_pairs(BFloat16Pair* y, Floats first, Floats second) {
  if constexpr (Target::kDotsPairs) {
    Target::store_pairs(y, first, second);
  } else {
    store(reinterpret_cast<BFloat16*>(y), first);
    store(reinterpret_cast<BFloat16*>(y) + kWidth, second);
  }
}

}  // namespace
}  // namespace intp::cpu
