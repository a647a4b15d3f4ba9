#pragma once

#include <cstdint>

#include "common/kv_page.h"
#include "rope/params.h"

namespace intp {

// New tokens length ... length + count - 1, token length + i being row order[i] of k and v. After
// `now_packed` > packed, the tokens that were rows lie in k_old, v_old, like the rows of the cache,
// and those that still are rows move to the first of these. New sinks go to their slots as well.
struct KvAppendParams {
  KvCache cache;
  const void* k_old;  // nullptr: no row moves
  const void* v_old;
  RopeParams rope;  // of k, with no frequencies where keys are not rotated; v: same rows and order
  const void* v;
  int64_t v_stride_b, v_stride_h, v_stride_s;
  int64_t length;
  int64_t count;
  int64_t packed, now_packed;  // tokens in pages before the call and after it
  const int32_t* valid;        // [B, 2]: tokens outside lo <= t < hi are padding; nullptr: none is
};

// The first token that is written as a row; those before the new ones come from k_old and v_old.
INTP_HD int64_t first_written_row(const KvAppendParams& p) {
  return p.k_old != nullptr || p.length < p.now_packed ? p.now_packed : p.length;
}

// New tokens begin <= t < end.
struct NewTokens {
  int64_t begin, end;
};

// Those that are sinks of row b of the batch.
INTP_HD NewTokens new_sinks(const KvAppendParams& p, int64_t b) {
  if (p.cache.sinks == 0) return {p.length, p.length};
  const int64_t first = p.cache.first[b], last = first + p.cache.sinks, end = p.length + p.count;
  const int64_t begin = first < p.length ? p.length : first;
  return {begin, last < end ? last : end};
}

}  // namespace intp
