#include "cpu/copy.h"
#include "cpu/vec.h"
#include "rope/rope.h"

namespace intp::cpu::INTP_CPU_LEVEL {
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

// Rows s ... s + count - 1 of batch row b, every head.
template <bool kStream, class T>
void rotate_rows(const RopeParams& p, const RopeTensor& t, int64_t b, int64_t s, int64_t count,
                 const float* cos, const float* sin) {
  const T* in = static_cast<const T*>(t.in) + b * t.in_stride_b;
  T* out = static_cast<T*>(t.out) + b * t.out_stride_b;
  const auto source = [&](int64_t head, int64_t row) {
    return in + head * t.in_stride_h + source_row(p.order, b, s + row) * t.in_stride_s;
  };
  const auto rotate = [&](int64_t head, int64_t row) {
    const T* x = source(head, row);
    T* y = out + head * t.out_stride_h + (s + row) * t.out_stride_s;
    const int64_t at = row * p.frequencies;
    rotate_row<kStream>(x, y, cos + at, sin + at, p.frequencies, p.head_dim);
  };
  if (t.in_stride_h < t.in_stride_s) {  // [B, S, H, D] in memory: along it
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t head = 0; head < t.heads; ++head) rotate(head, row);
    }
  } else {  // [B, H, S, D]: the hardware does not foresee the jump to the next head
    for (int64_t head = 0; head < t.heads; ++head) {
      for (int64_t row = 0; row < count; ++row) {
        if (head + 1 < t.heads) prefetch(source(head + 1, row), p.head_dim * sizeof(T));
        rotate(head, row);
      }
    }
  }
}

// Large enough to be worth it, and every vector of the output aligned?
template <class T>
bool can_stream(const RopeParams& p, const RopeTensor& t) {
  constexpr int64_t kVector = sizeof(T) * kWidth;
  if (p.batch * t.heads * p.length * p.head_dim * int64_t{sizeof(T)} < kStreamBytes) return false;
  const int64_t elements = p.frequencies | t.out_stride_b | t.out_stride_h | t.out_stride_s;
  return elements % kWidth == 0 && reinterpret_cast<uintptr_t>(t.out) % kVector == 0;
}

template <class T>
void rope_rows_of(const RopeParams& p, int64_t begin, int64_t end, float* table) {
  float* cos = table;
  float* sin = table + kRopeBlock * p.frequencies;
  int64_t count;
  for (int64_t row = begin; row < end; row += count) {
    const int64_t b = row / p.length, s = row % p.length;
    count = end - row < kRopeBlock ? end - row : kRopeBlock;
    count = p.length - s < count ? p.length - s : count;
    fill_table(p, b, s, count, cos, sin);
    for (int i = 0; i < p.tensor_count; ++i) {
      const RopeTensor& t = p.tensors[i];
      if (can_stream<T>(p, t)) {
        rotate_rows<true, T>(p, t, b, s, count, cos, sin);
      } else {
        rotate_rows<false, T>(p, t, b, s, count, cos, sin);
      }
    }
  }
  stream_fence();
}

}  // namespace

void rope_rows(const RopeParams& p, int64_t begin, int64_t end, float* table) {
  switch (p.type) {
    case FloatType::kFloat32:
      return rope_rows_of<Float32>(p, begin, end, table);
    case FloatType::kBFloat16:
      return rope_rows_of<BFloat16>(p, begin, end, table);
    case FloatType::kFloat16:
      return rope_rows_of<Float16>(p, begin, end, table);
  }
}

}  // namespace intp::cpu::INTP_CPU_LEVEL
