#pragma once

// Sines for packed keys that are rotated while they are read.

#include <cmath>
#include <vector>

#include "attention/params.h"
#include "common/rope.h"
#include "cpu/simd.h"

namespace intp::cpu {
namespace {

// cos and sin, times the scaling, of the 64 tokens of a page at these positions on an axis: rows of
// its frequencies, of each [F, 64].
inline void fill_page_sines(const PackedKeys& keys, int axis, const float* positions, float* cos,
                            float* sin) {
  for (int64_t f = 0; f < keys.frequencies; ++f) {
    if (key_axis(keys, f) != axis) continue;
    for (int64_t t = 0; t < kPageTokens; ++t) {
      const SinCos at = sincos(rope_angle(positions[t], keys.inv_freq[f])) * keys.scaling;
      cos[f * kPageTokens + t] = at.cos;
      sin[f * kPageTokens + t] = at.sin;
    }
  }
}

// With p the position of a page's first key: R(pq) q . R(pt) k = R(pq - p) q . R(pt - p) k. The
// query is rotated back by p once a page, and the sines of pt - p are the same for page after page
// of evenly spaced positions: no sine is computed for a key. Every axis has a p of its own.
//
// Angles are float32, so two of them are not to the bit the one of their sum: they differ by its
// rounding. Pages that share no sines, and those beyond kFarAngle, where the rounding is more than
// that of a bfloat16, have p = 0: every key's own sine.

constexpr float kFarAngle = 0x1p16f;

// Positions of page after page on an axis, as steps from p.
class PageSteps {
 public:
  void prepare(float fastest) {
    fastest_ = fastest;
    shared_ = false;
  }

  // For the page whose positions these are; the next one's follow them if there is one. Are the
  // steps others than before?
  bool move_to(const float* positions, bool has_next) {
    float farthest = 0.0f;
    for (int64_t t = 0; t < kPageTokens; ++t) {
      farthest = most_of(farthest, std::fabs(positions[t]));
    }
    const bool near = farthest * fastest_ <= kFarAngle;
    float steps[kPageTokens];
    for (int64_t t = 0; t < kPageTokens; ++t) steps[t] = positions[t] - positions[0];
    // positions are float32: what lies below their last digit is not a difference
    const float digit = farthest * 0x1p-23f;
    const bool same = near && shared_ && agree(steps, steps_, digit);
    if (!same) {
      shared_ = near && has_next;
      if (shared_) {
        const float* next = positions + kPageTokens;
        for (int64_t t = 0; t < kPageTokens; ++t) steps_[t] = next[t] - next[0];
        shared_ = agree(steps, steps_, digit);
      }
      memcpy(steps_, shared_ ? steps : positions, sizeof steps_);
    }
    origin_ = shared_ ? positions[0] : 0.0f;
    return !same;
  }

  const float* steps() const { return steps_; }
  float origin() const { return origin_; }  // p

  static float most_of(float a, float b) { return a > b ? a : b; }

 private:
  static bool agree(const float* a, const float* b, float digit) {
    bool same = true;
    for (int64_t t = 0; t < kPageTokens; ++t) same &= std::fabs(a[t] - b[t]) <= digit;
    return same;
  }

  float steps_[kPageTokens];
  float origin_ = 0.0f;
  float fastest_ = 0.0f;  // frequency
  bool shared_ = false;   // are the steps those that other pages have too?
};

class PageSines {
 public:
  void prepare(const PackedKeys& keys) {
    keys_ = &keys;
    values_.resize(2 * kPageTokens * keys.frequencies);
    origins_.resize(keys.frequencies);
    for (int axis = 0; axis < keys.axes; ++axis) {
      float fastest = 0.0f;
      for (int64_t f = 0; f < keys.frequencies; ++f) {
        if (key_axis(keys, f) != axis) continue;
        fastest = PageSteps::most_of(fastest, std::fabs(keys.inv_freq[f]));
      }
      axes_[axis].prepare(fastest);
    }
  }

  // For a page of batch row b.
  void move_to(int64_t b, int64_t page) {
    const bool has_next = (page + 2) * kPageTokens <= keys_->tokens;
    for (int axis = 0; axis < keys_->axes; ++axis) {
      const float* positions = key_positions(*keys_, b, axis) + page * kPageTokens;
      if (!axes_[axis].move_to(positions, has_next)) continue;
      fill_page_sines(*keys_, axis, axes_[axis].steps(), values_.data(),
                      values_.data() + kPageTokens * keys_->frequencies);
    }
    for (int64_t f = 0; f < keys_->frequencies; ++f) {
      origins_[f] = axes_[key_axis(*keys_, f)].origin();
    }
  }

  const float* cos(int64_t f) const { return values_.data() + f * kPageTokens; }
  const float* sin(int64_t f) const { return cos(f) + kPageTokens * keys_->frequencies; }
  const float* origins() const { return origins_.data(); }  // p, of each frequency

 private:
  const PackedKeys* keys_ = nullptr;
  std::vector<float> values_;   // cos, then sin: [F, 64] each
  std::vector<float> origins_;  // [F]
  PageSteps axes_[3];
};

// y = x rotated back by the positions of every frequency: pairs of channels (f, f + F).
inline void rotate_back(const PackedKeys& keys, const float* positions, const float* x,
                        int64_t head_dim, float* y) {
  const int64_t frequencies = keys.frequencies;
  for (int64_t f = 0; f < frequencies; ++f) {
    const SinCos at = sincos(rope_angle(positions[f], keys.inv_freq[f]));
    const auto rotated = rotate(x[f], x[f + frequencies], at.cos, -at.sin);
    y[f] = rotated.first;
    y[f + frequencies] = rotated.second;
  }
  for (int64_t c = 2 * frequencies; c < head_dim; ++c) y[c] = x[c];
}

}  // namespace
}  // namespace intp::cpu
