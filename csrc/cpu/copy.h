#pragma once

// Memory traffic beyond loads and stores.

#include "cpu/simd.h"

namespace intp::cpu {
namespace {

// From this size on an output is written past the cache: a store that allocates its line reads it
// from memory first (3 bytes of traffic for 2), and evicts what the caller still needs.
constexpr int64_t kStreamBytes = int64_t{16} << 20;

// memcpy by stream_store.
inline void stream_copy(void* to, const void* from, int64_t bytes) {
  constexpr int64_t kLine = sizeof(Simd::Line);
  char* y = static_cast<char*>(to);
  const char* x = static_cast<const char*>(from);
  const int64_t head = -reinterpret_cast<intptr_t>(y) & (kLine - 1);
  if (bytes < head + kLine) {
    memcpy(y, x, bytes);
    return;
  }
  memcpy(y, x, head);
  int64_t at = head;
  for (; at + kLine <= bytes; at += kLine) {
    Simd::Line line;
    memcpy(&line, x + at, kLine);
    stream_store(y + at, line);
  }
  memcpy(y + at, x + at, bytes - at);
}

// Into the L2 cache, which has room for more misses at a time than the L1 cache.
inline void prefetch(const void* x, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) {
    __builtin_prefetch(static_cast<const char*>(x) + at, 0, 2);
  }
  // GCC takes a function that only prefetches for one without effect, and drops the calls
  asm volatile("");
}

}  // namespace
}  // namespace intp::cpu
