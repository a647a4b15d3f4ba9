#pragma once

// A square of vectors, across its lanes.

#include <utility>

#include "cpu/simd.h"

namespace intp::cpu {
namespace {

// Of two rows of a matrix, the 2x2 blocks of kStep lanes transposed: lane l of `low` is a[l] where
// l / kStep is even, else b[l - kStep]; lane l of `high` a[l + kStep], else b[l].
template <class Vector>
struct LowHigh {
  Vector low, high;
};

// Lane l: number kFrom[l] of those of a, then of b.
template <int... kFrom, class Vector>
inline Vector shuffle(Vector a, Vector b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, kFrom...);
#else
  typedef int32_t Lanes __attribute__((vector_size(4 * kWidth)));
  return __builtin_shuffle(a, b, Lanes{kFrom...});
#endif
}

template <int kStep, class Vector, int... kLane>
inline LowHigh<Vector> exchange(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
  return {shuffle<(kLane & kStep ? kLane - kStep + kWidth : kLane)...>(a, b),
          shuffle<(kLane & kStep ? kLane + kWidth : kLane + kStep)...>(a, b)};
}

// As exchange<1>, in another order: lanes 0 and 1 of four, then 2 and 3, of a and b in turn. x86-64
// has one instruction for each, where exchange<1> takes two.
template <class Vector, int... kLane>
inline LowHigh<Vector> interleave(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
  return {shuffle<(kLane / 4 * 4 + kLane % 4 / 2 + kLane % 2 * kWidth)...>(a, b),
          shuffle<(kLane / 4 * 4 + kLane % 4 / 2 + kLane % 2 * kWidth + 2)...>(a, b)};
}

template <int kStep = 1>
inline void transpose(Words (&rows)[kWidth]) {
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    if (i & kStep) continue;
    const auto pair =
        exchange<kStep>(rows[i], rows[i + kStep], std::make_integer_sequence<int, kWidth>());
    rows[i] = pair.low;
    rows[i + kStep] = pair.high;
  }
  if constexpr (2 * kStep < kWidth) transpose<2 * kStep>(rows);
}

// rows[i] for every kTo rows: sums of lanes of each of them, of rows that hold them for every
// kFrom. From 1 to kWidth lane l of rows[0] becomes the sum of the lanes of rows[l].
template <int kFrom, int kTo, int kCount>
inline void add_lanes(Floats (&rows)[kCount]) {
  if constexpr (kFrom < kTo) {
    constexpr std::make_integer_sequence<int, kWidth> lanes;
#pragma GCC unroll 16
    for (int i = 0; i < kCount; i += 2 * kFrom) {
      LowHigh<Floats> pair;
      if constexpr (kFrom == 1) {
        pair = interleave(rows[i], rows[i + 1], lanes);
      } else {
        pair = exchange<kFrom>(rows[i], rows[i + kFrom], lanes);
      }
      rows[i] = pair.low + pair.high;
    }
    add_lanes<2 * kFrom, kTo>(rows);
  }
}

}  // namespace
}  // namespace intp::cpu
