#pragma once

#include <cstdint>

#include "common/macros.h"

namespace intp {

// What differs from row to row of a batch: one row of the int32 [B, 5] tensor of attention_core.
struct RowBounds {
  int32_t lo, hi;       // keys lo <= j < hi are not padding
  int32_t q_offset;     // absolute index of query row 0
  int32_t block_start;  // absolute index where block 0 of the window begins
  int32_t dense_from;   // queries at or after it see everything causal
};

// Where the window of a query begins.
enum class WindowKind {
  kNone,       // at the first key: full causal attention
  kBlocks,     // `size` blocks back
  kFirstKeys,  // at the first key that the call gives for each query
};

// What is the same for the whole call.
struct WindowParams {
  WindowKind kind;
  int64_t size;   // kBlocks: blocks visible, the query's own included
  int64_t block;  // kBlocks: tokens in a block (a frame), 1 for single tokens
  int64_t sink;   // first keys of the row, visible to every query
};

INTP_HD int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// Block of absolute index x; negative before block_start.
INTP_HD int64_t window_block(const RowBounds& row, const WindowParams& window, int64_t x) {
  return floor_div(x - row.block_start, window.block);
}

// THE visibility rule: does the query of absolute index i, and of that first key, see key j?
INTP_HD bool visible(const RowBounds& row, const WindowParams& window, int64_t i, int64_t j,
                     int64_t first_key = 0) {
  if (j < row.lo || j >= row.hi || j > i) return false;
  if (window.kind == WindowKind::kNone || i >= row.dense_from) return true;
  if (j - row.lo < window.sink) return true;
  if (window.kind == WindowKind::kFirstKeys) return j >= first_key;
  return window_block(row, window, j) > window_block(row, window, i) - window.size;
}

}  // namespace intp
