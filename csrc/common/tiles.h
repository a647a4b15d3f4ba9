#pragma once

// Which keys a run of queries sees, as ranges: what a tile of attention has to visit, and whether
// it needs a mask. Follows from visible() (common/visibility.h), against which it is tested.

#include <cstdint>
#include <type_traits>

#include "common/macros.h"
#include "common/visibility.h"

namespace intp {

INTP_HD constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INTP_HD constexpr int64_t most(int64_t a, int64_t b) { return a < b ? b : a; }
INTP_HD constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
INTP_HD constexpr int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Keys begin <= j < end; none when both are equal.
template <class Index>
struct KeySpanOf {
  Index begin, end;
};
using KeySpan = KeySpanOf<int64_t>;

INTP_HD KeySpan intersect(const KeySpan& a, const KeySpan& b) {
  const int64_t begin = most(a.begin, b.begin);
  return {begin, most(begin, least(a.end, b.end))};
}

INTP_HD bool is_empty(const KeySpan& a) { return a.begin == a.end; }

// Ascending and disjoint:   sink [s, s')   what lies between is hidden   recent [r, r')
template <class Index>
struct KeySpansOf {
  KeySpanOf<Index> sink, recent;
};
using KeySpans = KeySpansOf<int64_t>;

// Where keys are known to be few enough: half the registers, and cheaper comparisons on a GPU.
using KeySpan32 = KeySpanOf<int32_t>;
using KeySpans32 = KeySpansOf<int32_t>;

INTP_HD KeySpans32 narrow(const KeySpans& spans) {
  const auto index = [](int64_t j) { return static_cast<int32_t>(j); };
  return {{index(spans.sink.begin), index(spans.sink.end)},
          {index(spans.recent.begin), index(spans.recent.end)}};
}

// Of a run of queries.
struct FirstKeys {
  int64_t least, most;
};

// Queries of absolute index first <= i <= last. With WindowKind::kFirstKeys, the range of the first
// keys of those that are not dense; nothing if all are.
struct QuerySpan {
  int64_t first, last;
  FirstKeys first_keys{};
};

// The last query that has a window; the first one if none has.
INTP_HD int64_t last_windowed(const RowBounds& row, const WindowParams& window,
                              const QuerySpan& queries) {
  if (window.kind == WindowKind::kNone) return queries.first;
  return most(queries.first, least(queries.last, int64_t{row.dense_from} - 1));
}

// First key >= begin of the window of query i, and of that first key.
INTP_HD int64_t window_begin(const RowBounds& row, const WindowParams& window, int64_t begin,
                             int64_t i, int64_t first_key) {
  if (window.kind == WindowKind::kFirstKeys) return most(begin, first_key);
  const int64_t block = window_block(row, window, i);
  if (block - window_block(row, window, begin) < window.size) return begin;
  return (block - window.size + 1) * window.block + row.block_start;
}

// Of the keys begin <= j < end: the sink, and a window that begins at `recent`.
INTP_HD KeySpans split_keys(const RowBounds& row, const WindowParams& window, int64_t begin,
                            int64_t end, int64_t recent) {
  recent = least(recent, end);
  int64_t sink_end = recent;  // written so that a huge sink does not overflow
  if (window.sink < recent - row.lo) sink_end = most(begin, row.lo + window.sink);
  return {{begin, sink_end}, {recent, end}};
}

// The keys, of 0 <= j < keys, that some query sees. For a single query, and for a window of blocks,
// exactly those; with first keys, the smallest spans where no query's lies after the query.
INTP_HD KeySpans visible_keys(const RowBounds& row, const WindowParams& window, int64_t keys,
                              const QuerySpan& queries) {
  const int64_t begin = most(row.lo, 0);
  const int64_t end = most(begin, least(least(row.hi, keys), queries.last + 1));
  int64_t recent = begin;
  if (window.kind != WindowKind::kNone && queries.last < row.dense_from) {
    recent = window_begin(row, window, begin, queries.first, queries.first_keys.least);
  }
  return split_keys(row, window, begin, end, recent);
}

// The keys that every query sees: up to the first query, in the window that begins last.
INTP_HD KeySpans common_keys(const RowBounds& row, const WindowParams& window, int64_t keys,
                             const QuerySpan& queries) {
  const int64_t begin = most(row.lo, 0);
  const int64_t end = most(begin, least(least(row.hi, keys), queries.first + 1));
  int64_t recent = begin;
  if (window.kind != WindowKind::kNone && queries.first < row.dense_from) {
    const int64_t last = last_windowed(row, window, queries);
    recent = window_begin(row, window, begin, last, queries.first_keys.most);
  }
  return split_keys(row, window, begin, end, recent);
}

template <class Index>
INTP_HD bool contains(const KeySpansOf<Index>& spans, std::common_type_t<Index> j) {
  return (spans.sink.begin <= j && j < spans.sink.end) ||
         (spans.recent.begin <= j && j < spans.recent.end);
}

template <class Index>
INTP_HD bool covers(const KeySpansOf<Index>& spans, const KeySpanOf<Index>& keys) {
  const bool one = spans.sink.end == spans.recent.begin;
  const Index begin = one ? spans.sink.begin : spans.recent.begin;
  return (begin <= keys.begin && keys.end <= spans.recent.end) ||
         (spans.sink.begin <= keys.begin && keys.end <= spans.sink.end);
}

// The smallest range that holds what the two spans have of `keys`.
INTP_HD KeySpan hull(const KeySpans& spans, const KeySpan& keys) {
  const KeySpan sink = intersect(spans.sink, keys), recent = intersect(spans.recent, keys);
  if (is_empty(sink)) return recent;
  return is_empty(recent) ? sink : KeySpan{sink.begin, recent.end};
}

template <class Index>
INTP_HD bool is_empty(const KeySpansOf<Index>& spans) {
  return spans.sink.begin == spans.sink.end && spans.recent.begin == spans.recent.end;
}

enum class TileKind {
  kSkipped,  // no query sees any key
  kEdge,     // some sees some: needs a mask
  kFull,     // every query sees every key
};

// Of the tile `queries` x `tile`; tile.end may lie beyond the last key.
INTP_HD TileKind classify_tile(const RowBounds& row, const WindowParams& window, int64_t keys,
                               const QuerySpan& queries, const KeySpan& tile) {
  if (is_empty(hull(visible_keys(row, window, keys, queries), tile))) return TileKind::kSkipped;
  const bool full = covers(common_keys(row, window, keys, queries), tile);
  return full ? TileKind::kFull : TileKind::kEdge;
}

// The tiles of `size` keys, which begin at multiples of it, that hold some key of the spans:
// 0 <= n < count, ascending.
struct TileList {
  int32_t sink_first, sink_count;  // in units of tiles
  int32_t recent_first, count;
};

INTP_HD TileList list_tiles(const KeySpans32& spans, int32_t size) {
  const auto up = [size](int32_t end) { return (end - 1) / size + 1; };  // no overflow near 2^31
  TileList list{};
  if (spans.sink.begin < spans.sink.end) {
    list.sink_first = spans.sink.begin / size;
    list.sink_count = up(spans.sink.end) - list.sink_first;
  }
  list.count = list.sink_count;
  if (spans.recent.begin < spans.recent.end) {
    // the last tile of the sink may be the first of the recent keys
    list.recent_first = spans.recent.begin / size;
    const int32_t sink_end = list.sink_first + list.sink_count;
    if (list.recent_first < sink_end) list.recent_first = sink_end;
    const int32_t recent_end = up(spans.recent.end);
    if (list.recent_first < recent_end) list.count += recent_end - list.recent_first;
  }
  return list;
}

// How many of the list begin before the tile of this number.
INTP_HD int32_t tiles_before(const TileList& list, int32_t tile) {
  const auto count = [tile](int32_t first, int32_t tiles) {
    return tile <= first ? 0 : tile - first < tiles ? tile - first : tiles;
  };
  return count(list.sink_first, list.sink_count) +
         count(list.recent_first, list.count - list.sink_count);
}

// In units of tiles.
INTP_HD int32_t tile_at(const TileList& list, int32_t n) {
  return n < list.sink_count ? list.sink_first + n : list.recent_first + (n - list.sink_count);
}

}  // namespace intp
