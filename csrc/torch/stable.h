#pragma once

// The only file that sees torch: its stable ABI, at the TORCH_TARGET_VERSION that setup.py sets.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/device.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

// The library that the operators are registered in. A build that may be loaded beside this one
// has a name of its own.
#ifndef TORCH_EXTENSION_NAME
#define TORCH_EXTENSION_NAME intp_ext
#endif

namespace intp {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using torch::stable::accelerator::DeviceGuard;

}  // namespace intp
