#pragma once

#include <cstdint>

#include "common/macros.h"

namespace intp {

enum class FloatType { kFloat32, kBFloat16, kFloat16 };

// An index or position tensor of any accepted dtype.
enum class NumberType { kInt32, kInt64, kFloat32 };

INTP_HD int64_t load_index(const void* data, NumberType type, int64_t i) {
  return type == NumberType::kInt32 ? static_cast<const int32_t*>(data)[i]
                                    : static_cast<const int64_t*>(data)[i];
}

INTP_HD float load_position(const void* data, NumberType type, int64_t i) {
  if (type == NumberType::kFloat32) return static_cast<const float*>(data)[i];
  return static_cast<float>(load_index(data, type, i));
}

}  // namespace intp
