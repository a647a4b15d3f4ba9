#pragma once

#include <sstream>
#include <stdexcept>
#include <utility>

#include "common/dtype.h"
#include "torch/stable.h"

// The last line of defence: intp_ext/_checks.py explains what is wrong with an argument; these keep
// a direct call of torch.ops.intp_ext.* from touching memory that is not the tensor's.

namespace intp {

// Throws std::invalid_argument, which Python sees as ValueError.
template <class... Message>
inline void check(bool good, const Message&... message) {
  if (good) return;
  std::ostringstream text;
  (text << ... << message);
  throw std::invalid_argument(text.str());
}

inline void check_same_device(const char* where, const Tensor& a, const Tensor& b) {
  check(a.device() == b.device(), where, ": expected all tensors on one device");
}

inline void check_unit_stride(const char* where, const char* name, const Tensor& x) {
  const int64_t last = x.dim() - 1;
  check(x.size(last) <= 1 || x.stride(last) == 1 || x.numel() == 0, where, ": ", name,
        ": expected unit stride in the last dimension");
}

// An output may not share memory with an input (judged by address range) or itself (stride 0).
inline void check_no_overlap(const char* where, const Tensor& in, const Tensor& out) {
  if (in.numel() == 0 || out.numel() == 0) return;
  const auto range = [](const Tensor& x) {
    int64_t last = 0;
    for (int64_t i = 0; i < x.dim(); ++i) last += (x.size(i) - 1) * x.stride(i);
    const auto begin = reinterpret_cast<uintptr_t>(x.const_data_ptr());
    return std::pair(begin, begin + (last + 1) * x.element_size());
  };
  const auto [in_begin, in_end] = range(in);
  const auto [out_begin, out_end] = range(out);
  check(in_end <= out_begin || out_end <= in_begin, where,
        ": out: expected memory of its own, got memory of an input");
  for (int64_t i = 0; i < out.dim(); ++i) {
    check(out.size(i) == 1 || out.stride(i) != 0, where,
          ": out: expected memory for every element, got an expanded tensor");
  }
}

inline NumberType index_type(const char* where, const char* name, const Tensor& x) {
  const ScalarType type = x.scalar_type();
  check(type == ScalarType::Int || type == ScalarType::Long, where, ": ", name,
        ": expected int32 or int64");
  return type == ScalarType::Int ? NumberType::kInt32 : NumberType::kInt64;
}

inline FloatType float_type(const char* where, const char* name, const Tensor& x) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return FloatType::kFloat32;
    case ScalarType::BFloat16:
      return FloatType::kBFloat16;
    case ScalarType::Half:
      return FloatType::kFloat16;
    default:
      check(false, where, ": ", name, ": expected float32, bfloat16 or float16");
      return FloatType::kFloat32;
  }
}

}  // namespace intp
