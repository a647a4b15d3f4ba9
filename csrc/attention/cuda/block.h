#pragma once

// What the blocks of every attention kernel share: which rows and keys are theirs, where rows lie,
// what each row sees, where partial results go.

#include "attention/cuda/launch.h"
#include "common/tiles.h"
#include "cuda/limits.h"
#include "cuda/ptx.h"

namespace intp::cuda {

// Block x: key heads run fastest, then slices, splits and row tiles, the last rows (with causal
// attention the longest work) first.
struct BlockTask {
  int head;  // b * Hkv + h
  int b, h;
  int slice;
  int split;
  int row;  // first of the tile
};

INTP_DEVICE BlockTask block_task(const AttentionLaunch& launch, int slices, int tile_rows) {
  const int kv_heads = static_cast<int>(launch.params.kv_heads);
  const int heads = static_cast<int>(launch.params.batch) * kv_heads;
  int x = static_cast<int>(blockIdx.x);
  BlockTask task{};
  task.head = x % heads;
  x /= heads;
  task.b = task.head / kv_heads;
  task.h = task.head % kv_heads;
  task.slice = x % slices;
  x /= slices;
  task.split = x % launch.splits;
  task.row = (launch.row_tiles - 1 - x / launch.splits) * tile_rows;
  return task;
}

// Elements from the base of q or out to a row of a key head (see attention_rows()).
template <class Data>
INTP_DEVICE int64_t row_offset(const AttentionParams& p, const AttentionTensor<Data>& x,
                               const BlockTask& task, int row) {
  const int group = static_cast<int>(p.group);
  return task.b * x.stride_b + (task.h * p.group + row % group) * x.stride_h +
         row / group * x.stride_s;
}

// Of k or v, for the head of the block.
template <class T>
INTP_DEVICE const T* head_data(const AttentionTensor<const void>& x, const BlockTask& task) {
  return static_cast<const T*>(x.data) + task.b * x.stride_b + task.h * x.stride_h;
}

// Of the queries of a tile that have a window: read by every warp, its lanes side by side.
INTP_DEVICE FirstKeys tile_first_keys(const AttentionParams& p, const BlockTask& task,
                                      const RowBounds& bounds, const QuerySpan& queries) {
  const int32_t* keys = first_key_of(p, task.b, task.row);
  const int count = static_cast<int>(last_windowed(bounds, p.window, queries) - queries.first) + 1;
  int low = keys[0], high = keys[0];
  for (int n = static_cast<int>(threadIdx.x) % kWarp; n < count; n += kWarp) {
    low = min(low, keys[n]);
    high = max(high, keys[n]);
  }
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    low = min(low, __shfl_xor_sync(0xffffffffu, low, mask));
    high = max(high, __shfl_xor_sync(0xffffffffu, high, mask));
  }
  return {low, high};
}

// Computed once a block, each span by a thread of its own: they take divisions.
template <int kRows>
struct VisibleKeys {
  KeySpans32 any;          // to some row
  KeySpans32 all;          // to every row: a tile that it covers is full
  KeySpans32 rows[kRows];  // to each row

  // A barrier must follow.
  INTP_DEVICE void fill(const AttentionParams& p, const BlockTask& task) {
    const RowBounds bounds = p.bounds[task.b];
    const int end = static_cast<int>(least(task.row + kRows, attention_rows(p)));
    QuerySpan tile = query_indices(p, bounds, task.row, end);
    const bool has_first_keys = p.window.kind == WindowKind::kFirstKeys;
    if (has_first_keys) tile.first_keys = tile_first_keys(p, task, bounds, tile);
    for (int i = threadIdx.x; i < kRows + 2; i += blockDim.x) {
      if (i == kRows) {
        all = narrow(common_keys(bounds, p.window, p.keys, tile));
        continue;
      }
      QuerySpan queries = tile;
      if (i < kRows) {
        const int row = min(task.row + i, end - 1);  // rows beyond the last see what it sees
        queries = query_indices(p, bounds, row, row + 1);
        if (has_first_keys) {
          const int first_key = *first_key_of(p, task.b, row);
          queries.first_keys = {first_key, first_key};
        }
      }
      (i < kRows ? rows[i] : any) = narrow(visible_keys(bounds, p.window, p.keys, queries));
    }
  }

  INTP_DEVICE bool is_full(const KeySpan32& tile) const { return covers(all, tile); }
};

// Is the key in one of the spans? Without the branches of contains(): for many keys of a thread.
INTP_DEVICE bool sees(const KeySpans32& spans, int key) {
  const auto within = [key](const KeySpan32& span) {
    return static_cast<uint32_t>(key - span.begin) < static_cast<uint32_t>(span.end - span.begin);
  };
  return within(spans.sink) | within(spans.recent);
}

// Tiles of keys that every row sees, by their first keys: within one of two ranges.
struct FullTiles {
  int begin[2];
  uint32_t size[2];

  INTP_DEVICE bool contains(int key) const {
    return (static_cast<uint32_t>(key - begin[0]) < size[0]) |
           (static_cast<uint32_t>(key - begin[1]) < size[1]);
  }
};

// all: to every row.
INTP_DEVICE FullTiles full_tiles(const KeySpans32& all, int tile_keys) {
  const bool is_one = all.sink.end == all.recent.begin;
  const KeySpan32 spans[2] = {all.sink,
                              {is_one ? all.sink.begin : all.recent.begin, all.recent.end}};
  FullTiles tiles{};
  for (int i = 0; i < 2; ++i) {
    tiles.begin[i] = spans[i].begin;
    tiles.size[i] = max(0, spans[i].end - spans[i].begin - tile_keys + 1);
  }
  return tiles;
}

// Tiles begin <= n < end of the block's list.
struct TileShare {
  TileList list;
  int begin, end;
};

INTP_DEVICE TileShare share_tiles(const AttentionLaunch& launch, const KeySpans32& visible,
                                  int split, int tile_keys) {
  const TileList list = list_tiles(visible, tile_keys);
  const auto cut = [&](int n) {
    return static_cast<int>(static_cast<int64_t>(list.count) * n / launch.splits);
  };
  return {list, cut(split), cut(split + 1)};
}

// The partial result of a row: its largest score (times scale, as a power of two), sum of weights
// and weighted sums of v, relative to that score.
struct Partial {
  float2* stats;  // {maximum, total}
  float* sums;    // [Dv]
};

INTP_DEVICE Partial partial_of(const AttentionLaunch& launch, int head, int split, int row) {
  const AttentionParams& p = launch.params;
  const int64_t rows = attention_rows(p), all = p.batch * p.kv_heads * launch.splits * rows;
  const int64_t index = (static_cast<int64_t>(head) * launch.splits + split) * rows + row;
  return {reinterpret_cast<float2*>(launch.partials) + index,
          launch.partials + 2 * all + index * p.value_dim};
}

constexpr float kMasked = -INFINITY;
constexpr float kLog2E = 1.4426950408889634f;

// What scores are reduced by before 2^x, for a row whose largest is `maximum`: nothing for a row
// to which no key was visible, where -inf - -inf would be NaN.
INTP_DEVICE float score_base(float maximum) { return maximum == kMasked ? 0.0f : maximum; }

// What the weight of a row's sink adds to a total relative to `maximum`, a score times log2(e).
// Where there is no other weight, any will do. row: of the key head.
INTP_DEVICE float sink_weight(const AttentionParams& p, const BlockTask& task, int row,
                              float maximum) {
  if (p.sinks == nullptr) return 0.0f;
  const int group = static_cast<int>(p.group);
  const float sink = p.sinks[task.h * group + row % group];
  if (maximum == kMasked) return sink == kMasked ? 0.0f : 1.0f;
  return exp2f(fmaf(sink, kLog2E, -maximum));
}

// What a row's sums are multiplied by in the end. Without a weight it is 0 for a row that sees no
// key, and NaN for one that does, all of whose scores are -infinity; visible() gives the keys.
template <class Visible>
INTP_DEVICE float inverse_total(float total, const Visible& visible) {
  if (total == 0.0f) return is_empty(visible()) ? 0.0f : NAN;
  return 1.0f / total;
}

// The scores of a scale s are q' k times |s|, with q' = q, -q or 0: then the largest score can be
// found before scaling.
struct ScoreScale {
  float softcap;  // 0: none
  float capped;   // 2 |s| log2(e) / softcap: powers of two for the tanh of a softcap
  float factor;   // |s| log2(e), or log2(e) after a softcap: powers of two for the weights
};

INTP_DEVICE ScoreScale score_scale(const AttentionParams& p) {
  const float size = fabsf(p.scale);
  if (p.softcap > 0.0f) return {p.softcap, 2.0f * kLog2E * size / p.softcap, kLog2E};
  return {0.0f, 0.0f, size == 0.0f ? 1.0f : size * kLog2E};
}

// A pair of 16-bit elements of q, to q'.
INTP_DEVICE uint32_t signed_query(uint32_t pair, float scale) {
  if (scale == 0.0f) return 0;
  return scale < 0.0f ? pair ^ 0x80008000u : pair;
}

}  // namespace intp::cuda
