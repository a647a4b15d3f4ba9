#pragma once

// Products of queries with the codes of a page of keys, and of weights with those of its values:
//
//     k = center + scale * code, per channel:   q . k = (q scale) . code + q . center
//     v = center + scale * code, per token:     w . v = (w scale) . code + w . center
//
// so the codes go into the products as they are, and scales into the other, small operand.

#include "attention/cpu/code_operands.h"

namespace intp::cpu {
namespace {

// A product is constant + unit * (the sum of products of elements and codes).
struct ProductTerms {
  float unit, constant;
};

// scores[row][0 .. 63] = a[row] . codes: tokens are the lanes.
//   a [kRows, D / 2] pairs, lda elements apart
//   ahead: a page that is read soon, and prefetched at the pace of this one; or null
template <class C, int kBits, int kRows>
void score_page(const C& codes, const uint8_t* page, const uint8_t* ahead, int64_t head_dim,
                const typename C::Element* a, int64_t lda, const ProductTerms* terms, float* scores,
                int64_t ld_scores) {
  constexpr int kShared = shared_rows(kBits);
  // A unit is a vector of a row of cells, which has kUnits of them. As many units and slots at once
  // as there are registers for their sums.
  constexpr int kUnitBytes = 2 * kWidth;
  constexpr int kUnits = key_columns(kBits) * kCellBytes / kUnitBytes;
  constexpr int kSlots = half_until(cell_slots(kBits), C::sums(kRows));
  constexpr int kAtOnce = half_until(kUnits, C::sums(kRows) / kSlots);
  const int dim = static_cast<int>(head_dim);
  for (int unit = 0; unit < kUnits; unit += kAtOnce) {
    for (int first = 0; first < cell_slots(kBits); first += kSlots) {
      const bool prefetches = ahead != nullptr && first == 0 && unit * kUnitBytes % kLine == 0;
      typename C::Sum sum[kRows][kAtOnce][kSlots] = {};
      for (int top = 0; top < dim / 2; top += kShared) {
#pragma GCC unroll 2
        for (int r = top; r < top + kShared; ++r) {
          const CellPlace at = key_cell(kBits, dim, r, 0);
          typename C::Slot slot[kAtOnce][kSlots];
#pragma GCC unroll 8
          for (int i = 0; i < kAtOnce; ++i) {
            const int64_t offset = (unit + i) * kUnitBytes;
            const Shorts packed = load_cell<kBits>(page + offset, at, 0);
            if (i * kUnitBytes % kLine == 0 && prefetches) {
              prefetch_cell<kBits>(ahead + offset, at);
            }
#pragma GCC unroll 4
            for (int s = 0; s < kSlots; ++s) slot[i][s] = C::unpack(codes, packed, first + s);
          }
#pragma GCC unroll 8
          for (int row = 0; row < kRows; ++row) {
            const auto factor = C::spread(a + row * lda + r * C::kElements);
#pragma GCC unroll 8
            for (int i = 0; i < kAtOnce; ++i) {
#pragma GCC unroll 4
              for (int s = 0; s < kSlots; ++s) {
                sum[row][i][s] = C::add(factor, slot[i][s], sum[row][i][s]);
              }
            }
          }
        }
      }
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
        for (int i = 0; i < kAtOnce; ++i) {
          const int column = (unit + i) * kUnitBytes / kCellBytes;
          const int lane = (unit + i) * kWidth % kCellLanes;
#pragma GCC unroll 4
          for (int s = 0; s < kSlots; ++s) {
            store_floats(scores + row * ld_scores + key_token(kBits, column, first + s, lane),
                         fma(C::floats(sum[row][i][s]), broadcast(terms[row].unit),
                             broadcast(terms[row].constant)));
          }
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
              const typename C::Element* a, int64_t lda, const ProductTerms* terms, float* sums,
              int64_t ld_sums) {
  constexpr int kSlots = cell_slots(kBits), kShared = shared_rows(kBits);
  for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
    const bool prefetches = ahead != nullptr && lane == 0;
    typename C::Sum sum[kRows][kColumns] = {};
    for (int top = 0; top < kPageTokens / 2 / kSlots; top += kShared) {
#pragma GCC unroll 2
      for (int r = top; r < top + kShared; ++r) {
        const CellPlace at = value_cell(kBits, head_dim, r, first);
        Shorts packed[kColumns];
#pragma GCC unroll 4
        for (int i = 0; i < kColumns; ++i) {
          packed[i] = load_cell<kBits>(page + i * kCellBytes, at, lane);
          if (i * kCellBytes % kLine == 0 && prefetches) {
            prefetch_cell<kBits>(ahead + i * kCellBytes, at);
          }
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
        const Floats before = load_floats(at) + broadcast(terms[row].constant);
        store_floats(at, fma(C::floats(sum[row][i]), broadcast(terms[row].unit), before));
      }
    }
  }
}

}  // namespace
}  // namespace intp::cpu
