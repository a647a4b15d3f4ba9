#pragma once

// What tests of kernels compute with.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "check.h"
#include "cpu/simd.h"

// Small numbers that every type holds exactly.
inline float number(uint64_t index) {
  return static_cast<float>(static_cast<int64_t>(index * 2654435761u >> 7 & 63) - 32) / 16;
}

template <class T>
std::vector<T> numbers(int64_t size, uint64_t seed) {
  std::vector<T> values(size);
  for (int64_t i = 0; i < size; ++i) intp::cpu::store_one(&values[i], number(i + seed));
  return values;
}

struct Freed {
  void operator()(void* x) const { std::free(x); }
};

// Exactly so many, from a cache line on; NaN of every type.
template <class T>
std::unique_ptr<T[], Freed> aligned(int64_t count) {
  void* memory = nullptr;
  CHECK(posix_memalign(&memory, 64, count * sizeof(T)) == 0);
  memset(memory, 0xff, count * sizeof(T));
  return std::unique_ptr<T[], Freed>(static_cast<T*>(memory));
}

// The relative error of rounding to T.
template <class T>
constexpr double kDigit = std::is_same_v<T, intp::cpu::Float32>    ? 0x1p-24
                          : std::is_same_v<T, intp::cpu::BFloat16> ? 0x1p-9
                                                                   : 0x1p-12;
