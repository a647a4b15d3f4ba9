#pragma once

// Pages of a low-bit cache into the packed tiles of prefill (attention/cpu/pack.h): a cell of keys
// is a run of a panel, a cell of values a run of a row, so nothing is transposed.

#include <vector>

#include "attention/cpu/cells.h"
#include "attention/cpu/head.h"
#include "attention/cpu/page_sines.h"
#include "attention/params.h"

namespace intp::cpu {
namespace {

// Where elements of both halves go: floats `stride` apart, or one pair of bfloat16.
inline void store_halves(Float32* y, int64_t stride, Floats first, Floats second) {
  store_floats(reinterpret_cast<float*>(y), first);
  store_floats(reinterpret_cast<float*>(y + stride), second);
}
inline void store_halves(BFloat16Pair* y, int64_t, Floats first, Floats second) {
  const Words pairs = widen(round<BFloat16>(first)) | widen(round<BFloat16>(second)) << 16;
  memcpy(y, &pairs, sizeof pairs);
}

// Channel pairs per element of a row of k.
template <class Element>
constexpr int64_t kHalves = kPairs<Element> ? 1 : 2;

// Keys of a page to panels [64 / panel, depth, panel].
template <class T, int kBits, class Element>
void unpack_keys_of(const PackedKeys& keys, int64_t head, int page, int64_t panel,
                    Element* panels) {
  const KvCache& cache = keys.cache;
  constexpr int kSlots = cell_slots(kBits), kColumns = key_columns(kBits);
  const int64_t dim = cache.head_dim, depth = dim / 2 * kHalves<Element>;
  std::vector<float> memory(2 * dim + 2 * kPageTokens * keys.frequencies);
  float *scale = memory.data(), *center = scale + dim, *cos = center + dim;
  float* sin = cos + kPageTokens * keys.frequencies;
  load_qparams(key_qparams<T>(cache, head, page), dim, kCenter<kBits>, scale, center);
  if (keys.frequencies > 0) {
    for (int axis = 0; axis < keys.axes; ++axis) {
      const float* positions = key_positions(keys, head / cache.heads, axis) + page * kPageTokens;
      fill_page_sines(keys, axis, positions, cos, sin);
    }
  }

  const uint8_t* codes = key_page(cache, head, page);
  const auto load = [&](int row, int column, int lane, int slot) {
    const Shorts cell = load_cell<kBits>(codes, key_cell(kBits, cache.head_dim, row, column), lane);
    const CodePair code = slot_codes<kBits>(cell, slot);
    const int c = 2 * row;
    return CodePair{fma(code.first, broadcast(scale[c]), broadcast(center[c])),
                    fma(code.second, broadcast(scale[c + 1]), broadcast(center[c + 1]))};
  };
  const auto save = [&](int row, int64_t token, const CodePair& x) {
    Element* at = panels + (token / panel * depth + row * kHalves<Element>)*panel + token % panel;
    store_halves(at, panel, x.first, x.second);
  };
  const int rotated = static_cast<int>(keys.frequencies) / 2;  // rows with partners row + rotated
  for (int column = 0; column < kColumns; ++column) {
    for (int lane = 0; lane < kCellLanes; lane += kWidth) {
      for (int slot = 0; slot < kSlots; ++slot) {
        const int token = key_token(kBits, column, slot, lane);
        const auto sines = [&](const float* table, int f) {
          return load_floats(table + f * kPageTokens + token);
        };
        for (int row = 0; row < rotated; ++row) {
          const CodePair a = load(row, column, lane, slot);
          const CodePair b = load(row + rotated, column, lane, slot);
          const int f = 2 * row;
          const auto even = rotate(a.first, b.first, sines(cos, f), sines(sin, f));
          const auto odd = rotate(a.second, b.second, sines(cos, f + 1), sines(sin, f + 1));
          save(row, token, {even.first, odd.first});
          save(row + rotated, token, {even.second, odd.second});
        }
        for (int row = 2 * rotated; row < dim / 2; ++row) {
          save(row, token, load(row, column, lane, slot));
        }
      }
    }
  }
}

template <class T, class Element>
void unpack_keys(const PackedKeys& keys, int64_t head, int page, int64_t panel, Element* panels) {
  with_bits(keys.cache.key_bits, [&](auto bits) {
    unpack_keys_of<T, decltype(bits)::value>(keys, head, page, panel, panels);
  });
}

// Values of a page to rows [64, columns], or pairs of rows [32, columns]; columns >= D.
template <class T, int kBits, class Element>
void unpack_values_of(const KvCache& cache, int64_t head, int page, int64_t columns,
                      Element* rows) {
  constexpr int kSlots = cell_slots(kBits);
  const int dim = cache.head_dim;
  const uint8_t* codes = value_page(cache, head, page);
  float scale[kPageTokens], center[kPageTokens];
  for (int c = 0; c < dim; c += kCellLanes) {
    if (c % cache.value_group == 0) {
      load_qparams(value_qparams<T>(cache, head, page, c / cache.value_group), kPageTokens,
                   kCenter<kBits>, scale, center);
    }
    for (int pair = 0; pair < kPageTokens / 2; pair += kSlots) {
      const CellPlace at = value_cell(kBits, dim, pair / kSlots, c / kCellLanes);
      for (int lane = 0; lane < kCellLanes; lane += kWidth) {
        const Shorts packed = load_cell<kBits>(codes, at, lane);
        for (int slot = 0; slot < kSlots; ++slot) {
          const CodePair code = slot_codes<kBits>(packed, slot);
          const int t = 2 * (pair + slot);
          store_halves(rows + (pair + slot) * kHalves<Element> * columns + c + lane, columns,
                       fma(code.first, broadcast(scale[t]), broadcast(center[t])),
                       fma(code.second, broadcast(scale[t + 1]), broadcast(center[t + 1])));
        }
      }
    }
  }
}

template <class T, class Element>
void unpack_values(const KvCache& cache, int64_t head, int page, int64_t columns, Element* rows) {
  with_bits(cache.value_bits, [&](auto bits) {
    unpack_values_of<T, decltype(bits)::value>(cache, head, page, columns, rows);
  });
}

}  // namespace
}  // namespace intp::cpu
