#pragma once

// Pages of a low-bit cache into the packed tiles of prefill (attention/cpu/pack.h): a cell of keys
// is a run of a panel, a cell of values a run of a row, so nothing is transposed.

#include <vector>

#include "attention/cpu/cells.h"

namespace intp::cpu {
namespace {

// Where elements of both halves go: floats `stride` apart, or one pair of bfloat16.
inline void store_halves(Float32* y, int64_t stride, Floats first, Floats second) {
  store_floats(reinterpret_cast<float*>(y), first);
  store_floats(reinterpret_cast<float*>(y + stride), second);
}
#if defined(__AVX512BF16__)
inline void store_halves(BFloat16Pair* y, int64_t, Floats first, Floats second) {
  const Words pairs = widen(round<BFloat16>(first)) | widen(round<BFloat16>(second)) << 16;
  memcpy(y, &pairs, sizeof pairs);
}
#endif

// Channel pairs per element of a row of k.
template <class Element>
constexpr int64_t kHalves =
    sizeof(Element) == sizeof(float) && std::is_same_v<Element, Float32> ? 2 : 1;

// cos and sin, times the scaling, of 64 tokens: each [F, 64].
inline void page_sines(const PackedKeys& keys, int64_t head, int64_t page, float* cos, float* sin) {
  const float* positions =
      keys.positions + head / keys.cache.heads * keys.position_stride + page * kPageTokens;
  for (int64_t f = 0; f < keys.frequencies; ++f) {
    for (int64_t t = 0; t < kPageTokens; ++t) {
      const SinCos at = sincos(rope_angle(positions[t], keys.inv_freq[f]));
      cos[f * kPageTokens + t] = at.cos * keys.scaling;
      sin[f * kPageTokens + t] = at.sin * keys.scaling;
    }
  }
}

// Keys of a page to panels [64 / panel, depth, panel].
template <class T, int kBits, class Element>
void unpack_keys_of(const PackedKeys& keys, int64_t head, int64_t page, int64_t panel,
                    Element* panels) {
  const KvCache& cache = keys.cache;
  constexpr int kSlots = 8 / kBits, kColumns = kPageTokens / kCellLanes / kSlots;
  const int64_t dim = cache.head_dim, depth = dim / 2 * kHalves<Element>;
  std::vector<float> memory(2 * dim + 2 * kPageTokens * keys.frequencies);
  float *scale = memory.data(), *center = scale + dim, *cos = center + dim;
  float* sin = cos + kPageTokens * keys.frequencies;
  const T* ranges = key_ranges<T>(cache, head, page);
  load_ranges(ranges, ranges + dim, dim, kCenter<kBits>, scale, center);
  if (keys.frequencies > 0) page_sines(keys, head, page, cos, sin);

  const uint8_t* codes = page_codes(cache.k_codes, cache, head, page);
  const auto load = [&](int64_t r, int64_t column, int64_t lane, int slot) {
    const Words cell = load_cell(codes + (r * kColumns + column) * kCellBytes, lane);
    const CodePair code = slot_codes<kBits>(cell, slot);
    const int64_t c = 2 * r;
    return CodePair{fma(code.first, broadcast(scale[c]), broadcast(center[c])),
                    fma(code.second, broadcast(scale[c + 1]), broadcast(center[c + 1]))};
  };
  const auto save = [&](int64_t r, int64_t token, const CodePair& x) {
    Element* at = panels + (token / panel * depth + r * kHalves<Element>)*panel + token % panel;
    store_halves(at, panel, x.first, x.second);
  };
  const int64_t rotated = keys.frequencies / 2;  // rows r with partners r + rotated
  for (int64_t column = 0; column < kColumns; ++column) {
    for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
      for (int slot = 0; slot < kSlots; ++slot) {
        const int64_t token = (column * kSlots + slot) * kCellLanes + lane;
        for (int64_t r = 0; r < rotated; ++r) {
          const CodePair a = load(r, column, lane, slot), b = load(r + rotated, column, lane, slot);
          const auto at = [&](const float* table, int64_t f) {
            return load_floats(table + f * kPageTokens + token);
          };
          const Floats cos0 = at(cos, 2 * r), sin0 = at(sin, 2 * r);
          const Floats cos1 = at(cos, 2 * r + 1), sin1 = at(sin, 2 * r + 1);
          save(r, token, {a.first * cos0 - b.first * sin0, a.second * cos1 - b.second * sin1});
          save(r + rotated, token,
               {b.first * cos0 + a.first * sin0, b.second * cos1 + a.second * sin1});
        }
        for (int64_t r = 2 * rotated; r < dim / 2; ++r) {
          save(r, token, load(r, column, lane, slot));
        }
      }
    }
  }
}

template <class T, class Element>
void unpack_keys(const PackedKeys& keys, int64_t head, int64_t page, int64_t panel,
                 Element* panels) {
  with_bits(keys.cache.bits, [&](auto bits) {
    unpack_keys_of<T, decltype(bits)::value>(keys, head, page, panel, panels);
  });
}

// Values of a page to rows [64, columns], or pairs of rows [32, columns]; columns >= D.
template <class T, int kBits, class Element>
void unpack_values_of(const KvCache& cache, int64_t head, int64_t page, int64_t columns,
                      Element* rows) {
  constexpr int kSlots = 8 / kBits;
  const int64_t dim = cache.head_dim, cells = dim / kCellLanes;
  const uint8_t* codes = page_codes(cache.v_codes, cache, head, page);
  float scale[kPageTokens], center[kPageTokens];
  for (int64_t c = 0; c < dim; c += kCellLanes) {
    if (c % cache.value_group == 0) {
      const T* ranges = value_ranges<T>(cache, head, page, c / cache.value_group);
      load_ranges(ranges, ranges + kPageTokens, kPageTokens, kCenter<kBits>, scale, center);
    }
    for (int64_t r = 0; r < kPageTokens / 2; r += kSlots) {
      const uint8_t* cell = codes + (r / kSlots * cells + c / kCellLanes) * kCellBytes;
      for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
        const Words packed = load_cell(cell, lane);
        for (int slot = 0; slot < kSlots; ++slot) {
          const CodePair code = slot_codes<kBits>(packed, slot);
          const int64_t t = 2 * (r + slot);
          store_halves(rows + (r + slot) * kHalves<Element> * columns + c + lane, columns,
                       fma(code.first, broadcast(scale[t]), broadcast(center[t])),
                       fma(code.second, broadcast(scale[t + 1]), broadcast(center[t + 1])));
        }
      }
    }
  }
}

template <class T, class Element>
void unpack_values(const KvCache& cache, int64_t head, int64_t page, int64_t columns,
                   Element* rows) {
  with_bits(cache.bits, [&](auto bits) {
    unpack_values_of<T, decltype(bits)::value>(cache, head, page, columns, rows);
  });
}

}  // namespace
}  // namespace intp::cpu
