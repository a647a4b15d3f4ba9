#pragma once

#include "cpu/target.h"
#include "kv_append/params.h"

// Packs tokens key_group * group ... of every head of batch row b, from the rows of before the call
// and the new tokens. Returns false, and leaves garbage in those pages, if a value is not finite.
INTP_DECLARE_CPU_KERNEL(bool, pack_group, const KvAppendParams& params, int64_t b, int64_t group)

// Writes tokens first <= t < first + count, of these, as they are cached unpacked, for every head
// of batch row b: head h's to k and v + h * head_stride, D elements per token. Returns false if a
// value is not finite.
INTP_DECLARE_CPU_KERNEL(bool, write_tokens, const KvAppendParams& params, int64_t b, int64_t first,
                        int64_t count, void* k, void* v, int64_t head_stride)
