#pragma once

#include "attention/cpu/plan.h"
#include "cpu/target.h"

// Prefill: rows task_rows * i ... of key head `head` (b * Hkv + h), i < splits, against every key
// they see. scratch: the calling worker's, PrefillScratch::size elements, 64-byte aligned.
INTP_DECLARE_CPU_KERNEL(void, attend_rows, const AttentionParams& params, const AttentionPlan& plan,
                        int64_t head, int64_t split, float* scratch)

// Decode, task i < tasks: all rows of some key heads against decode_keys keys; leaves a partial
// result of each head. scratch: [B * Hkv, splits, decode_partial], of all tasks.
INTP_DECLARE_CPU_KERNEL(void, attend_keys, const AttentionParams& params, const AttentionPlan& plan,
                        int64_t task, float* scratch)

// Decode, a task of split >= row_splits: all rows of a key head against decode_keys keys in pages.
INTP_DECLARE_CPU_KERNEL(void, attend_pages, const AttentionParams& params,
                        const AttentionPlan& plan, int64_t task, float* scratch)

// Combines the partial results of key head `head` and writes its outputs.
INTP_DECLARE_CPU_KERNEL(void, combine_partials, const AttentionParams& params,
                        const AttentionPlan& plan, int64_t head, const float* scratch)
