#pragma once

// Attention of many rows: keys are packed, once for all rows of a task.

#include <cstring>

#include "attention/cpu/head.h"
#include "attention/cpu/product.h"
#include "attention/cpu/sinks.h"
#include "attention/cpu/softmax.h"
#include "attention/cpu/unpack.h"
#include "cpu/copy.h"

namespace intp::cpu {
namespace {

constexpr int64_t kDepth = 128;  // longest chain of additions in a score

// A task: rows first ... first + rows - 1 of a key head.
//
//     for every tile of 512 keys that some row sees:  pack k and v
//       for every tile of 12 rows that sees some of them:
//         scores [12, 512] = q [12, D] k^T,  masked on an edge,  then made weights
//         sums [12, D] += weights [12, 512] v
template <class T>
class Prefill {
  using Element = ElementOf<T>;
  static constexpr int64_t kPerElement = kPairs<Element> ? 2 : 1;  // keys or channels

 public:
  Prefill(const AttentionParams& p, const AttentionPlan& plan, int64_t head, int64_t split,
          float* scratch)
      : head_(p, head),
        scale_(scale_of(p)),
        s_(prefill_scratch(kTiles, plan.task_rows, p.head_dim, p.value_dim, kWidth,
                           kPairs<Element>)),
        scratch_(scratch),
        first_(split * plan.task_rows),
        rows_(least(plan.task_rows, attention_rows(p) - first_)) {}

  void run() {
    pack_queries();
    const AttentionParams& p = head_.p;
    const KeySpans visible = head_.visible(head_.queries(first_, first_ + rows_));
    const KeySpan all = hull(visible, {0, p.keys});
    for (int64_t begin = all.begin / kTiles.keys * kTiles.keys; begin < all.end;
         begin += kTiles.keys) {
      const KeySpan tile{begin, begin + kTiles.keys};
      if (is_empty(hull(visible, tile))) continue;
      pack_tile(tile, visible);
      for (int64_t row = 0; row < rows_; row += kTiles.rows) {
        attend_tile(row, least(row + kTiles.rows, rows_), tile);
      }
    }
    for (int64_t row = 0; row < rows_; ++row) {
      const RowResult result{sums(row), scratch_[s_.maxima + row], scratch_[s_.totals + row]};
      write_row(head_, first_ + row, result, scale_.weights);
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
      scratch_[s_.maxima + row] = kMasked;
      scratch_[s_.totals + row] = 0.0f;
    }
    memset(elements(s_.queries + rows_ * s_.depth), 0, (padded - rows_) * s_.depth * 4);
    memset(sums(0), 0, padded * s_.columns * 4);
  }

  // The panels that hold what is visible of the tile.
  void pack_tile(const KeySpan& tile, const KeySpans& visible) {
    const KeySpan used = hull(visible, tile);
    int64_t begin = (used.begin - tile.begin) / kTiles.panel * kTiles.panel;
    const int64_t end = round_up(used.end - tile.begin, kTiles.panel);
    const int64_t packed = head_.p.packed ? head_.p.packed->tokens : 0;
    if (tile.begin + begin < packed) begin = unpack_pages(tile, begin, end);
    for (int64_t j = begin; j < end; j += kWidth) {
      const T* rows[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        const int64_t key = tile.begin + j + i, row = key - packed;
        prefetch_row(head_.key(0), head_.p.k.stride_s, row + kWidth, packed, head_.p.head_dim);
        rows[i] = contains(visible, key) ? head_.key(row) : nullptr;
      }
      const int64_t panel = j / kTiles.panel, column = j % kTiles.panel;
      pack_keys(rows, head_.p.head_dim, kTiles.panel,
                elements(s_.k + panel * s_.depth * kTiles.panel + column));
    }
    const auto value = [&](int64_t j) {
      const int64_t key = tile.begin + j, row = key - packed;
      prefetch_row(head_.value(0), head_.p.v.stride_s, row + kWidth, packed, head_.p.value_dim);
      return contains(visible, key) ? head_.value(row) : nullptr;
    };
    for (int64_t j = begin; j < end; j += kPerElement) {
      Element* row = elements(s_.v + j / kPerElement * s_.columns);
      if constexpr (kPairs<Element>) {
        pack_value_pair(value(j), value(j + 1), head_.p.value_dim, s_.columns, row);
      } else {
        pack_value(value(j), head_.p.value_dim, s_.columns, row);
      }
    }
  }

  // The pages that hold keys begin <= j < end of the tile. Returns where rows go on.
  int64_t unpack_pages(const KeySpan& tile, int64_t begin, int64_t end) {
    static_assert(kTiles.keys % kPageTokens == 0 && kPageTokens % kTiles.panel == 0);
    const PackedKeys& keys = *head_.p.packed;
    const int64_t index = head_.b * head_.p.kv_heads + head_.h;
    int64_t j = begin / kPageTokens * kPageTokens;
    for (; j < end && tile.begin + j < keys.tokens; j += kPageTokens) {
      const int64_t page = (tile.begin + j) / kPageTokens;
      unpack_keys<T>(keys, index, page, kTiles.panel,
                     elements(s_.k + j / kTiles.panel * s_.depth * kTiles.panel));
      unpack_values<T>(keys.cache, index, page, s_.columns,
                       elements(s_.v + j / kPerElement * s_.columns));
      each_sink<T>(keys.cache, index, page, [&](int64_t t, const T* key, const T* value) {
        const int64_t panel = (j + t) / kTiles.panel, column = (j + t) % kTiles.panel;
        put_key(key, head_.p.head_dim, kTiles.panel,
                elements(s_.k + panel * s_.depth * kTiles.panel + column));
        put_value(value, head_.p.head_dim, s_.columns, j + t, elements(s_.v));
      });
    }
    return j;
  }

  // A row of k or v, which follow `packed` keys: rows of [B, S, H, D] lie far apart.
  void prefetch_row(const T* first, int64_t stride, int64_t row, int64_t packed, int64_t channels) {
    if (row < head_.p.keys - packed) prefetch(first + row * stride, channels * sizeof(T));
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
      cap_scores(at, count, scale_.cap);
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
      rescale = weigh_scores<true>(scores, count, largest, scale_.weights, state,
                                   [&](int64_t j, Floats first, Floats second) {
                                     store_pairs(weights + j / 2, first, second);
                                   });
    } else {
      rescale = weigh_scores<false>(scores, count, largest, scale_.weights, state,
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

}  // namespace
}  // namespace intp::cpu
