#pragma once

// Elements as they lie in memory. Internal linkage: see common/macros.h.

#include <cstdint>
#include <cstring>

namespace intp::cpu {
namespace {

struct Float32 {
  float bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// Two bfloat16 in one word, the first in the low half.
struct BFloat16Pair {
  uint32_t bits;
};

template <class To, class From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace
}  // namespace intp::cpu
