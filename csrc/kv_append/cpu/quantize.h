#pragma once

// Scales, zero points and codes of vectors of values: intp_ext/reference_kv.py defines them.

#include <limits>
#include <type_traits>

#include "cpu/simd.h"

namespace intp::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The smallest T that is at least x >= 0, as float.
template <class T>
inline Floats round_up(Floats x) {
  if constexpr (std::is_same_v<T, Float32>) {
    return x;
  } else {
    T near[kWidth];
    store(near, x);
    const Floats rounded = load(near);
    for (int i = 0; i < kWidth; ++i) near[i].bits += rounded[i] < x[i];
    return load(near);
  }
}

struct QParams {
  Floats scale, zero;
};

// Of groups whose smallest and largest values are low and high, infinite where a group is empty.
template <class T>
inline QParams qparams_of(Floats low, Floats high, float largest) {
  const auto some = low <= high;
  low = some ? low : Floats{};
  high = some ? high : Floats{};
  return {round_up<T>(high / largest - low / largest), low};
}

// What is rounded to an infinite T, and values below which no group ends there.
template <class T>
constexpr float kBeyond = std::is_same_v<T, Float32>    ? kInfinity
                          : std::is_same_v<T, BFloat16> ? 0x1.ffp+127f
                                                        : 65520.0f;
template <class T>
constexpr float kNearBeyond = std::is_same_v<T, Float16> ? 64000.0f : 3.3e38f;

// The next smaller T as scale where the last code would be infinite.
template <class T>
inline QParams finite_qparams(const QParams& x, float largest) {
  constexpr int kDigit = std::is_same_v<T, Float32> ? 0 : std::is_same_v<T, BFloat16> ? 16 : 13;
  const Words beyond = bit_cast<Words>(x.zero + x.scale * largest >= kBeyond<T>);
  return {bit_cast<Floats>(bit_cast<Words>(x.scale) - (beyond & 1u << kDigit)), x.zero};
}

inline Words code_of(Floats x, const QParams& by, float largest) {
  constexpr float kRoundToInteger = 0x1.8p+23f;  // adding it leaves the integer in the low bits
  Floats code = (x - by.zero) / by.scale;
  code = by.scale > 0.0f ? code : Floats{};
  code = code > 0.0f ? code : Floats{};
  code = code < largest ? code : broadcast(largest);
  return bit_cast<Words>(code + kRoundToInteger) & 0xff;
}

inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// Of values that were looked at: x - x is 0, or NaN where x is not finite.
class FiniteCheck {
 public:
  void add(Floats x) { sum_ += x - x; }
  bool passed() const {
    bool finite = true;
    for (int i = 0; i < kWidth; ++i) finite &= sum_[i] == 0.0f;
    return finite;
  }

 private:
  Floats sum_{};
};

}  // namespace
}  // namespace intp::cpu
