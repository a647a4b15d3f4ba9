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

// Stacks `lane` ... lane + kWidth - 1 of a cell, both halves. Bits beyond those of its
// slots mean nothing.
template <int kBits>
inline Shorts load_cell(const uint8_t* page, const CellPlace& at, int64_t lane) {
  Shorts stacks = widen_bytes(page + at.byte + 2 * lane);
  if constexpr (kBits == 3) {
    stacks |= widen_bytes(page + at.upper + 2 * lane) << (8 - at.upper_shift) & 0xff00;
  }
  return stacks;
}

template <int kBits>
inline void prefetch_cell(const uint8_t* page, const CellPlace& at) {
  __builtin_prefetch(page + at.byte);
  if (shared_rows(kBits) > 1 && at.upper_shift == 0) __builtin_prefetch(page + at.upper);
}

// code - center: the code becomes the last bits of a power of two. It stays where it lies, under a
// power whose last bit is there; only the second half of a word is shifted, once for all slots.
// AVX-512, which masks and adds the power by one instruction, shifts every code to the same place:
// constants for each slot would take registers.
template <int kBits>
inline Floats code_floats(Shorts cell, int slot, int half) {
  const int place = kWidth == 16 ? 0 : slot * kBits;
  const int shift = slot * kBits + 16 * half - place;
  const uint32_t mask = ((1u << kBits) - 1) << place, power = (127u + 23 - place) << 23;
  const Words code = (bit_cast<Words>(cell) >> shift & mask) | power;
  return bit_cast<Floats>(code) - (bit_cast<float>(power) + kCenter<kBits>);
}

template <int kBits>
inline CodePair slot_codes(Shorts cell, int slot) {
  return {code_floats<kBits>(cell, slot, 0), code_floats<kBits>(cell, slot, 1)};
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

}  // namespace
}  // namespace intp::cpu
