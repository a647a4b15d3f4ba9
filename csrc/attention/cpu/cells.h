#pragma once

// Codes of a cell (common/kv_page.h) as vectors, with their scales and zero points.

#include "common/kv_page.h"
#include "cpu/simd.h"

namespace intp::cpu {
namespace {

// Codes are used as code - center: what is added up stays as small as the values are.
template <int kBits>
constexpr float kCenter = 1 << (kBits - 1);

// Of kWidth lanes of a slot: the codes of both halves.
struct CodePair {
  Floats first, second;
};

// Lanes `lane` ... lane + kWidth - 1 of a cell, all slots.
inline Words load_cell(const uint8_t* cell, int64_t lane) {
  Halves halves;
  memcpy(&halves, cell + 2 * lane, sizeof halves);
  return widen(halves);
}

// code - center: the code is put into the low bits of 2^23.
template <int kBits>
inline Floats code_floats(Words cell, int shift) {
  const Words code = (cell >> shift & ((1 << kBits) - 1)) | 0x4b000000;
  return bit_cast<Floats>(code) - (0x1p23f + kCenter<kBits>);
}

template <int kBits>
inline CodePair slot_codes(Words cell, int slot) {
  return {code_floats<kBits>(cell, slot * kBits), code_floats<kBits>(cell, slot * kBits + 8)};
}

// Scales, then zero points, of `count` codes, as floats: x = center + scale * (code - kCenter).
template <class T>
inline void load_qparams(const T* qparams, int64_t count, float code_center, float* scale_out,
                         float* center_out) {
  for (int64_t i = 0; i < count; i += kWidth) {
    const Floats scale = load(qparams + i), zero = load(qparams + count + i);
    store_floats(scale_out + i, scale);
    store_floats(center_out + i, fma(scale, broadcast(code_center), zero));
  }
}

template <class T>
inline const T* key_qparams(const KvCache& cache, int64_t head, int page) {
  return static_cast<const T*>(cache.k_qparams) + key_qparams_offset(cache, head, page);
}

template <class T>
inline const T* value_qparams(const KvCache& cache, int64_t head, int page, int group) {
  return static_cast<const T*>(cache.v_qparams) + value_qparams_offset(cache, head, page, group);
}

// f(std::integral_constant) for the bits of the cache.
template <class F>
inline void with_bits(int64_t bits, F f) {
  if (bits == 2) return f(std::integral_constant<int, 2>());
  if (bits == 4) return f(std::integral_constant<int, 4>());
  f(std::integral_constant<int, 8>());
}

}  // namespace
}  // namespace intp::cpu
