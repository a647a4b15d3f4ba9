#pragma once

// The matrix products of attention: sums[rows, columns] (+)= a[rows, depth] b[depth, columns].

#include <cstdint>
#include <type_traits>
#include <utility>

#include "cpu/lanes.h"

namespace intp::cpu {
namespace {

// As many steps of the sum over `depth` as a vector has elements of A.
template <int kRows, int kColumns, class A, class B, int... kStep>
inline void add_steps(const A* a, int64_t lda, const B* b, int64_t ldb,
                      Floats (&sum)[kRows][kColumns], std::integer_sequence<int, kStep...>) {
  decltype(load(a)) factors[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) factors[i] = load(a + i * lda);
  const auto add_step = [&](auto step) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
      const auto row = load(b + step() * ldb + j * kWidth);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        sum[i][j] = multiply_add_at<step()>(factors[i], row, sum[i][j]);
      }
    }
  };
  (add_step(std::integral_constant<int, kStep>()), ...);
}

// The first pairs of the sum over `depth`, two at a time, in blocks of two rows of A by two columns
// of B: two vectors of B make two blocks of it. Returns how many.
template <int kRows, int kColumns>
inline int64_t multiply_blocks(int64_t depth, const BFloat16Pair* a, int64_t lda,
                               const BFloat16Pair* b, int64_t ldb, Floats (&sum)[kRows][kColumns]) {
  constexpr std::make_integer_sequence<int, kWidth> lanes;
  Floats blocks[kRows / 2][kColumns][2] = {};
  int64_t k = 0;
  for (; k + 2 <= depth; k += 2) {
    Words rows[kRows / 2];
#pragma GCC unroll 4
    for (int i = 0; i < kRows / 2; ++i) {
      rows[i] = load_block(a + 2 * i * lda + k, a + (2 * i + 1) * lda + k);
    }
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
      const BFloat16Pair* at = b + k * ldb + j * kWidth;
      const auto columns = interleave(load(at), load(at + ldb), lanes);
#pragma GCC unroll 4
      for (int i = 0; i < kRows / 2; ++i) {
        blocks[i][j][0] = multiply_add_blocks(rows[i], columns.low, blocks[i][j][0]);
        blocks[i][j][1] = multiply_add_blocks(rows[i], columns.high, blocks[i][j][1]);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows / 2; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
      const auto pair = exchange<2>(blocks[i][j][0], blocks[i][j][1], lanes);
      sum[2 * i][j] = pair.low;
      sum[2 * i + 1][j] = pair.high;
    }
  }
  return k;
}

//              b   [depth, kColumns vectors], rows ldb apart
//   a [kRows, depth]     kRows x kColumns vectors of sums in registers
template <int kRows, int kColumns, bool kAdd, class A, class B>
inline void multiply_block(int64_t depth, const A* a, int64_t lda, const B* b, int64_t ldb,
                           float* sums, int64_t ld_sums) {
  Floats sum[kRows][kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) sum[i][j] = Floats{};
  }
  int64_t k = 0;
  if constexpr (kMultipliesBlocks && std::is_same_v<A, BFloat16Pair> && kRows % 2 == 0) {
    k = multiply_blocks(depth, a, lda, b, ldb, sum);
  } else if constexpr (kFactors > 1) {
    for (; k + kFactors <= depth; k += kFactors) {
      add_steps(a + k, lda, b + k * ldb, ldb, sum, std::make_integer_sequence<int, kFactors>());
    }
  }
  for (; k < depth; ++k) {
    decltype(load(b)) row[kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) row[j] = load(b + k * ldb + j * kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const auto factor = spread(a + i * lda + k);
#pragma GCC unroll 4
      for (int j = 0; j < kColumns; ++j) sum[i][j] = multiply_add(factor, row[j], sum[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
      float* at = sums + i * ld_sums + j * kWidth;
      // earlier sums are added last: short chains of additions round less
      store_floats(at, kAdd ? load_floats(at) + sum[i][j] : sum[i][j]);
    }
  }
}

// Rows in blocks of kRows, then the rest; `rows` is a multiple of kMultiple (fewer block sizes to
// compile).
template <int kRows, int kMultiple, int kColumns, bool kAdd, class A, class B>
inline void multiply_rows(int64_t rows, int64_t depth, const A* a, int64_t lda, const B* b,
                          int64_t ldb, float* sums, int64_t ld_sums) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    multiply_block<kRows, kColumns, kAdd>(depth, a + i * lda, lda, b, ldb, sums + i * ld_sums,
                                          ld_sums);
  }
  if constexpr (kRows > kMultiple) {
    if (i < rows) {
      multiply_rows<kRows - kMultiple, kMultiple, kColumns, kAdd>(
          rows - i, depth, a + i * lda, lda, b, ldb, sums + i * ld_sums, ld_sums);
    }
  }
}

// `columns` in vectors: blocks of kColumns, each with all rows while b is in the cache, then the
// rest.
template <int kRows, int kMultiple, int kColumns, bool kAdd, class A, class B>
inline void multiply(int64_t rows, int64_t columns, int64_t depth, const A* a, int64_t lda,
                     const B* b, int64_t ldb, float* sums, int64_t ld_sums) {
  int64_t j = 0;
  for (; j + kColumns <= columns; j += kColumns) {
    multiply_rows<kRows, kMultiple, kColumns, kAdd>(rows, depth, a, lda, b + j * kWidth, ldb,
                                                    sums + j * kWidth, ld_sums);
  }
  if constexpr (kColumns > 1) {
    if (j < columns) {
      multiply<kRows, kMultiple, kColumns - 1, kAdd>(
          rows, columns - j, depth, a, lda, b + j * kWidth, ldb, sums + j * kWidth, ld_sums);
    }
  }
}

}  // namespace
}  // namespace intp::cpu
