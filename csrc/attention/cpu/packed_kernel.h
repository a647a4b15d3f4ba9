#pragma once

#include "attention/cpu/plan.h"
#include "attention/packed_keys.h"
#include "attention/params.h"
#include "cpu/target.h"

// Decode: all rows of key head `head` against the packed keys among decode_keys * split ...; leaves
// a partial result, as attend_keys() does (attention/cpu/kernel.h).
INTP_DECLARE_CPU_KERNEL(void, attend_pages, const AttentionParams& params, int64_t head,
                        int64_t split, float* partial)
