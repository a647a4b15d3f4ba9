#pragma once

// What the kernels of attention share: tile sizes, the addressing of one key head, its scale.

#include <cmath>
#include <type_traits>

#include "attention/cpu/kernel.h"
#include "attention/cpu/pack.h"
#include "attention/cpu/softmax.h"
#include "cpu/exp2.h"

namespace intp::cpu {
namespace {

constexpr TargetFacts kFacts = facts(Target::INTP_CPU_TARGET);
constexpr bool kManyRegisters = kFacts.registers == 32;
constexpr AttentionTiles kTiles = attention_tiles(kFacts);
constexpr int kRows = kTiles.micro_rows;
constexpr int kColumns = kTiles.micro_columns;
constexpr float kLog2E = 1.4426950408889634f;

// What products are made of: float32, or pairs of bfloat16 where there is a dot product of them.
template <class T>
constexpr bool kUsesPairs = kDotsPairs && std::is_same_v<T, BFloat16>;
template <class T>
using ElementOf = std::conditional_t<kUsesPairs<T>, BFloat16Pair, Float32>;
template <class Element>
constexpr bool kPairs = std::is_same_v<Element, BFloat16Pair>;

// scale as the sign of queries, times a positive factor of the scores, as powers of two: the
// largest score is found before scaling. A softcap takes the factor before that.
struct Scale {
  float sign;
  WeightScale weights;
  ScoreCap cap;
};
Scale scale_of(const AttentionParams& p) {
  const float sign = p.scale == 0.0f ? 0.0f : p.scale < 0.0f ? -1.0f : 1.0f;
  const float size = std::fabs(p.scale);
  if (p.softcap > 0.0f) return {sign, weight_scale(kLog2E), {size / p.softcap, p.softcap}};
  return {sign, weight_scale(size == 0.0f ? 1.0f : size * kLog2E), {}};
}

// One key head: b * Hkv + h.
template <class T>
struct Head {
  const AttentionParams& p;
  const RowBounds& bounds;
  int64_t b, h;

  Head(const AttentionParams& params, int64_t head)
      : p(params),
        bounds(params.bounds[head / params.kv_heads]),
        b(head / params.kv_heads),
        h(head % params.kv_heads) {}

  int64_t at(int64_t row, int64_t stride_b, int64_t stride_h, int64_t stride_s) const {
    return b * stride_b + (h * p.group + row % p.group) * stride_h + row / p.group * stride_s;
  }
  const T* query(int64_t row) const {
    return static_cast<const T*>(p.q.data) + at(row, p.q.stride_b, p.q.stride_h, p.q.stride_s);
  }
  T* output(int64_t row) const {
    return static_cast<T*>(p.out.data) + at(row, p.out.stride_b, p.out.stride_h, p.out.stride_s);
  }
  const T* key(int64_t j) const {
    return static_cast<const T*>(p.k.data) + b * p.k.stride_b + h * p.k.stride_h + j * p.k.stride_s;
  }
  const T* value(int64_t j) const {
    return static_cast<const T*>(p.v.data) + b * p.v.stride_b + h * p.v.stride_h + j * p.v.stride_s;
  }
  KeySpans visible(const QuerySpan& queries) const {
    return visible_keys(bounds, p.window, p.keys, queries);
  }
  QuerySpan queries(int64_t begin, int64_t end) const {
    return attention_queries(p, b, begin, end);
  }
};

// Of a row's sink, beside weights relative to the largest score. Where there is no other weight,
// any will do.
template <class T>
float sink_weight(const Head<T>& head, int64_t row, float maximum, const WeightScale& scale) {
  const AttentionParams& p = head.p;
  if (p.sinks == nullptr) return 0.0f;
  const double sink = p.sinks[head.h * p.group + row % p.group];
  if (maximum == kMasked) return sink == kMasked ? 0.0f : 1.0f;
  return static_cast<float>(std::exp2(sink * kLog2E - double{maximum} * scale.factor));
}

// What a row has come to.
struct RowResult {
  const float* sums;  // [Dv]
  float maximum, total;
};

// out = sums / total. Without a weight: zeros for a row that sees no key; NaN for one that does,
// all of whose scores are -infinity.
template <class T>
void write_row(const Head<T>& head, int64_t row, const RowResult& result,
               const WeightScale& scale) {
  T* out = head.output(row);
  const float* sums = result.sums;
  const int64_t channels = head.p.value_dim;
  const float total = result.total + sink_weight(head, row, result.maximum, scale);
  float factor = 1.0f / total;
  if (total == 0.0f) factor = is_empty(head.visible(head.queries(row, row + 1))) ? 0.0f : NAN;
  int64_t c = 0;
  for (; c + kWidth <= channels; c += kWidth) store(out + c, load_floats(sums + c) * factor);
  for (; c < channels; ++c) store_one(out + c, sums[c] * factor);
}

}  // namespace
}  // namespace intp::cpu
