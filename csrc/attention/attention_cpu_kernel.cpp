#include <cmath>
#include <type_traits>

#include "attention/attention.h"
#include "attention/pack.h"
#include "attention/product.h"
#include "attention/softmax.h"
#include "cpu/copy.h"

namespace intp::cpu::INTP_CPU_LEVEL {
namespace {

constexpr AttentionTiles kTiles = attention_tiles(kWidth);
constexpr int kRows = kTiles.micro_rows;
constexpr int kColumns = kTiles.micro_columns;
constexpr int64_t kDepth = 128;  // longest chain of additions in a score
constexpr int64_t kAhead = 32;   // keys, from their prefetch to their use
constexpr float kLog2E = 1.4426950408889634f;

// What products are made of: float32, or pairs of bfloat16 where there is a dot product of them.
template <class T>
struct ElementOf {
  using Type = Float32;
};
#if defined(__AVX512BF16__)
template <>
struct ElementOf<BFloat16> {
  using Type = BFloat16Pair;
};
#endif
template <class Element>
constexpr bool kPairs = !std::is_same_v<Element, Float32>;

// scale as the sign of queries, times a positive factor of the scores, as powers of two: the
// largest score is found before scaling.
struct Scale {
  float sign, factor;
};
Scale scale_of(const AttentionParams& p) {
  if (p.scale == 0.0f) return {0.0f, 1.0f};
  return {p.scale < 0.0f ? -1.0f : 1.0f, std::fabs(p.scale) * kLog2E};
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
    return attention_queries(p, bounds, begin, end);
  }
};

// out = sums / total; zeros for a row that has seen no key.
template <class T>
void write_row(T* out, const float* sums, float total, int64_t head_dim) {
  const float factor = total == 0.0f ? 0.0f : 1.0f / total;
  int64_t c = 0;
  for (; c + kWidth <= head_dim; c += kWidth) store(out + c, load_floats(sums + c) * factor);
  for (; c < head_dim; ++c) store_one(out + c, sums[c] * factor);
}

// --- prefill ---------------------------------------------------------------------------------

// A task: rows first ... first + rows - 1 of a key head.
//
//     for every tile of 512 keys that some row sees:  pack k and v
//       for every tile of 12 rows that sees some of them:
//         scores [12, 512] = q [12, D] k^T,  masked on an edge,  then made weights
//         sums [12, D] += weights [12, 512] v
template <class T>
class Prefill {
  using Element = typename ElementOf<T>::Type;
  static constexpr int64_t kPerElement = kPairs<Element> ? 2 : 1;  // keys or channels

 public:
  Prefill(const AttentionParams& p, const AttentionPlan& plan, int64_t head, int64_t split,
          float* scratch)
      : head_(p, head),
        scale_(scale_of(p)),
        s_(prefill_scratch(kTiles, plan.task_rows, p.head_dim, kWidth, kPairs<Element>)),
        scratch_(scratch),
        first_(split * plan.task_rows),
        rows_(least(plan.task_rows, attention_rows(p) - first_)) {}

  void run() {
    pack_queries();
    const AttentionParams& p = head_.p;
    const KeySpans seen = head_.visible(head_.queries(first_, first_ + rows_));
    const KeySpan all = hull(seen, {0, p.keys});
    for (int64_t begin = all.begin / kTiles.keys * kTiles.keys; begin < all.end;
         begin += kTiles.keys) {
      const KeySpan tile{begin, begin + kTiles.keys};
      if (is_empty(hull(seen, tile))) continue;
      pack_tile(tile, seen);
      for (int64_t row = 0; row < rows_; row += kTiles.rows) {
        attend_tile(row, least(row + kTiles.rows, rows_), tile);
      }
    }
    for (int64_t row = 0; row < rows_; ++row) {
      write_row(head_.output(first_ + row), sums(row), scratch_[s_.totals + row], p.head_dim);
    }
  }

 private:
  float* sums(int64_t row) { return scratch_ + s_.sums + row * s_.columns; }
  Element* elements(int64_t at) { return reinterpret_cast<Element*>(scratch_ + at); }

  void pack_queries() {
    const int64_t padded = round_up(rows_, kRows);
    for (int64_t row = 0; row < rows_; ++row) {
      pack_query(head_.query(first_ + row), head_.p.head_dim, scale_.sign,
                 elements(s_.queries + row * s_.depth), scratch_ + s_.row);
      scratch_[s_.maxima + row] = kUnseen;
      scratch_[s_.totals + row] = 0.0f;
    }
    memset(elements(s_.queries + rows_ * s_.depth), 0, (padded - rows_) * s_.depth * 4);
    memset(sums(0), 0, padded * s_.columns * 4);
  }

  // The panels that hold what is seen of the tile.
  void pack_tile(const KeySpan& tile, const KeySpans& seen) {
    const KeySpan used = hull(seen, tile);
    const int64_t begin = (used.begin - tile.begin) / kTiles.panel * kTiles.panel;
    const int64_t end = round_up(used.end - tile.begin, kTiles.panel);
    for (int64_t j = begin; j < end; j += kWidth) {
      const T* rows[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        const int64_t key = tile.begin + j + i;
        rows[i] = contains(seen, key) ? head_.key(key) : nullptr;
      }
      const int64_t panel = j / kTiles.panel, column = j % kTiles.panel;
      pack_keys(rows, head_.p.head_dim, kTiles.panel,
                elements(s_.k + panel * s_.depth * kTiles.panel + column));
    }
    const auto value = [&](int64_t j) {
      return contains(seen, tile.begin + j) ? head_.value(tile.begin + j) : nullptr;
    };
    for (int64_t j = begin; j < end; j += kPerElement) {
      Element* row = elements(s_.v + j / kPerElement * s_.columns);
      if constexpr (kPairs<Element>) {
        pack_value_pair(value(j), value(j + 1), head_.p.head_dim, s_.columns, row);
      } else {
        pack_value(value(j), head_.p.head_dim, s_.columns, row);
      }
    }
  }

  // Rows begin <= row < end of the task against one packed tile of keys.
  void attend_tile(int64_t begin, int64_t end, const KeySpan& tile) {
    const AttentionParams& p = head_.p;
    const QuerySpan queries = head_.queries(first_ + begin, first_ + end);
    const TileKind kind = classify_tile(head_.bounds, p.window, p.keys, queries, tile);
    if (kind == TileKind::kSkipped) return;
    KeySpan used{0, kTiles.keys};  // within the tile
    if (kind == TileKind::kEdge) {
      used = hull(head_.visible(queries), tile);
      used = {used.begin - tile.begin, used.end - tile.begin};
    }
    const int64_t rows = round_up(end - begin, kRows);
    const KeySpan panels{used.begin / kTiles.panel, divide_up(used.end, kTiles.panel)};
    float* scores = scratch_ + s_.scores;
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      score_panel(rows, elements(s_.queries + begin * s_.depth),
                  elements(s_.k + panel * s_.depth * kTiles.panel), scores + panel * kTiles.panel);
    }
    const KeySpan scored{panels.begin * kTiles.panel, panels.end * kTiles.panel};
    float largest[kTiles.rows];  // of all rows first: no row waits for the end of the one before
    for (int64_t row = begin; row < end; ++row) {
      float* at = scores + (row - begin) * kTiles.keys + scored.begin;
      const int64_t count = scored.end - scored.begin;
      if (kind == TileKind::kEdge) {
        const QuerySpan query = head_.queries(first_ + row, first_ + row + 1);
        mask_scores(at, tile.begin + scored.begin, count, head_.visible(query));
      }
      largest[row - begin] = largest_score(at, count);
    }
    for (int64_t row = begin; row < end; ++row) {
      weigh_row(row, row - begin, scored, largest[row - begin]);
    }
    const int64_t first = used.begin / kPerElement;
    const int64_t depth = divide_up(used.end, kPerElement) - first;
    const int64_t weights = kPairs<Element> ? s_.pairs : s_.scores;
    multiply<kRows, kRows, kColumns, true>(
        rows, s_.columns / kWidth, depth, elements(weights + first), kTiles.keys / kPerElement,
        elements(s_.v + first * s_.columns), s_.columns, sums(begin), s_.columns);
  }

  void score_panel(int64_t rows, const Element* queries, const Element* panel, float* scores) {
    const int64_t depth = least(s_.depth, kDepth);
    multiply_rows<kRows, kRows, kColumns, false>(rows, depth, queries, s_.depth, panel,
                                                 kTiles.panel, scores, kTiles.keys);
    for (int64_t c = kDepth; c < s_.depth; c += kDepth) {
      multiply_rows<kRows, kRows, kColumns, true>(rows, least(kDepth, s_.depth - c), queries + c,
                                                  s_.depth, panel + c * kTiles.panel, kTiles.panel,
                                                  scores, kTiles.keys);
    }
  }

  // Scores of row `local` of the tile, of its keys begin <= j < end, to weights.
  void weigh_row(int64_t row, int64_t local, const KeySpan& used, float largest) {
    float* scores = scratch_ + s_.scores + local * kTiles.keys + used.begin;
    const int64_t count = used.end - used.begin;
    const RowState state{scratch_ + s_.maxima + row, scratch_ + s_.totals + row};
    float rescale;
    if constexpr (kPairs<Element>) {
      Element* weights = elements(s_.pairs + (local * kTiles.keys + used.begin) / 2);
      rescale = weigh_scores<true>(scores, count, largest, scale_.factor, state,
                                   [&](int64_t j, Floats first, Floats second) {
                                     store_pairs(weights + j / 2, first, second);
                                   });
    } else {
      rescale = weigh_scores<false>(scores, count, largest, scale_.factor, state,
                                    [&](int64_t j, Floats first, Floats second) {
                                      store_floats(scores + j, first);
                                      store_floats(scores + j + kWidth, second);
                                    });
    }
    if (rescale != 1.0f) scale_row(sums(row), s_.columns, rescale);
  }

  const Head<T> head_;
  const Scale scale_;
  const PrefillScratch s_;
  float* const scratch_;
  const int64_t first_, rows_;
};

// --- decode ----------------------------------------------------------------------------------

// Products of a query with keys where they lie; D is a multiple of kWidth.
template <class T>
struct QueryRow {
  float channels[kTiles.decode_dim];

  void set(const T* x, int64_t head_dim, float sign) {
    convert_row(x, head_dim, sign, channels, head_dim);
  }
  Floats scores(const T* const (&keys)[kWidth], int64_t head_dim) const {
    Floats sums[kWidth] = {};
    for (int64_t c = 0; c < head_dim; c += kWidth) {
      const Floats factor = load_floats(channels + c);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) sums[i] = multiply_add(factor, load(keys[i] + c), sums[i]);
    }
    return lane_sums(sums);
  }
};

#if defined(__AVX512BF16__)
template <>
struct QueryRow<BFloat16> {
  BFloat16Pair pairs[kTiles.decode_dim / 2 + kWidth / 2];  // a last half vector is zeros

  void set(const BFloat16* x, int64_t head_dim, float sign) {
    float row[kTiles.decode_dim];
    memset(pairs, 0, sizeof pairs);
    pack_query(x, head_dim, sign, pairs, row);
  }
  Floats scores(const BFloat16* const (&keys)[kWidth], int64_t head_dim) const {
    Floats sums[kWidth] = {};
    int64_t c = 0;
    for (; c + 2 * kWidth <= head_dim; c += 2 * kWidth) {
      const Words factor = load(pairs + c / 2);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        const Words key = load(reinterpret_cast<const BFloat16Pair*>(keys[i] + c));
        sums[i] = multiply_add(factor, key, sums[i]);
      }
    }
    if (c < head_dim) {
      const Words factor = load(pairs + c / 2);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        const auto* half = reinterpret_cast<const __m256i*>(keys[i] + c);
        const auto key = bit_cast<Words>(_mm512_zextsi256_si512(_mm256_loadu_si256(half)));
        sums[i] = multiply_add(factor, key, sums[i]);
      }
    }
    return lane_sums(sums);
  }
};
#endif

// A partial result: see decode_partial().
struct Partial {
  float* maxima;  // [rows]
  float* totals;  // [rows]
  float* sums;    // [rows, D]

  Partial(const AttentionParams& p, float* data)
      : maxima(data), totals(data + attention_rows(p)), sums(data + 2 * attention_rows(p)) {}
};

// Every row against keys begin ... begin + count - 1, count <= kTiles.keys, all seen by some row.
template <class T>
void attend_step(const Head<T>& head, const QueryRow<T>* queries, float factor, int64_t begin,
                 int64_t count, const Partial& partial) {
  const AttentionParams& p = head.p;
  const int64_t rows = attention_rows(p), padded = round_up(count, kWidth);
  float scores[kTiles.decode_rows * kTiles.keys];
  for (int64_t j = 0; j < padded; j += kWidth) {
    const T* keys[kWidth];
    for (int i = 0; i < kWidth; ++i) {
      keys[i] = head.key(begin + least(j + i, count - 1));
      // rows may lie far apart, where the hardware does not foresee the next one
      prefetch(head.key(least(begin + j + i + kAhead, p.keys - 1)), p.head_dim * sizeof(T));
    }
    for (int64_t row = 0; row < rows; ++row) {
      store_floats(scores + row * kTiles.keys + j, queries[row].scores(keys, p.head_dim));
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    float* at = scores + row * kTiles.keys;
    if (p.queries > 1) {
      mask_scores(at, begin, count, head.visible(head.queries(row, row + 1)));
    }
    for (int64_t j = count; j < padded; ++j) at[j] = kUnseen;
    const RowState state{partial.maxima + row, partial.totals + row};
    const float rescale =
        softmax_row<false>(at, padded, factor, state, [&](int64_t j, Floats first, Floats second) {
          store_floats(at + j, first);
          if (j + kWidth < padded) store_floats(at + j + kWidth, second);
        });
    if (rescale != 1.0f) scale_row(partial.sums + row * p.head_dim, p.head_dim, rescale);
  }
  multiply<4, 1, kColumns, true>(rows, p.head_dim / kWidth, count,
                                 reinterpret_cast<const Float32*>(scores), kTiles.keys,
                                 head.value(begin), p.v.stride_s, partial.sums, p.head_dim);
}

template <class T>
void attend_keys_of(const AttentionParams& p, int64_t index, int64_t split, float* data) {
  const Head<T> head(p, index);
  const Partial partial(p, data);
  const int64_t rows = attention_rows(p);
  for (int64_t row = 0; row < rows; ++row) {
    partial.maxima[row] = kUnseen;
    partial.totals[row] = 0.0f;
  }
  const KeySpan part{split * kTiles.decode_keys, (split + 1) * kTiles.decode_keys};
  const KeySpans seen = head.visible(head.queries(0, rows));
  if (is_empty(hull(seen, part))) return;

  memset(partial.sums, 0, rows * p.head_dim * sizeof(float));
  const Scale scale = scale_of(p);
  QueryRow<T> queries[kTiles.decode_rows];
  for (int64_t row = 0; row < rows; ++row)
    queries[row].set(head.query(row), p.head_dim, scale.sign);
  for (const KeySpan& span : {intersect(seen.sink, part), intersect(seen.recent, part)}) {
    for (int64_t begin = span.begin; begin < span.end; begin += kTiles.keys) {
      attend_step(head, queries, scale.factor, begin, least(kTiles.keys, span.end - begin),
                  partial);
    }
  }
}

template <class T>
void merge_partials_of(const AttentionParams& p, const AttentionPlan& plan, int64_t index,
                       const float* data) {
  const Head<T> head(p, index);
  const int64_t rows = attention_rows(p), size = decode_partial(rows, p.head_dim);
  const auto partial = [&](int64_t split) {
    return Partial(p, const_cast<float*>(data) + split * size);
  };
  for (int64_t row = 0; row < rows; ++row) {
    float maximum = kUnseen;
    for (int64_t split = 0; split < plan.splits; ++split) {
      const float found = partial(split).maxima[row];
      if (!(found <= maximum)) maximum = found;  // NaN wins
      if (maximum != maximum) break;
    }
    float sums[kTiles.decode_dim] = {};
    float total = 0.0f;
    for (int64_t split = 0; split < plan.splits; ++split) {
      const Partial from = partial(split);
      if (from.maxima[row] == kUnseen) continue;
      const float weight = std::exp2(from.maxima[row] - maximum);
      total += weight * from.totals[row];
      const float* x = from.sums + row * p.head_dim;
      for (int64_t c = 0; c < p.head_dim; c += kWidth) {
        store_floats(sums + c, load_floats(sums + c) + load_floats(x + c) * weight);
      }
    }
    write_row(head.output(row), sums, total, p.head_dim);
  }
}

// f(T{}) for the element type of p.
template <class F>
void with_type(const AttentionParams& p, F f) {
  switch (p.type) {
    case FloatType::kFloat32:
      return f(Float32{});
    case FloatType::kBFloat16:
      return f(BFloat16{});
    case FloatType::kFloat16:
      return f(Float16{});
  }
}

}  // namespace

void attend_rows(const AttentionParams& p, const AttentionPlan& plan, int64_t head, int64_t split,
                 float* scratch) {
  with_type(p, [&](auto type) { Prefill<decltype(type)>(p, plan, head, split, scratch).run(); });
}

void attend_keys(const AttentionParams& p, const AttentionPlan&, int64_t head, int64_t split,
                 float* partial) {
  with_type(p, [&](auto type) { attend_keys_of<decltype(type)>(p, head, split, partial); });
}

void merge_partials(const AttentionParams& p, const AttentionPlan& plan, int64_t head,
                    const float* partials) {
  with_type(p, [&](auto type) { merge_partials_of<decltype(type)>(p, plan, head, partials); });
}

}  // namespace intp::cpu::INTP_CPU_LEVEL
