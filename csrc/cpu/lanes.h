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

template <int kStep, class Vector, int... kLane>
inline LowHigh<Vector> exchange(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
#if defined(__clang__)
  return {__builtin_shufflevector(a, b, (kLane & kStep ? kLane - kStep + kWidth : kLane)...),
          __builtin_shufflevector(a, b, (kLane & kStep ? kLane + kWidth : kLane + kStep)...)};
#else
  typedef int32_t Lanes __attribute__((vector_size(4 * kWidth)));
  return {__builtin_shuffle(a, b, Lanes{(kLane & kStep ? kLane - kStep + kWidth : kLane)...}),
          __builtin_shuffle(a, b, Lanes{(kLane & kStep ? kLane + kWidth : kLane + kStep)...})};
#endif
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

// Lane l: the sum of the lanes of rows[l]. Overwrites rows.
template <int kStep = 1>
inline Floats lane_sums(Floats (&rows)[kWidth]) {
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; i += 2 * kStep) {
    const auto pair =
        exchange<kStep>(rows[i], rows[i + kStep], std::make_integer_sequence<int, kWidth>());
    rows[i] = pair.low + pair.high;
  }
  if constexpr (2 * kStep < kWidth) return lane_sums<2 * kStep>(rows);
  return rows[0];
}

}  // namespace
}  // namespace intp::cpu
