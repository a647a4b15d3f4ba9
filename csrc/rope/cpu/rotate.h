#pragma once

// Sines of a run of rows, and one row rotated by them: for the operators that rotate.

#include "cpu/copy.h"
#include "cpu/simd.h"
#include "rope/params.h"

namespace intp::cpu {
namespace {

// cos and sin, times the scaling, of `count` rows from row (b, s) on: each [count, F].
void fill_table(const RopeParams& p, int64_t b, int64_t s, int64_t count, float* cos, float* sin) {
  const int64_t frequencies = p.frequencies;
  for (int64_t row = 0; row < count; ++row) {
    float position[3];
    for (int axis = 0; axis < p.axes; ++axis) {
      position[axis] = rope_position(p, b, s + row, axis);
    }
    float* angle = cos + row * frequencies;
    if (p.axes == 1) {
      for (int64_t f = 0; f < frequencies; ++f) angle[f] = rope_angle(position[0], p.inv_freq[f]);
    } else {
      for (int64_t f = 0; f < frequencies; ++f) {
        angle[f] = rope_angle(position[rope_axis(p.sections, f)], p.inv_freq[f]);
      }
    }
  }
  for (int64_t i = 0; i < count * frequencies; ++i) {
    const SinCos at = sincos(cos[i]) * p.scaling;
    cos[i] = at.cos;
    sin[i] = at.sin;
  }
}

// y = x with channel pairs (f, f + F) rotated; channels from 2 F on pass through.
template <bool kStream, class T>
inline void rotate_row(const T* x, T* y, const float* cos, const float* sin, int64_t frequencies,
                       int64_t head_dim) {
  const T* x2 = x + frequencies;
  T* y2 = y + frequencies;
  int64_t f = 0;
  for (; f + kWidth <= frequencies; f += kWidth) {
    Floats c, s;
    memcpy(&c, cos + f, sizeof c);
    memcpy(&s, sin + f, sizeof s);
    const auto rotated = rotate(load(x + f), load(x2 + f), c, s);
    if constexpr (kStream) {
      stream_store(y + f, round<T>(rotated.first));
      stream_store(y2 + f, round<T>(rotated.second));
    } else {
      store(y + f, rotated.first);
      store(y2 + f, rotated.second);
    }
  }
  for (; f < frequencies; ++f) {
    const auto rotated = rotate(load_one(x + f), load_one(x2 + f), cos[f], sin[f]);
    store_one(y + f, rotated.first);
    store_one(y2 + f, rotated.second);
  }
  memcpy(y + 2 * frequencies, x + 2 * frequencies, (head_dim - 2 * frequencies) * sizeof(T));
}

}  // namespace
}  // namespace intp::cpu
