#pragma once

// Products of queries with the codes of a page of keys, and of weights with those of its values:
//
//     k = center + scale * code, per channel:   q . k = (q scale) . code + q . center
//     v = center + scale * code, per token:     w . v = (w scale) . code + w . center
//
// so the codes go into the products as they are, and scales into the other, small operand.

#include "attention/cpu/cells.h"
#include "attention/cpu/head.h"

namespace intp::cpu {
namespace {

// What products with codes are made of: pairs of float, or of bfloat16. Of a cell's slot: unpack()
// its codes; of the other operand: spread() a pair to all lanes.
template <class T, int kBits, bool kPairs = kUsesPairs<T>>
struct Codes {
  using Element = Float32;
  static constexpr int kElements = 2;  // of a pair
  using Slot = CodePair;
  using Factor = CodePair;

  static Slot unpack(const Codes&, Shorts cell, int slot) { return slot_codes<kBits>(cell, slot); }
  static Factor spread(const Element* a) { return {broadcast(a[0].bits), broadcast(a[1].bits)}; }
  static Floats add(const Factor& a, const Slot& b, Floats sum) {
    return fma(a.second, b.second, fma(a.first, b.first, sum));
  }
  // n floats (whole vectors of pairs) to elements
  static void convert(const float* x, int64_t n, Element* y) { memcpy(y, x, n * sizeof(float)); }
};

inline uint16_t bfloat16_bits(float x) {
  return static_cast<uint16_t>(bit_cast<uint32_t>(x) >> 16);
}

// A table of 16 bfloat16 unpacks a vector of codes: its index is the low 4 bits of a lane, of which
// a code uses the last ones. 8 bits are two codes of 4: 16 * high - 128, and low.
template <int kBits>
struct Codes<BFloat16, kBits, true> {
  using Element = BFloat16Pair;
  static constexpr int kElements = 1;
  static constexpr int kCode = kBits == 8 ? 4 : kBits;
  struct Slot {
    Words codes, high;  // high: of 8 bits
  };
  using Factor = Words;
  const Table table = table_of([](int i) {
    const int code = i & ((1 << kCode) - 1);
    return bfloat16_bits(kBits == 8 ? code : code - kCenter<kBits>);
  });
  const Table high_table = table_of([](int i) { return bfloat16_bits(16.0f * i - 128.0f); });

  static Slot unpack(const Codes& tables, Shorts cell, int slot) {
    Slot found{bit_cast<Words>(look_up(tables.table, cell >> slot * kBits)), Words{}};
    if constexpr (kBits == 8) found.high = bit_cast<Words>(look_up(tables.high_table, cell >> 4));
    return found;
  }
  static Factor spread(const Element* a) { return cpu::spread(a); }
  static Floats add(const Factor& a, const Slot& b, Floats sum) {
    sum = multiply_add(a, b.codes, sum);
    if constexpr (kBits == 8) sum = multiply_add(a, b.high, sum);
    return sum;
  }
  static void convert(const float* x, int64_t n, Element* y) {
    for (int64_t i = 0; i < n; i += 2 * kWidth) {
      store_pairs(y + i / 2, load_floats(x + i), load_floats(x + i + kWidth));
    }
  }
};

// scores[row][0 .. 63] = a[row] . codes: 16 tokens are the lanes, a slot is 16 more.
//   a [kRows, D / 2] pairs, lda elements apart
//   ahead: a page that is read soon, and prefetched at the pace of this one
template <class C, int kBits, int kRows>
void score_page(const C& codes, const uint8_t* page, const uint8_t* ahead, int64_t head_dim,
                const typename C::Element* a, int64_t lda, float* scores, int64_t ld_scores) {
  constexpr int kSlots = cell_slots(kBits), kCells = key_columns(kBits);
  // all accumulators of a row of cells where there are registers for them
  constexpr int kColumns = kManyRegisters ? kCells : 1;
  constexpr int kShared = shared_rows(kBits);
  const int dim = static_cast<int>(head_dim);
  for (int column = 0; column < kCells; column += kColumns) {
    for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
      Floats sum[kRows][kColumns * kSlots] = {};
      for (int top = 0; top < dim / 2; top += kShared) {
#pragma GCC unroll 2
        for (int r = top; r < top + kShared; ++r) {
          const CellPlace at = key_cell(kBits, dim, r, column);
          typename C::Slot slot[kColumns * kSlots];
#pragma GCC unroll 4
          for (int i = 0; i < kColumns; ++i) {
            const Shorts packed = load_cell<kBits>(page + i * kCellBytes, at, lane);
            prefetch_cell<kBits>(ahead + i * kCellBytes, at);
#pragma GCC unroll 4
            for (int s = 0; s < kSlots; ++s) slot[i * kSlots + s] = C::unpack(codes, packed, s);
          }
#pragma GCC unroll 8
          for (int row = 0; row < kRows; ++row) {
            const auto factor = C::spread(a + row * lda + r * C::kElements);
#pragma GCC unroll 4
            for (int i = 0; i < kColumns * kSlots; ++i) {
              sum[row][i] = C::add(factor, slot[i], sum[row][i]);
            }
          }
        }
      }
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
        for (int i = 0; i < kColumns * kSlots; ++i) {
          store_floats(scores + row * ld_scores + key_token(kBits, column, i, lane), sum[row][i]);
        }
      }
    }
  }
}

// sums[row][16 * first ...] += a[row] . codes: 16 channels of kColumns cells are the lanes, a slot
// is a pair of tokens.
//   a [kRows, 32] pairs, lda elements apart; ahead: see score_page
template <class C, int kBits, int kRows, int kColumns>
void sum_page(const C& codes, const uint8_t* page, const uint8_t* ahead, int head_dim, int first,
              const typename C::Element* a, int64_t lda, float* sums, int64_t ld_sums) {
  constexpr int kSlots = cell_slots(kBits), kShared = shared_rows(kBits);
  for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
    Floats sum[kRows][kColumns] = {};
    for (int top = 0; top < kPageTokens / 2 / kSlots; top += kShared) {
#pragma GCC unroll 2
      for (int r = top; r < top + kShared; ++r) {
        const CellPlace at = value_cell(kBits, head_dim, r, first);
        Shorts packed[kColumns];
#pragma GCC unroll 4
        for (int i = 0; i < kColumns; ++i) {
          packed[i] = load_cell<kBits>(page + i * kCellBytes, at, lane);
          prefetch_cell<kBits>(ahead + i * kCellBytes, at);
        }
#pragma GCC unroll 4
        for (int s = 0; s < kSlots; ++s) {
          typename C::Slot slot[kColumns];
#pragma GCC unroll 4
          for (int i = 0; i < kColumns; ++i) slot[i] = C::unpack(codes, packed[i], s);
#pragma GCC unroll 8
          for (int row = 0; row < kRows; ++row) {
            const auto factor = C::spread(a + row * lda + (r * kSlots + s) * C::kElements);
#pragma GCC unroll 4
            for (int i = 0; i < kColumns; ++i) {
              sum[row][i] = C::add(factor, slot[i], sum[row][i]);
            }
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; ++i) {
        float* at = sums + row * ld_sums + (first + i) * kCellLanes + lane;
        store_floats(at, load_floats(at) + sum[row][i]);
      }
    }
  }
}

}  // namespace
}  // namespace intp::cpu
