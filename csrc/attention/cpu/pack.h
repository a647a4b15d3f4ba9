#pragma once

// Rows of q, k and v into the layouts that products read (product.h):
//
//   q  [rows, depth]             an element is a float, or a pair of channels (2 c, 2 c + 1)
//   k  [keys / P, depth, P]      panels of P keys, transposed
//   v  [keys, columns]           float, or
//      [keys / 2, columns]       the pair of keys (2 j, 2 j + 1) of a channel
//
// Padding (channels beyond D, the key beside an odd last one) and keys that nobody sees are zero.

#include <cstdint>

#include "attention/cpu/plan.h"
#include "cpu/lanes.h"

namespace intp::cpu {
namespace {

// y[0 .. padded - 1] = factor * x[0 .. size - 1], 0, ...
template <class T>
inline void convert_row(const T* x, int64_t size, float factor, float* y, int64_t padded) {
  int64_t i = 0;
  for (; i + kWidth <= size; i += kWidth) store_floats(y + i, load(x + i) * factor);
  for (; i < size; ++i) y[i] = load_one(x + i) * factor;
  for (; i < padded; ++i) y[i] = 0.0f;
}

template <class T>
inline void pack_query(const T* x, int64_t head_dim, float sign, Float32* q, float*) {
  convert_row(x, head_dim, sign, reinterpret_cast<float*>(q), head_dim);
}

// panel[c * stride + i] = element c of row i, for kWidth rows of `depth` elements.
// word(i, c): vector of elements c, c + 1, ... of row i;  element(i, c): one.
template <class Word, class Element>
inline void transpose_rows(int64_t depth, int64_t stride, uint32_t* panel, Word word,
                           Element element) {
  int64_t c = 0;
  for (; c + kWidth <= depth; c += kWidth) {
    Words rows[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) rows[i] = word(i, c);
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) memcpy(panel + (c + i) * stride, &rows[i], sizeof rows[i]);
  }
  for (; c < depth; ++c) {
    for (int i = 0; i < kWidth; ++i) panel[c * stride + i] = element(i, c);
  }
}

// kWidth rows of k, nullptr for zeros, into columns of a panel of `stride` keys.
template <class T>
inline void pack_keys(const T* const (&rows)[kWidth], int64_t head_dim, int64_t stride,
                      Float32* panel) {
  transpose_rows(
      head_dim, stride, reinterpret_cast<uint32_t*>(panel),
      [&](int i, int64_t c) { return rows[i] ? bit_cast<Words>(load(rows[i] + c)) : Words{}; },
      [&](int i, int64_t c) {
        return rows[i] ? bit_cast<uint32_t>(load_one(rows[i] + c)) : uint32_t{0};
      });
}

// Row `key` of v, nullptr for zeros.
template <class T>
inline void pack_value(const T* x, int64_t head_dim, int64_t columns, Float32* v) {
  convert_row(x, x ? head_dim : 0, 1.0f, reinterpret_cast<float*>(v), columns);
}

// Pairs of bfloat16.

inline uint32_t pair_of(uint16_t first, uint16_t second) {
  return first | static_cast<uint32_t>(second) << 16;
}

inline void pack_query(const BFloat16* x, int64_t head_dim, float sign, BFloat16Pair* q,
                       float* row) {
  convert_row(x, head_dim, sign, row, round_up(head_dim, 2));  // the sign: exact in bfloat16
  for (int64_t c = 0; c < head_dim; c += 2) {
    q[c / 2].bits = pair_of(bit_cast<uint32_t>(row[c]) >> 16, bit_cast<uint32_t>(row[c + 1]) >> 16);
  }
}

inline void pack_keys(const BFloat16* const (&rows)[kWidth], int64_t head_dim, int64_t stride,
                      BFloat16Pair* panel) {
  const auto element = [&](int i, int64_t c) -> uint32_t {
    if (rows[i] == nullptr) return 0;
    const bool whole = 2 * c + 1 < head_dim;
    return pair_of(rows[i][2 * c].bits, whole ? rows[i][2 * c + 1].bits : 0);
  };
  const auto word = [&](int i, int64_t c) {
    Words v{};
    if (rows[i]) memcpy(&v, rows[i] + 2 * c, sizeof v);
    return v;
  };
  uint32_t* words = reinterpret_cast<uint32_t*>(panel);
  transpose_rows(head_dim / 2, stride, words, word, element);
  if (head_dim % 2) {
    const int64_t last = head_dim / 2;
    for (int i = 0; i < kWidth; ++i) words[last * stride + i] = element(i, last);
  }
}

inline void pack_value_pair(const BFloat16* first, const BFloat16* second, int64_t head_dim,
                            int64_t columns, BFloat16Pair* v) {
  const auto words = [](const BFloat16* x, int64_t c) {
    if (x == nullptr) return Words{};
    Halves halves;
    memcpy(&halves, x + c, sizeof halves);
    return widen(halves);
  };
  int64_t c = 0;
  for (; c + kWidth <= head_dim; c += kWidth) {
    const Words pairs = words(first, c) | words(second, c) << 16;
    memcpy(v + c, &pairs, sizeof pairs);
  }
  for (; c < columns; ++c) {
    const bool inside = c < head_dim;
    v[c].bits = pair_of(inside && first ? first[c].bits : 0, inside && second ? second[c].bits : 0);
  }
}

}  // namespace
}  // namespace intp::cpu
