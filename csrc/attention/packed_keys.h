#pragma once

#include "common/tiles.h"
#include "kv_append/params.h"

namespace intp {

// The pages of a cache as attention reads them.
struct PackedKeys {
  KvCache cache;
  int64_t tokens;  // in whole groups: a multiple of key_group

  // Keys that are rotated while they are read, by position * inv_freq; no frequencies: as they are.
  const float* positions;  // [B, position_stride]
  int64_t position_stride;
  const float* inv_freq;  // [F]
  int64_t frequencies;    // F, even
  float scaling;          // on cos and sin
};

}  // namespace intp
