#pragma once

#include <cuda_runtime.h>

#include "kv_append/params.h"

namespace intp::cuda {

// Everything is in device memory. A row of `order` outside 0 <= row < rows is cached as zeros, and
// a group that holds an infinity or NaN gets NaN for its scale and zero point: to refuse it, as on
// the CPU, the host would have to wait. `processors`: what a grid is shared by.
void launch_append(const KvAppendParams& params, int processors, cudaStream_t stream);

}  // namespace intp::cuda
