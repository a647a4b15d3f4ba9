#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace intp {

// Throws for a launch that did not start. What a kernel does wrong later shows at the next sync.
inline void check_launch(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(error));
  }
}

}  // namespace intp
