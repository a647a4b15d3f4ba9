#pragma once

// Which keys a run of queries sees, as ranges: what a tile of attention has to visit, and whether
// it needs a mask. Follows from visible() (common/visibility.h), against which it is tested.

#include <cstdint>

#include "common/macros.h"
#include "common/visibility.h"

namespace intp {

INTP_HD int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INTP_HD int64_t most(int64_t a, int64_t b) { return a < b ? b : a; }

// Keys begin <= j < end; none when both are equal.
struct KeySpan {
  int64_t begin, end;
};

INTP_HD KeySpan intersect(const KeySpan& a, const KeySpan& b) {
  const int64_t begin = most(a.begin, b.begin);
  return {begin, most(begin, least(a.end, b.end))};
}

INTP_HD bool is_empty(const KeySpan& a) { return a.begin == a.end; }

// Ascending and disjoint:   sink [s, s')   what lies between is unseen   recent [r, r')
struct KeySpans {
  KeySpan sink, recent;
};

// Queries of absolute index first <= i <= last.
struct QuerySpan {
  int64_t first, last;
};

// First key >= begin of the oldest block that query i sees.
INTP_HD int64_t window_begin(const RowBounds& row, const WindowParams& window, int64_t begin,
                             int64_t i) {
  const int64_t block = window_block(row, window, i);
  if (block - window_block(row, window, begin) < window.size) return begin;
  return (block - window.size + 1) * window.block + row.block_start;
}

// The keys, of 0 <= j < keys, that some query sees. For a single query: exactly those it sees.
INTP_HD KeySpans visible_keys(const RowBounds& row, const WindowParams& window, int64_t keys,
                              const QuerySpan& queries) {
  const int64_t begin = most(row.lo, 0);
  const int64_t end = most(begin, least(least(row.hi, keys), queries.last + 1));
  if (!window.enabled || queries.last >= row.dense_from) return {{begin, begin}, {begin, end}};
  const int64_t recent = least(window_begin(row, window, begin, queries.first), end);
  int64_t sink_end = recent;  // written so that a huge sink does not overflow
  if (window.sink < recent - row.lo) sink_end = most(begin, row.lo + window.sink);
  return {{begin, sink_end}, {recent, end}};
}

INTP_HD bool contains(const KeySpans& spans, int64_t j) {
  return (spans.sink.begin <= j && j < spans.sink.end) ||
         (spans.recent.begin <= j && j < spans.recent.end);
}

INTP_HD bool covers(const KeySpans& spans, const KeySpan& keys) {
  const bool joined = spans.sink.end == spans.recent.begin;
  const int64_t begin = joined ? spans.sink.begin : spans.recent.begin;
  return (begin <= keys.begin && keys.end <= spans.recent.end) ||
         (spans.sink.begin <= keys.begin && keys.end <= spans.sink.end);
}

// The smallest range that holds what the two spans have of `keys`.
INTP_HD KeySpan hull(const KeySpans& spans, const KeySpan& keys) {
  const KeySpan sink = intersect(spans.sink, keys), recent = intersect(spans.recent, keys);
  if (is_empty(sink)) return recent;
  return is_empty(recent) ? sink : KeySpan{sink.begin, recent.end};
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
  // The first query sees the fewest new keys, the last one with a window the fewest old ones.
  int64_t last = queries.first;
  if (window.enabled) last = most(last, least(queries.last, int64_t{row.dense_from} - 1));
  const bool full = covers(visible_keys(row, window, keys, {queries.first, queries.first}), tile) &&
                    covers(visible_keys(row, window, keys, {last, last}), tile);
  return full ? TileKind::kFull : TileKind::kEdge;
}

}  // namespace intp
