#pragma once

// Attention of few rows: keys and values are read once, where they lie, at the speed of memory.
//
//   a task: `heads` key heads of one batch row x decode_keys keys
//     for every step of 64 keys:
//       scores [heads, rows, 64] = q k^T
//       weights of them
//       sums [heads, rows, D] += weights v
//
// Heads of one key that lie side by side ([B, S, H, D]) belong to one task: rows of a few hundred
// bytes that lie pages apart are read at a fraction of the speed.

#include <cmath>
#include <cstring>

#include "attention/cpu/head.h"
#include "attention/cpu/softmax.h"
#include "cpu/copy.h"

namespace intp::cpu {
namespace {

constexpr int64_t kStep = kTiles.decode_step;
constexpr int64_t kPiece = 32;  // keys or values that are read while the next ones are on their way
constexpr int64_t kTaskRows = kTiles.decode_task_rows;

constexpr int kRowsAtOnce = 4;  // at most, that share the loading of a key or value
// Sums of a product that stay in registers, beside an operand for each row and one more: chains of
// additions, of which it takes about that many to hide how long one takes.
constexpr int kSums = kManyRegisters ? 16 : 12;

// f(std::integral_constant) for 1 <= n <= kMost.
template <int kMost, class F>
inline void with_count(int64_t n, F f) {
  if constexpr (kMost > 1) {
    if (n < kMost) return with_count<kMost - 1>(n, f);
  }
  f(std::integral_constant<int, kMost>());
}

// f(first row, std::integral_constant<number>) for rows in runs of about the same length.
template <int kMost, class F>
inline void with_rows(int64_t rows, F f) {
  const int64_t run = divide_up(rows, divide_up(rows, kMost));
  for (int64_t row = 0; row < rows; row += run) {
    with_count<kMost>(least(run, rows - row), [&](auto n) { f(row, n); });
  }
}

// The largest of n, n / 2, ..., 1 that is at most `most`.
constexpr int half_until(int n, int most) {
  while (n > 1 && n > most) n /= 2;
  return n;
}

// Rows of k or v.
template <class T>
struct Rows {
  const T* data;
  int64_t stride, count;

  // `channels` of row i from c on, if there is such a row.
  void prefetch(int64_t i, int64_t c, int64_t channels) const {
    if (i < count) cpu::prefetch(data + i * stride + c, channels * sizeof(T));
  }
  Rows from(int64_t i) const { return {data + i * stride, stride, count - i}; }
};

// A query, as vectors of kChannels channels, and the key beside it. A vector has kParts operands
// for the product: operand(key, part) is what it multiplies.
template <class T, bool kPairs = kUsesPairs<T>>
struct QueryRow {
  static constexpr int64_t kChannels = kWidth;
  static constexpr int kParts = 1;
  Floats vectors[kTiles.decode_dim / kChannels][kParts];

  void set(const T* x, int64_t head_dim, float sign) {
    convert_row(x, head_dim, sign, reinterpret_cast<float*>(vectors),
                round_up(head_dim, kChannels));
  }
  static Floats key(const T* k) { return load(k); }
  static Floats part_of_key(const T* k, int64_t channels) { return load_part(k, channels); }
  static Floats operand(Floats key, int) { return key; }
};

// Even and odd channels apart: a word of two bfloat16 becomes two floats by one instruction each.
template <>
struct QueryRow<BFloat16, false> {
  static constexpr int64_t kChannels = 2 * kWidth;
  static constexpr int kParts = 2;
  Floats vectors[kTiles.decode_dim / kChannels][kParts];

  void set(const BFloat16* x, int64_t head_dim, float sign) {
    for (int64_t c = 0; c < head_dim; c += kChannels) {
      const int64_t left = head_dim - c;
      const Words pairs = left < kChannels ? part_of_key(x + c, left) : key(x + c);
      for (int part = 0; part < kParts; ++part) {
        vectors[c / kChannels][part] = operand(pairs, part) * sign;
      }
    }
  }
  static Words key(const BFloat16* k) { return load(reinterpret_cast<const BFloat16Pair*>(k)); }
  static Words part_of_key(const BFloat16* k, int64_t channels) {
    return load_pairs_part(k, channels);
  }
  static Floats operand(Words key, int part) {
    return bit_cast<Floats>(part == 0 ? key << 16 : key & 0xffff0000);
  }
};

template <>
struct QueryRow<BFloat16, true> {
  static constexpr int64_t kChannels = 2 * kWidth;
  static constexpr int kParts = 1;
  Words vectors[kTiles.decode_dim / kChannels][kParts];

  void set(const BFloat16* x, int64_t head_dim, float sign) {
    float row[kTiles.decode_dim];
    memset(vectors, 0, sizeof vectors);
    pack_query(x, head_dim, sign, reinterpret_cast<BFloat16Pair*>(vectors), row);
  }
  static Words key(const BFloat16* k) { return load(reinterpret_cast<const BFloat16Pair*>(k)); }
  static Words part_of_key(const BFloat16* k, int64_t channels) {
    return load_pairs_part(k, channels);
  }
  static Words operand(Words key, int) { return key; }
};

// scores[row][0 .. kWidth - 1] of kRows queries and kWidth keys. A key is loaded once for all rows,
// and as many keys at once as there are registers for their sums. ahead: rows that are read soon,
// and prefetched at the pace of these.
template <int kRows, class T>
inline void score_keys(const QueryRow<T>* queries, const T* const (&keys)[kWidth], int64_t head_dim,
                       const Rows<T>& ahead, float* scores, int64_t ld_scores) {
  using Query = QueryRow<T>;
  constexpr int64_t kChannels = Query::kChannels;
  constexpr int kKeys = half_until(kWidth, kRows == 1 ? kWidth : kSums / kRows);
  Floats sums[kRows][kWidth];  // in every kKeys of them one, of lanes and of keys
  for (int first = 0; first < kWidth; first += kKeys) {
    for (int i = first; i < first + kKeys; ++i) ahead.prefetch(i, 0, head_dim);
    Floats sum[kRows][kKeys] = {};
    const auto add = [&](int64_t c, auto load_key) {
#pragma GCC unroll 2
      for (int part = 0; part < Query::kParts; ++part) {
        std::decay_t<decltype(queries->vectors[0][0])> q[kRows];
#pragma GCC unroll 4
        for (int row = 0; row < kRows; ++row) q[row] = queries[row].vectors[c / kChannels][part];
#pragma GCC unroll 16
        for (int i = 0; i < kKeys; ++i) {
          const auto key = Query::operand(load_key(keys[first + i] + c), part);
#pragma GCC unroll 4
          for (int row = 0; row < kRows; ++row) {
            sum[row][i] = multiply_add(q[row], key, sum[row][i]);
          }
        }
      }
    };
    int64_t c = 0;
    for (; c + kChannels <= head_dim; c += kChannels) {
      add(c, [](const T* k) { return Query::key(k); });
    }
    if (c < head_dim) {
      add(c, [&](const T* k) { return Query::part_of_key(k, head_dim - c); });
    }
#pragma GCC unroll 4
    for (int row = 0; row < kRows; ++row) {
      add_lanes<1, kKeys>(sum[row]);
      sums[row][first] = sum[row][0];
    }
  }
  for (int row = 0; row < kRows; ++row) {
    add_lanes<kKeys, kWidth>(sums[row]);
    store_floats(scores + row * ld_scores, sums[row][0]);
  }
}

// v of some keys as the products read it: element k is key k, or the pair of keys 2 k, 2 k + 1.
template <class T, bool kPairs = kUsesPairs<T>>
struct Values {
  static constexpr int64_t kKeys = 1;  // of an element
  Rows<T> rows;

  const T* at(int64_t j, int64_t c) const { return rows.data + j * rows.stride + c; }
  Floats whole(int64_t k, int64_t c) const { return load(at(k, c)); }
  Floats part(int64_t k, int64_t c, int64_t channels) const {
    return load_part(at(k, c), channels);
  }
};

template <>
struct Values<BFloat16, true> {
  static constexpr int64_t kKeys = 2;
  Rows<BFloat16> rows;

  const BFloat16* at(int64_t j, int64_t c) const { return rows.data + j * rows.stride + c; }
  template <class Load>
  Words pair(int64_t k, int64_t c, Load load_channels) const {
    const Words first = load_channels(at(2 * k, c));  // bfloat16 in the low halves
    if (2 * k + 1 == rows.count) return first;
    return first | load_channels(at(2 * k + 1, c)) << 16;
  }
  Words whole(int64_t k, int64_t c) const {
    return pair(k, c, [](const BFloat16* x) {
      Halves halves;
      memcpy(&halves, x, sizeof halves);
      return widen(halves);
    });
  }
  Words part(int64_t k, int64_t c, int64_t channels) const {
    return pair(k, c,
                [&](const BFloat16* x) { return bit_cast<Words>(load_part(x, channels)) >> 16; });
  }
};

// sums[kRows, kVectors vectors] += weights[kRows, elements] v[elements, channels c ...]. kPart: one
// vector, of those up to `channels`. ahead: see score_keys
template <int kRows, int kVectors, bool kPart, class Element, class T>
inline void add_values_block(const Element* weights, int64_t ldw, const Values<T>& values,
                             const Rows<T>& ahead, int64_t c, int64_t channels, float* sums,
                             int64_t ld_sums) {
  constexpr int64_t kKeys = Values<T>::kKeys;
  const int64_t depth = divide_up(values.rows.count, kKeys);
  Floats sum[kRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t j = k * kKeys; j < (k + 1) * kKeys; ++j) ahead.prefetch(j, c, kVectors * kWidth);
    decltype(spread(weights)) factors[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) factors[i] = spread(weights + i * ldw + k);
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const auto row = kPart ? values.part(k, c, channels - c) : values.whole(k, c + j * kWidth);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) sum[i][j] = multiply_add(factors[i], row, sum[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      float* at = sums + i * ld_sums + c + j * kWidth;
      store_floats(at, load_floats(at) + sum[i][j]);
    }
  }
}

// The same of all rows and channels: as many of both at once as there are registers for their sums.
template <class Element, class T>
inline void add_values(int64_t rows, const Element* weights, int64_t ldw, const Values<T>& values,
                       const Rows<T>& ahead, int64_t channels, float* sums, int64_t ld_sums) {
  with_rows<kRowsAtOnce>(rows, [&](int64_t row, auto n) {
    constexpr int kRows = decltype(n)::value, kVectors = half_until(4, kSums / kRows);
    const Rows<T> soon = row == 0 ? ahead : Rows<T>{};
    const Element* w = weights + row * ldw;
    float* to = sums + row * ld_sums;
    int64_t c = 0;
    for (; c + kVectors * kWidth <= channels; c += kVectors * kWidth) {
      add_values_block<kRows, kVectors, false>(w, ldw, values, soon, c, channels, to, ld_sums);
    }
    for (; c + kWidth <= channels; c += kWidth) {
      add_values_block<kRows, 1, false>(w, ldw, values, soon, c, channels, to, ld_sums);
    }
    if (c < channels) {
      add_values_block<kRows, 1, true>(w, ldw, values, soon, c, channels, to, ld_sums);
    }
  });
}

// A partial result of one key head: see decode_partial().
struct Partial {
  float* maxima;  // [rows]
  float* totals;  // [rows]
  float* sums;    // [rows, columns]

  Partial(const AttentionParams& p, float* data)
      : maxima(data), totals(data + attention_rows(p)), sums(data + 2 * attention_rows(p)) {}
};

template <class T>
class Decode {
  using Element = ElementOf<T>;
  static constexpr int64_t kPerElement = kPairs<Element> ? 2 : 1;  // keys of a weight

 public:
  Decode(const AttentionParams& p, const AttentionPlan& plan, int64_t task, float* scratch)
      : p_(p),
        plan_(plan),
        split_(task % plan.splits),
        head_(p, first_head(p, plan, task / plan.splits)),
        heads_(least(plan.task_heads, p.kv_heads - head_.h)),
        rows_(attention_rows(p)),
        columns_(round_up(p.value_dim, kWidth)),
        scale_(scale_of(p)),
        scratch_(scratch) {}

  void run() {
    const KeySpan part{split_ * plan_.tiles.decode_keys, (split_ + 1) * plan_.tiles.decode_keys};
    const KeySpans visible = head_.visible(head_.queries(0, rows_));
    for (int64_t h = 0; h < heads_; ++h) clear(partial(h));
    if (is_empty(hull(visible, part))) return;
    for (int64_t h = 0; h < heads_; ++h) {
      for (int64_t row = 0; row < rows_; ++row) {
        queries_[h * rows_ + row].set(head_.query(row) + h * p_.group * p_.q.stride_h, p_.head_dim,
                                      scale_.sign);
      }
    }
    for (const KeySpan& span : {intersect(visible.sink, part), intersect(visible.recent, part)}) {
      for (int64_t begin = span.begin; begin < span.end; begin += kStep) {
        attend_step({begin, least(begin + kStep, span.end)}, span);
      }
    }
  }

 private:
  // Tasks are [B, groups of heads, splits]; the first key head of a group, as b * Hkv + h.
  static int64_t first_head(const AttentionParams& p, const AttentionPlan& plan, int64_t group) {
    const int64_t groups = divide_up(p.kv_heads, plan.task_heads);
    return group / groups * p.kv_heads + group % groups * plan.task_heads;
  }
  // Partial results are [B * Hkv, splits].
  Partial partial(int64_t h) const {
    const int64_t head = head_.b * p_.kv_heads + head_.h + h;
    return {p_, scratch_ + (head * plan_.splits + split_) * decode_partial(rows_, columns_)};
  }
  void clear(const Partial& to) const {
    for (int64_t row = 0; row < rows_; ++row) {
      to.maxima[row] = kMasked;
      to.totals[row] = 0.0f;
    }
    memset(to.sums, 0, rows_ * columns_ * sizeof(float));
  }

  // Work is done in pieces, of kPiece keys of one head: those of k in a step, those of v, those of
  // k in the next step, ... . What is read after number `piece` of this sequence: the hardware does
  // not foresee rows read side by side, nor the way from k to v and back.
  Rows<T> after(int64_t piece, const KeySpan& keys, const KeySpan& span) const {
    ++piece;
    const int64_t pieces = divide_up(keys.end - keys.begin, kPiece) * heads_;
    const AttentionTensor<const void>& x = piece / pieces == 1 ? p_.v : p_.k;
    const int64_t first = piece < 2 * pieces ? keys.begin : keys.end;
    const int64_t end = piece < 2 * pieces ? keys.end : span.end;
    const int64_t begin = first + piece % pieces / heads_ * kPiece;
    const T* data = static_cast<const T*>(x.data) + head_.b * x.stride_b +
                    (head_.h + piece % heads_) * x.stride_h + begin * x.stride_s;
    return {data, x.stride_s, least(kPiece, end - begin)};
  }

  // f(head, first key, rows that are read after), for each piece of a step, of which `piece` are
  // done.
  template <class F>
  void each_piece(int64_t piece, const KeySpan& keys, const KeySpan& span, F f) const {
    for (int64_t j = keys.begin; j < keys.end; j += kPiece) {
      for (int64_t h = 0; h < heads_; ++h) f(h, j, after(piece++, keys, span));
    }
  }

  // Every row of every head against one step of keys, all of which some row sees.
  void attend_step(const KeySpan& keys, const KeySpan& span) {
    const int64_t count = keys.end - keys.begin, padded = round_up(count, kWidth);
    each_piece(0, keys, span, [&](int64_t h, int64_t begin, const Rows<T>& ahead) {
      for (int64_t j = begin; j < least(begin + kPiece, keys.end); j += kWidth) {
        score(h, j, keys, ahead.from(j - begin));
      }
    });
    for (int64_t h = 0; h < heads_; ++h) {
      for (int64_t row = 0; row < rows_; ++row) weigh_row(h, row, keys.begin, count, padded);
    }
    const int64_t pieces = divide_up(count, kPiece) * heads_;
    each_piece(pieces, keys, span, [&](int64_t h, int64_t j, const Rows<T>& ahead) {
      const Values<T> values{
          {head_.value(j) + h * p_.v.stride_h, p_.v.stride_s, least(kPiece, keys.end - j)}};
      add_values(rows_, weights() + (h * rows_ * kStep + j - keys.begin) / kPerElement,
                 kStep / kPerElement, values, ahead, p_.value_dim, partial(h).sums, columns_);
    });
  }

  // kWidth keys of a step, from j on: the last one stands for those beyond.
  void score(int64_t h, int64_t j, const KeySpan& keys, const Rows<T>& ahead) {
    const T* at[kWidth];
    for (int i = 0; i < kWidth; ++i) {
      at[i] = head_.key(least(j + i, keys.end - 1)) + h * p_.k.stride_h;
    }
    with_rows<kRowsAtOnce>(rows_, [&](int64_t row, auto n) {
      const Rows<T> soon = row == 0 ? ahead : Rows<T>{};
      row += h * rows_;
      score_keys<decltype(n)::value>(queries_ + row, at, p_.head_dim, soon,
                                     scores_ + row * kStep + j - keys.begin, kStep);
    });
  }

  void weigh_row(int64_t h, int64_t row, int64_t first, int64_t count, int64_t padded) {
    float* scores = scores_ + (h * rows_ + row) * kStep;
    cap_scores(scores, padded, scale_.cap);
    if (p_.queries > 1) {
      mask_scores(scores, first, count, head_.visible(head_.queries(row, row + 1)));
    }
    for (int64_t j = count; j < padded; ++j) scores[j] = kMasked;
    const Partial to = partial(h);
    const RowState state{to.maxima + row, to.totals + row};
    Element* weights = this->weights() + (h * rows_ + row) * kStep / kPerElement;
    const auto write = [&](int64_t j, Floats a, Floats b) {
      if constexpr (kPairs<Element>) {
        store_pairs(weights + j / 2, a, b);
      } else {
        store(weights + j, a);
        if (j + kWidth < padded) store(weights + j + kWidth, b);
      }
    };
    const float rescale =
        softmax_row<kPairs<Element>>(scores, padded, scale_.weights, state, write);
    if (rescale != 1.0f) scale_row(to.sums + row * columns_, columns_, rescale);
  }

  Element* weights() {
    if constexpr (kPairs<Element>) {
      return pairs_;
    } else {
      return reinterpret_cast<Element*>(scores_);  // each takes the place of its score
    }
  }

  const AttentionParams& p_;
  const AttentionPlan& plan_;
  const int64_t split_;
  const Head<T> head_;  // the first of heads_
  const int64_t heads_, rows_, columns_;
  const Scale scale_;
  float* const scratch_;
  QueryRow<T> queries_[kTaskRows];                         // [heads, rows]
  alignas(64) float scores_[kTaskRows * kStep];            // [heads, rows, kStep]
  alignas(64) BFloat16Pair pairs_[kTaskRows * kStep / 2];  // weights as pairs
};

// Combines the partial results of key head `index`.
template <class T>
void combine_partials_of(const AttentionParams& p, const AttentionPlan& plan, int64_t index,
                         const float* scratch) {
  const Head<T> head(p, index);
  const int64_t rows = attention_rows(p), columns = round_up(p.value_dim, kWidth);
  const WeightScale scale = scale_of(p).weights;
  const auto partial = [&](int64_t split) {
    const int64_t at = (index * plan.splits + split) * decode_partial(rows, columns);
    return Partial(p, const_cast<float*>(scratch) + at);
  };
  for (int64_t row = 0; row < rows; ++row) {
    float maximum = kMasked;
    for (int64_t split = 0; split < plan.splits; ++split) {
      const float found = partial(split).maxima[row];
      if (!(found <= maximum)) maximum = found;  // NaN wins
      if (maximum != maximum) break;
    }
    float sums[kTiles.decode_dim] = {};
    float total = 0.0f;
    for (int64_t split = 0; split < plan.splits; ++split) {
      const Partial from = partial(split);
      if (from.maxima[row] == kMasked) continue;
      const float weight = std::exp2((from.maxima[row] - maximum) * scale.factor);
      total += weight * from.totals[row];
      const float* x = from.sums + row * columns;
      for (int64_t c = 0; c < columns; c += kWidth) {
        store_floats(sums + c, load_floats(sums + c) + load_floats(x + c) * weight);
      }
    }
    write_row(head, row, {sums, maximum, total}, scale);
  }
}

}  // namespace
}  // namespace intp::cpu
