#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/order.h"
#include "common/rope.h"

namespace intp {

// q or k: [B, H, S, D], any strides (in elements) with unit stride in D
struct RopeTensor {
  const void* in;
  void* out;
  int64_t heads;
  int64_t in_stride_b, in_stride_h, in_stride_s;
  int64_t out_stride_b, out_stride_h, out_stride_s;
};

// out[b, h, s] = rotate(in[b, h, order[b, s]], positions[b, s] * inv_freq)
struct RopeParams {
  RopeTensor tensors[2];  // q and k, or one of them
  int tensor_count;
  FloatType type;
  int64_t batch;     // B
  int64_t rows;      // rows of the input, the bound of order
  int64_t length;    // S, rows of the output
  int64_t head_dim;  // D >= 2 F; the channels beyond 2 F pass through

  const void* positions;  // [A, B, S], strides in elements
  NumberType position_type;
  int64_t position_stride_a, position_stride_b, position_stride_s;
  int axes;               // A: 1, or 3 for M-RoPE
  RopeSections sections;  // read when A = 3

  const float* inv_freq;  // [F]
  int64_t frequencies;    // F
  float scaling;          // on cos and sin
  Order order;
};

// Of row s of the output.
INTP_HD float rope_position(const RopeParams& p, int64_t b, int64_t s, int axis) {
  return load_position(
      p.positions, p.position_type,
      axis * p.position_stride_a + b * p.position_stride_b + s * p.position_stride_s);
}

// By which row s is rotated at frequency f, times the scaling.
INTP_HD SinCos rope_sincos(const RopeParams& p, int64_t b, int64_t s, int f) {
  const int axis = p.axes == 1 ? 0 : rope_axis(p.sections, f);
  return sincos(rope_angle(rope_position(p, b, s, axis), p.inv_freq[f])) * p.scaling;
}

}  // namespace intp
