#pragma once

// Stands in for csrc/torch/stable.h: the same operators, registered for CPU tensors and in a
// namespace that is chosen when the library is loaded, so that several can live in one process.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdlib>

namespace intp {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct DeviceGuard {
  explicit DeviceGuard(int) {}
};

inline const char* operator_namespace() { return std::getenv("INTP_CUDA_ON_HOST_NAMESPACE"); }

}  // namespace intp

#define INTP_ON_HOST_REGISTER(KIND, KEY, M)                                  \
  static void register_operators(torch::stable::detail::StableLibrary&);     \
  static const torch::stable::detail::StableTorchLibraryInit registration(   \
      torch::stable::detail::StableLibrary::Kind::KIND, &register_operators, \
      intp::operator_namespace(), KEY, __FILE__, __LINE__);                  \
  static void register_operators(torch::stable::detail::StableLibrary& M)

#undef STABLE_TORCH_LIBRARY
#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY(NAME, M) INTP_ON_HOST_REGISTER(DEF, nullptr, M)
#define STABLE_TORCH_LIBRARY_IMPL(NAME, KEY, M) INTP_ON_HOST_REGISTER(IMPL, "CPU", M)
