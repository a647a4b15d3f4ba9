#pragma once

#include "cpu/target.h"
#include "rope/params.h"

namespace intp {

constexpr int64_t kRopeBlock = 32;  // rows whose sines are kept at a time

}  // namespace intp

// Output rows begin <= b * S + s < end of every head. Every order entry must lie in 0 <= row <
// rows. table: 2 * kRopeBlock * F floats of the calling thread.
INTP_DECLARE_CPU_KERNEL(void, rope_rows, const RopeParams& params, int64_t begin, int64_t end,
                        float* table)
