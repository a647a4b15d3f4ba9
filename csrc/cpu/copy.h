#pragma once

// Memory traffic beyond plain loads and stores. Internal linkage: see common/macros.h.

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace intp::cpu {
namespace {

// From this size on an output is written past the cache: a store that allocates its line reads it
// from memory first (3 bytes of traffic for 2), and evicts what the caller still needs.
constexpr int64_t kStreamBytes = int64_t{16} << 20;

#if defined(__AVX512F__)
using Line = __m512i;
#elif defined(__AVX2__)
using Line = __m256i;
#elif defined(__x86_64__)
using Line = __m128i;
#else
using Line = uint64_t;
#endif

// Writes v past the cache; `to` is aligned to sizeof(v). Follow with stream_fence() before another
// thread reads.
template <class Vector>
inline void stream_store(void* to, Vector v) {
#if defined(__AVX512F__)
  if constexpr (sizeof v == 64) {
    __m512i bits;
    memcpy(&bits, &v, sizeof v);
    return _mm512_stream_si512(static_cast<__m512i*>(to), bits);
  }
#endif
#if defined(__AVX2__)
  if constexpr (sizeof v == 32) {
    __m256i bits;
    memcpy(&bits, &v, sizeof v);
    return _mm256_stream_si256(static_cast<__m256i*>(to), bits);
  }
#endif
#if defined(__x86_64__)
  if constexpr (sizeof v == 16) {
    __m128i bits;
    memcpy(&bits, &v, sizeof v);
    return _mm_stream_si128(static_cast<__m128i*>(to), bits);
  }
  if constexpr (sizeof v == 8) {
    long long bits;
    memcpy(&bits, &v, sizeof v);
    return _mm_stream_si64(static_cast<long long*>(to), bits);
  }
#endif
  memcpy(to, &v, sizeof v);
}

// memcpy by stream_store.
inline void stream_copy(void* to, const void* from, int64_t bytes) {
  constexpr int64_t kLine = sizeof(Line);
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
    Line line;
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

inline void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace
}  // namespace intp::cpu
