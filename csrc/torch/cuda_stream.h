#pragma once

#include <cuda_runtime.h>

#include <stdexcept>

#include "torch/stable.h"

// Both are weak: a torch has one or the other, and the library must load in either.
extern "C" {
// torch 2.11 on, in libtorch_cuda
AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream)
    __attribute__((weak));
// torch 2.13 on: the portable way, beyond the stable ABI version this library asks for
AOTITorchError torch_stream_native_handle(StreamHandle stream, void** ret_native_handle)
    __attribute__((weak));
}

namespace intp {

// The cudaStream_t that torch uses at the moment on this device.
inline cudaStream_t current_cuda_stream(int32_t device_index) {
  void* stream = nullptr;
  if (aoti_torch_get_current_cuda_stream != nullptr) {
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_index, &stream));
    return static_cast<cudaStream_t>(stream);
  }
  if (torch_stream_native_handle == nullptr) {
    throw std::runtime_error("intp_ext: this torch offers no way to its current CUDA stream");
  }
  StreamHandle handle = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_stream(device_index, &handle));
  const torch::stable::accelerator::Stream owner(handle);
  STABLE_TORCH_ERROR_CODE_CHECK(torch_stream_native_handle(handle, &stream));
  return static_cast<cudaStream_t>(stream);
}

// Of the device: what a grid is shared by.
inline int multiprocessors(int32_t device_index) {
  int count = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device_index);
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
  return count;
}

}  // namespace intp
