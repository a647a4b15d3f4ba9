#pragma once

#include "attention/attention_args.h"
#include "attention/attention_plan.h"
#include "cpu/level.h"
#include "kv_cache/packed_keys.h"

// Decode: all rows of key head `head` against the packed keys among decode_keys * split ...; leaves
// a partial result, as attend_keys() does (attention/attention.h).
INTP_DECLARE_CPU_KERNEL(void, attend_pages, const AttentionParams& params, int64_t head,
                        int64_t split, float* partial)
