#pragma once

// Sinks of packed keys (common/kv_page.h), which lie beside the pages as they are: what is computed
// or unpacked of their codes is replaced.

#include "attention/cpu/pack.h"
#include "attention/params.h"
#include "cpu/simd.h"

namespace intp::cpu {
namespace {

// f(token of the page, key, value) for the sinks of a page of key head b * Hkv + h.
template <class T, class F>
inline void each_sink(const KvCache& cache, int64_t head, int64_t page, F f) {
  if (cache.sinks == 0) return;
  const int64_t origin = page * kPageTokens, first = cache.first[head / cache.heads];
  const int64_t end = least(origin + kPageTokens, first + cache.sinks);
  for (int64_t t = most(origin, first); t < end; ++t) {
    const int64_t at = sink_offset(cache, head, t - first);
    f(t - origin, static_cast<const T*>(cache.k_sinks) + at,
      static_cast<const T*>(cache.v_sinks) + at);
  }
}

// x . y of whole vectors
template <class T>
inline float dot(const float* x, const T* y, int64_t size) {
  Floats sum{};
  for (int64_t c = 0; c < size; c += kWidth) sum = fma(load_floats(x + c), load(y + c), sum);
  return lane_sum(sum);
}

// sums += weight x
template <class T>
inline void add_row(float weight, const T* x, int64_t size, float* sums) {
  for (int64_t c = 0; c < size; c += kWidth) {
    store_floats(sums + c, fma(broadcast(weight), load(x + c), load_floats(sums + c)));
  }
}

// Into the layouts of attention/cpu/pack.h: a column of a panel of `stride` keys, ...
template <class T>
inline void put_key(const T* x, int64_t head_dim, int64_t stride, Float32* column) {
  for (int64_t c = 0; c < head_dim; ++c) column[c * stride].bits = load_one(x + c);
}
inline void put_key(const BFloat16* x, int64_t head_dim, int64_t stride, BFloat16Pair* column) {
  for (int64_t c = 0; c < head_dim; c += 2) {
    column[c / 2 * stride].bits = pair_of(x[c].bits, x[c + 1].bits);
  }
}

// ... and row `key` of values, or its half of a pair of rows.
template <class T>
inline void put_value(const T* x, int64_t head_dim, int64_t columns, int64_t key, Float32* values) {
  for (int64_t c = 0; c < head_dim; ++c) values[key * columns + c].bits = load_one(x + c);
}
inline void put_value(const BFloat16* x, int64_t head_dim, int64_t columns, int64_t key,
                      BFloat16Pair* values) {
  const int shift = key % 2 * 16;
  for (int64_t c = 0; c < head_dim; ++c) {
    uint32_t& pair = values[key / 2 * columns + c].bits;
    pair = (pair & ~(0xffffu << shift)) | static_cast<uint32_t>(x[c].bits) << shift;
  }
}

}  // namespace
}  // namespace intp::cpu
