#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "cuda/limits.h"
#include "cuda/ptx.h"

namespace intp::cuda {

// Throws for a launch that did not start. What a kernel does wrong later shows at the next sync.
inline void check_launch(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(error));
  }
}

#if defined(__CUDACC__)

// kernel<<<grid, threads, shared, stream>>>(params), with as much shared memory as it asks for.
template <class Params>
void launch_kernel(void (*kernel)(Params), dim3 grid, int threads, int shared, cudaStream_t stream,
                   const Params& params) {
  if (shared > kDefaultShared) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  }
  kernel<<<grid, threads, shared, stream>>>(params);
}

#endif

}  // namespace intp::cuda
