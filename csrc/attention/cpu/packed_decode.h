#pragma once

// Decode over packed keys: attention of few rows, to which every page is read once, as it lies.

#include <utility>

#include "attention/cpu/decode.h"
#include "attention/cpu/page_products.h"
#include "attention/cpu/page_sines.h"
#include "attention/cpu/sinks.h"
#include "cpu/copy.h"

namespace intp::cpu {
namespace {

constexpr int64_t kRunPages = 4;
constexpr int64_t kRun = kRunPages * kPageTokens;  // keys whose scores become weights together

// That share the rotation of a key; only AVX-512 multiplies by what it spreads from memory.
constexpr int kRotatedRows = !kManyRegisters ? 3 : kWidth == 16 ? 7 : 4;

// As score_page, over keys rotated by the sines. a: [kRows, D] = q scale, and b = q center.
//
//   q . R k = cos (q0 k0 + q1 k1) + sin (q1 k0 - q0 k1)       for each pair of channels (0, 1)
template <int kBits, int kRows>
void score_rotated_page(const PageSines& sines, int64_t frequencies, const uint8_t* page,
                        int64_t head_dim, const float* q, const float* scale, const float* center,
                        float* scores, int64_t ld_scores) {
  constexpr int kSlots = cell_slots(kBits), kCells = key_columns(kBits);
  const int64_t rotated = frequencies / 2;  // rows of cells with partners r + rotated
  for (int column = 0; column < kCells; ++column) {
    for (int lane = 0; lane < kCellLanes; lane += kWidth) {
      Floats sum[kRows][kSlots] = {};
      const auto load = [&](int64_t r) {
        const int dim = static_cast<int>(head_dim), row = static_cast<int>(r);
        return load_cell<kBits>(page, key_cell(kBits, dim, row, column), lane);
      };
      const auto key = [&](Shorts cell, int slot, int half, int64_t c) {
        return fma(code_floats<kBits>(cell, slot, half), broadcast(scale[c]), broadcast(center[c]));
      };
      for (int64_t r = 0; r < rotated; ++r) {
        const Shorts cell = load(r), partner = load(r + rotated);
#pragma GCC unroll 4
        for (int s = 0; s < kSlots; ++s) {
          const int token = key_token(kBits, column, s, lane);
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const int64_t f = 2 * r + half;
            const Floats k0 = key(cell, s, half, f), k1 = key(partner, s, half, f + frequencies);
            const Floats cos = load_floats(sines.cos(f) + token);
            const Floats sin = load_floats(sines.sin(f) + token);
            const auto key_pair = rotate(k0, k1, cos, sin);
#pragma GCC unroll 8
            for (int row = 0; row < kRows; ++row) {
              const float* at = q + row * head_dim + f;
              sum[row][s] = fma(broadcast(at[0]), key_pair.first, sum[row][s]);
              sum[row][s] = fma(broadcast(at[frequencies]), key_pair.second, sum[row][s]);
            }
          }
        }
      }
      for (int64_t r = 2 * rotated; r < head_dim / 2; ++r) {
        const Shorts cell = load(r);
#pragma GCC unroll 4
        for (int s = 0; s < kSlots; ++s) {
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const Floats k = key(cell, s, half, 2 * r + half);
#pragma GCC unroll 8
            for (int row = 0; row < kRows; ++row) {
              sum[row][s] = fma(broadcast(q[row * head_dim + 2 * r + half]), k, sum[row][s]);
            }
          }
        }
      }
      for (int row = 0; row < kRows; ++row) {
        for (int s = 0; s < kSlots; ++s) {
          store_floats(scores + row * ld_scores + key_token(kBits, column, s, lane), sum[row][s]);
        }
      }
    }
  }
}

template <class T, int kKeyBits, int kValueBits>
class PackedDecode {
  using KeyCodes = Codes<T, kKeyBits>;
  using ValueCodes = Codes<T, kValueBits>;
  using Element = typename KeyCodes::Element;
  static constexpr int kPair = KeyCodes::kElements;

 public:
  PackedDecode(const AttentionParams& p, int64_t index, float* partial)
      : head_(p, index),
        keys_(*p.packed),
        index_(index),
        rows_(attention_rows(p)),
        dim_(p.head_dim),
        scale_(scale_of(p)),
        partial_(p, partial) {}

  void run(int64_t split) {
    for (int64_t row = 0; row < rows_; ++row) {
      partial_.maxima[row] = kMasked;
      partial_.totals[row] = 0.0f;
    }
    const KeySpan part{split * kTiles.decode_keys,
                       least((split + 1) * kTiles.decode_keys, keys_.tokens)};
    const KeySpans visible = head_.visible(head_.queries(0, rows_));
    const KeySpan all = hull(visible, part);
    if (part.end <= part.begin || is_empty(all)) return;
    memset(partial_.sums, 0, rows_ * dim_ * sizeof(float));
    for (int64_t row = 0; row < rows_; ++row) {
      convert_row(head_.query(row), dim_, scale_.sign, queries_ + row * dim_, dim_);
    }
    if (keys_.frequencies > 0) sines_.prepare(keys_);
    int64_t first = all.begin / kPageTokens;
    const int64_t end = divide_up(all.end, kPageTokens);
    last_page_ = end - 1;
    for (int64_t page = first; page < least(first + kRunPages, end); ++page) {
      prefetch(keys_of(page), page_bytes(kKeyBits, dim_));
      prefetch(key_qparams<T>(keys_.cache, index_, page), 2 * dim_ * sizeof(T));
    }
    while (first < end) {  // runs of pages that are visible
      int64_t last = first;
      while (last < end && (last - first) * kPageTokens < kRun && sees(visible, last)) ++last;
      if (last > first) attend_run(first, last);
      first = last + (last == first);
    }
  }

 private:
  static bool sees(const KeySpans& visible, int64_t page) {
    return !is_empty(hull(visible, {page * kPageTokens, (page + 1) * kPageTokens}));
  }

  const uint8_t* keys_of(int64_t page) const { return key_page(keys_.cache, index_, page); }
  const uint8_t* values_of(int64_t page) const { return value_page(keys_.cache, index_, page); }

  // Keys of a run are read, its values, keys of the next run, ...: while one half is worked on, the
  // next one is prefetched, page by page. The hardware foresees neither the way from keys to values
  // nor the scales and zeros between them.
  void attend_run(int64_t first, int64_t last) {
    const int64_t begin = first * kPageTokens, count = (last - first) * kPageTokens;
    for (int64_t page = first; page < last; ++page) {
      score(page, scores_ + (page - first) * kPageTokens);
    }
    for (int64_t row = 0; row < rows_; ++row) {
      float* at = scores_ + row * kRun;
      cap_scores(at, count, scale_.cap);
      mask_scores(at, begin, count, head_.visible(head_.queries(row, row + 1)));
      const RowState state{partial_.maxima + row, partial_.totals + row};
      const float rescale =
          softmax_row<false>(at, count, scale_.weights, state, [&](int64_t j, Floats a, Floats b) {
            store_floats(at + j, a);
            store_floats(at + j + kWidth, b);
          });
      if (rescale != 1.0f) scale_row(partial_.sums + row * dim_, dim_, rescale);
    }
    for (int64_t page = first; page < last; ++page) {
      sum(page, scores_ + (page - first) * kPageTokens);
    }
  }

  void score(int64_t page, float* scores) {
    score_codes(page, scores);
    each_sink<T>(keys_.cache, index_, page, [&](int64_t t, const T* key, const T*) {
      for (int64_t row = 0; row < rows_; ++row) {
        scores[row * kRun + t] = dot(queries_ + row * dim_, key, dim_);
      }
    });
  }

  void score_codes(int64_t page, float* scores) {
    const uint8_t *codes = keys_of(page), *ahead = values_of(page);
    const int64_t groups = value_groups(dim_, keys_.cache.value_group);
    prefetch(value_qparams<T>(keys_.cache, index_, page, 0), groups * 2 * kPageTokens * sizeof(T));
    const T* qparams = key_qparams<T>(keys_.cache, index_, page);
    if (qparams != qparams_) {
      qparams_ = qparams;
      const float zero = keys_.frequencies == 0 ? KeyCodes::kZero : kCenter<kKeyBits>;
      load_qparams(qparams, dim_, zero, key_scale_, key_center_);
      if (keys_.frequencies == 0) fold_key_scales();
    }
    if (keys_.frequencies > 0) return score_rotated(page, codes, scores);
    with_rows<KeyCodes::kRowsAtOnce>(rows_, [&](int64_t row, auto n) {
      score_page<KeyCodes, kKeyBits, decltype(n)::value>(
          key_codes_, codes, row == 0 ? ahead : nullptr, dim_, folded_ + row * dim_ / 2 * kPair,
          dim_ / 2 * kPair, key_terms_ + row, scores + row * kRun, kRun);
    });
  }

  // q scale as elements, and q . center
  void fold_key_scales() {
    float row_scaled[kTiles.decode_dim];
    for (int64_t row = 0; row < rows_; ++row) {
      const float* q = queries_ + row * dim_;
      Floats constant{};
      for (int64_t c = 0; c < dim_; c += kWidth) {
        const Floats x = load_floats(q + c);
        store_floats(row_scaled + c, x * load_floats(key_scale_ + c));
        constant = fma(x, load_floats(key_center_ + c), constant);
      }
      for (int64_t c = dim_; c % (2 * kWidth); ++c) row_scaled[c] = 0.0f;
      Element padded[kTiles.decode_dim];
      const float unit = KeyCodes::convert(row_scaled, round_up(dim_, 2 * kWidth), padded);
      key_terms_[row] = {unit, lane_sum(constant)};
      const int64_t elements = dim_ / 2 * kPair;
      memcpy(folded_ + row * elements, padded, elements * sizeof(Element));
    }
  }

  void score_rotated(int64_t page, const uint8_t* codes, float* scores) {
    sines_.move_to(head_.b, page);
    for (int64_t row = 0; row < rows_; ++row) {
      rotate_back(keys_, sines_.origins(), queries_ + row * dim_, dim_, rotated_ + row * dim_);
    }
    with_rows<kRotatedRows>(rows_, [&](int64_t row, auto n) {
      score_rotated_page<kKeyBits, decltype(n)::value>(sines_, keys_.frequencies, codes, dim_,
                                                       rotated_ + row * dim_, key_scale_,
                                                       key_center_, scores + row * kRun, kRun);
    });
  }

  // sums += weights [rows, 64] values [64, D], a group of channels at a time
  void sum(int64_t page, float* weights) {
    const KvCache& cache = keys_.cache;
    each_sink<T>(cache, index_, page, [&](int64_t t, const T*, const T* value) {
      for (int64_t row = 0; row < rows_; ++row) {
        const float weight = std::exchange(weights[row * kRun + t], 0.0f);
        if (weight != 0.0f) add_row(weight, value, dim_, partial_.sums + row * dim_);
      }
    });
    const int64_t next = least(page + kRunPages, last_page_);
    const uint8_t *codes = values_of(page), *ahead = keys_of(next);
    prefetch(key_qparams<T>(cache, index_, next), 2 * dim_ * sizeof(T));
    const int64_t groups = value_groups(dim_, cache.value_group);
    for (int64_t g = 0; g < groups; ++g) {
      float scale[kPageTokens], center[kPageTokens];
      load_qparams(value_qparams<T>(cache, index_, page, g), kPageTokens, ValueCodes::kZero, scale,
                   center);
      const int64_t begin = g * cache.value_group, end = least(begin + cache.value_group, dim_);
      constexpr int64_t kElements = kPageTokens / 2 * kPair;
      ProductTerms terms[kTiles.decode_rows];
      for (int64_t row = 0; row < rows_; ++row) {
        float scaled[kPageTokens];
        Floats constant{};
        for (int64_t t = 0; t < kPageTokens; t += kWidth) {
          const Floats weight = load_floats(weights + row * kRun + t);
          store_floats(scaled + t, weight * load_floats(scale + t));
          constant = fma(weight, load_floats(center + t), constant);
        }
        const float unit =
            ValueCodes::convert(scaled, kPageTokens, folded_weights_ + row * kElements);
        terms[row] = {unit, lane_sum(constant)};
      }
      with_rows<ValueCodes::kRowsAtOnce>(rows_, [&](int64_t row, auto n) {
        constexpr int kMost = ValueCodes::columns(decltype(n)::value);
        for (int64_t cell = begin / kCellLanes; cell < end / kCellLanes; cell += kMost) {
          with_count<kMost>(end / kCellLanes - cell, [&](auto m) {
            sum_page<ValueCodes, kValueBits, decltype(n)::value, decltype(m)::value>(
                value_codes_, codes, row == 0 ? ahead : nullptr, static_cast<int>(dim_),
                static_cast<int>(cell), folded_weights_ + row * kElements, kElements, terms + row,
                partial_.sums + row * dim_, dim_);
          });
        }
      });
    }
  }

  const Head<T> head_;
  const PackedKeys& keys_;
  const int64_t index_, rows_, dim_;
  const Scale scale_;
  const Partial partial_;
  const KeyCodes key_codes_{};
  const ValueCodes value_codes_{};
  PageSines sines_;
  int64_t last_page_ = 0;       // of the task
  const T* qparams_ = nullptr;  // of which the folded queries are
  alignas(64) float queries_[kTiles.decode_rows * kTiles.decode_dim];
  alignas(64) float rotated_[kTiles.decode_rows * kTiles.decode_dim];
  alignas(64) float key_scale_[kTiles.decode_dim], key_center_[kTiles.decode_dim];
  alignas(64) Element folded_[kTiles.decode_rows * kTiles.decode_dim];
  alignas(64) Element folded_weights_[kTiles.decode_rows * kPageTokens];
  alignas(64) float scores_[kTiles.decode_rows * kRun];
  ProductTerms key_terms_[kTiles.decode_rows];
};

}  // namespace
}  // namespace intp::cpu
