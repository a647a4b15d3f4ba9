#pragma once

#include <cstdint>

#include "common/kv_page.h"
#include "cpu/target.h"
#include "rope/params.h"

namespace intp {

// The memory of one cache: tokens 0 ... packed - 1 in pages, the rest as rows. All contiguous.
struct KvCache {
  FloatType type;  // of k and v, of rows, scales and zeros
  int64_t bits;    // 16: nothing is packed
  int64_t key_group;
  int64_t value_group;
  int64_t batch, heads, head_dim;
  int64_t page_capacity;
  uint8_t* k_codes;  // [B, H, pages, page_bytes]
  uint8_t* v_codes;
  void* k_ranges;  // [B, H, groups, 2, D]                    scales, zeros
  void* v_ranges;  // [B, H, pages, value groups, 2, 64]
  void* k_rows;    // [B, H, row_capacity, D]
  void* v_rows;
  int64_t row_capacity;
};

INTP_HD int64_t packed_tokens(const KvCache& cache, int64_t length) {
  return cache.bits == 16 ? 0 : length / cache.key_group * cache.key_group;
}

// New tokens length ... length + count - 1, token length + i being row order[i] of k and v.
struct KvAppend {
  KvCache cache;
  RopeParams rope;  // of k, with no frequencies where keys are not rotated; v: same rows and order
  const void* v;
  int64_t v_stride_b, v_stride_h, v_stride_s;
  int64_t length;
  int64_t count;
  const int32_t* bounds;  // [B, 2]: tokens outside lo <= t < hi are padding; nullptr: none is
};

}  // namespace intp

// Packs tokens key_group * group ... of every head of batch row b, from the rows of the cache and
// the new tokens. Returns false, and leaves garbage in those pages, if a value is not finite.
INTP_DECLARE_CPU_KERNEL(bool, pack_group, const KvAppend& append, int64_t b, int64_t group)

// Writes new tokens first <= t < first + count, as they are cached unpacked, for every head of
// batch row b: head h's to k and v + h * head_stride, D elements a token. False if a value is not
// finite.
INTP_DECLARE_CPU_KERNEL(bool, write_tokens, const KvAppend& append, int64_t b, int64_t first,
                        int64_t count, void* k, void* v, int64_t head_stride)
