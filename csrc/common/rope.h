#pragma once

#include <cstdint>
#include <cstring>

#include "common/macros.h"

namespace intp {

// M-RoPE: how many frequencies take their position from the temporal, height and width axis.
struct RopeSections {
  int64_t count[3];
  bool interleaved;  // t h w t h w ... t t (Qwen3-VL), else t..t h..h w..w (Qwen2-VL, Qwen2.5-VL)
};

// Axis (0 temporal, 1 height, 2 width) of frequency f.
INTP_HD int rope_axis(const RopeSections& sections, int64_t f) {
  if (sections.interleaved) {
    const int axis = static_cast<int>(f % 3);
    return f < 3 * sections.count[axis] ? axis : 0;  // an axis that has run out: temporal again
  }
  if (f < sections.count[0]) return 0;
  return f < sections.count[0] + sections.count[1] ? 1 : 2;
}

// Radians, in float32 as every RoPE implementation has it.
INTP_HD float rope_angle(float position, float inv_freq) { return position * inv_freq; }

struct alignas(8) SinCos {
  float sin, cos;
};

INTP_HD SinCos operator*(const SinCos& at, float scaling) {
  return {at.sin * scaling, at.cos * scaling};
}

// THE rotation: of channels f and f + F, floats or vectors of them, by the angle of frequency f.
template <class X>
struct RotatedPair {
  X first, second;
};

template <class X>
INTP_HD RotatedPair<X> rotate(const X& first, const X& second, const X& cos, const X& sin) {
  return {first * cos - second * sin, second * cos + first * sin};
}

// sin and cos of x to 2 ulp for |x| < 2^24 (positions of millions), NaN for what is not finite.
// Branch-free, so that a loop over it becomes vector code. x - n * pi/2 is taken in double with
// pi/2 in two parts: n * kHi is exact (29 + 24 bits), so nothing cancels but what is known.
INTP_HD SinCos sincos(float x) {
  constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
  constexpr double kHi = 0x1.921fb54p+0;         // first 29 bits of pi/2
  constexpr double kLo = 0x1.10b4611a62633p-30;  // the rest
  constexpr double kRoundToInteger = 0x1.8p+52;  // adding it leaves the integer in the low bits
  const double shifted = static_cast<double>(x) * kTwoOverPi + kRoundToInteger;
  const double n = shifted - kRoundToInteger;
  const float r = static_cast<float>((static_cast<double>(x) - n * kHi) - n * kLo);
  int64_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  const int32_t quadrant = static_cast<int32_t>(bits);

  // |r| <= pi/4: minimax polynomials
  const float r2 = r * r;
  const float s =
      r + r * r2 * (-1.6666654611e-1f + r2 * (8.3321608736e-3f + r2 * -1.9515295891e-4f));
  const float c =
      1.0f - 0.5f * r2 +
      r2 * r2 *
          (4.166664568298827e-2f + r2 * (-1.388731625493765e-3f + r2 * 2.443315711809948e-5f));
  const bool swap = quadrant & 1;
  const float sin_abs = swap ? c : s;
  const float cos_abs = swap ? s : c;
  return {quadrant & 2 ? -sin_abs : sin_abs, (quadrant + 1) & 2 ? -cos_abs : cos_abs};
}

}  // namespace intp
