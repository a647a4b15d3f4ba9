#pragma once

#include <cstdint>

#include "common/kv_page.h"
#include "rope/params.h"

namespace intp {

// New tokens length ... length + count - 1, token length + i being row order[i] of k and v.
struct KvAppendParams {
  KvCache cache;
  RopeParams rope;  // of k, with no frequencies where keys are not rotated; v: same rows and order
  const void* v;
  int64_t v_stride_b, v_stride_h, v_stride_s;
  int64_t length;
  int64_t count;
  const int32_t* valid;  // [B, 2]: tokens outside lo <= t < hi are padding; nullptr: none is
};

}  // namespace intp
