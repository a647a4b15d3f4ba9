#pragma once

// Online softmax of one row: FlashAttention, arXiv 2205.14135, algorithm 1.

#include <cmath>
#include <cstdint>
#include <limits>

#include "common/tiles.h"
#include "cpu/exp2.h"
#include "cpu/tanh.h"

namespace intp::cpu {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

// scores[j - first] of the keys first <= j < first + count: invisible keys get no weight.
inline void mask_scores(float* scores, int64_t first, int64_t count, const KeySpans& visible) {
  const auto hide = [&](int64_t begin, int64_t end) {
    const KeySpan hidden = intersect({begin, end}, {first, first + count});
    for (int64_t j = hidden.begin; j < hidden.end; ++j) scores[j - first] = kMasked;
  };
  hide(first, visible.sink.begin);
  hide(visible.sink.end, visible.recent.begin);
  hide(visible.recent.end, first + count);
}

// Scores become most * tanh(factor * score); most 0: they stay.
struct ScoreCap {
  float factor, most;
};

// Of `count` scores (whole vectors), before they are masked.
inline void cap_scores(float* scores, int64_t count, const ScoreCap& cap) {
  if (cap.most == 0.0f) return;
  for (int64_t j = 0; j < count; j += kWidth) {
    store_floats(scores + j, tanh(load_floats(scores + j) * cap.factor) * cap.most);
  }
}

struct RowState {
  float* maximum;  // of the scores, -infinity before the first visible key
  float* total;    // sum of weights
};

// The largest of `count` scores (whole vectors).
inline float largest_score(const float* scores, int64_t count) {
  Floats largest = broadcast(kMasked);
  for (int64_t j = 0; j < count; j += kWidth) largest = max(largest, load_floats(scores + j));
  return lane_max(largest);
}

// Turns `count` scores (whole vectors), of which `largest` is the largest, into weights
// 2^(scale.factor * (score - maximum)), written by write(j, weights of two vectors) for j = 0,
// 2 * kWidth, ... . Returns the factor for earlier sums of the row.
//
// The maximum is taken off before scaling, so its own weight is 1 to the bit. factor * score -
// factor * maximum, of which one product is rounded, leaves half a digit of it: from 2^31 on as
// much as any exponent.
template <bool kCoarse, class Write>
inline float weigh_scores(const float* scores, int64_t count, float largest,
                          const WeightScale& scale, const RowState& row, Write write) {
  const float before = *row.maximum;
  const float maximum = before > largest ? before : largest;
  // of a row that nothing was visible to yet: any finite number leaves every weight 0
  const float base = maximum == kMasked ? 0.0f : maximum;
  const auto weight = [&](int64_t j) {
    return exp2_weight<kCoarse>(load_floats(scores + j) - broadcast(base), scale);
  };
  Floats total{};
  int64_t j = 0;
  for (; j + 2 * kWidth <= count; j += 2 * kWidth) {
    const Floats first = weight(j), second = weight(j + kWidth);
    total += first + second;
    write(j, first, second);
  }
  if (j < count) {
    const Floats first = weight(j);
    total += first;
    write(j, first, Floats{});
  }
  const float rescale = before == maximum ? 1.0f : std::exp2((before - base) * scale.factor);
  *row.total = *row.total * rescale + lane_sum(total);
  *row.maximum = maximum;
  return rescale;
}

template <bool kCoarse, class Write>
inline float softmax_row(const float* scores, int64_t count, const WeightScale& scale,
                         const RowState& row, Write write) {
  return weigh_scores<kCoarse>(scores, count, largest_score(scores, count), scale, row, write);
}

inline void scale_row(float* sums, int64_t columns, float factor) {
  for (int64_t c = 0; c < columns; c += kWidth) {
    store_floats(sums + c, load_floats(sums + c) * factor);
  }
}

}  // namespace
}  // namespace intp::cpu
