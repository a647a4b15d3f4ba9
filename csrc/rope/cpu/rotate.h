#pragma once

// Sines of a run of rows, and one row turned by them: for the operators that rotate.

#include "cpu/copy.h"
#include "cpu/simd.h"
#include "rope/params.h"

namespace intp::cpu {
namespace {

// cos and sin, times the scaling, of `count` rows from row (b, s) on: each [count, F].
void fill_table(const RopeParams& p, int64_t b, int64_t s, int64_t count, float* cos, float* sin) {
  const int64_t frequencies = p.frequencies;
  const int64_t first = b * p.position_stride_b + s * p.position_stride_s;
  for (int64_t row = 0; row < count; ++row) {
    float position[3];
    for (int axis = 0; axis < p.axes; ++axis) {
      position[axis] =
          load_position(p.positions, p.position_type,
                        first + row * p.position_stride_s + axis * p.position_stride_a);
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
    const SinCos at = sincos(cos[i]);
    cos[i] = at.cos * p.scaling;
    sin[i] = at.sin * p.scaling;
  }
}

// y = x with channel pairs (f, f + F) turned; channels from 2 F on pass through.
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
    const Floats first = load(x + f), second = load(x2 + f);
    const Floats turned = first * c - second * s, turned2 = second * c + first * s;
    if constexpr (kStream) {
      stream_store(y + f, round<T>(turned));
      stream_store(y2 + f, round<T>(turned2));
    } else {
      store(y + f, turned);
      store(y2 + f, turned2);
    }
  }
  for (; f < frequencies; ++f) {
    const float first = load_one(x + f), second = load_one(x2 + f);
    store_one(y + f, first * cos[f] - second * sin[f]);
    store_one(y2 + f, second * cos[f] + first * sin[f]);
  }
  memcpy(y + 2 * frequencies, x + 2 * frequencies, (head_dim - 2 * frequencies) * sizeof(T));
}

}  // namespace
}  // namespace intp::cpu
