#pragma once

#include "cpu/target.h"
#include "rearrange/params.h"

// Output rows begin <= b * S + s < end. Every order entry must lie in 0 <= row < R.
INTP_DECLARE_CPU_KERNEL(void, rearrange_rows, const RearrangeParams& params, int64_t begin,
                        int64_t end)
