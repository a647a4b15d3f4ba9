#include "rope/cpu/kernel.h"

#include "rope/cpu/rotate.h"

namespace intp::cpu::INTP_CPU_TARGET {
namespace {

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

}  // namespace intp::cpu::INTP_CPU_TARGET
