#pragma once

#include <optional>

#include "attention/op.h"
#include "attention/packed_keys.h"
#include "torch/kv_cache.h"

// kv_attention, written once over the device's `run(params, q)`, where params.packed has the pages.

namespace intp {

constexpr const char* kPackedAttention = "kv_attention";

template <RunAttention* run>
Tensor kv_attention(Tensor q, Tensor k_tail, Tensor v_tail, Tensor k_codes, Tensor v_codes,
                    Tensor k_ranges, Tensor v_ranges, Tensor bounds, int64_t length, int64_t bits,
                    int64_t key_group, int64_t value_group, std::optional<int64_t> window,
                    int64_t block, int64_t sink, double scale, std::optional<Tensor> positions,
                    std::optional<Tensor> inv_freq, double attention_scaling) {
  const CacheOptions options{kPackedAttention, bits, key_group, value_group};
  check(bits != 16, kPackedAttention, ": bits: expected 2, 4 or 8, got 16");
  PackedKeys packed{};
  packed.cache = cache_like(options, k_tail);
  const KvCache& cache = packed.cache;
  packed.tokens = packed_tokens(cache, length);
  add_pages(options, k_tail, k_codes, v_codes, k_ranges, v_ranges, packed.tokens, packed.cache);
  check(q.dim() == 4 && q.size(0) == cache.batch && q.size(3) == cache.head_dim &&
            q.scalar_type() == k_tail.scalar_type() && cache.heads > 0 &&
            q.size(1) % cache.heads == 0,
        kPackedAttention, ": q: expected [B, Hq, S, D] with the cache's batch, head_dim and dtype");
  for (const Tensor* x : {&q, &k_tail, &v_tail}) {
    check_unit_stride(kPackedAttention, "q, k_tail, v_tail", *x);
    check_same_device(kPackedAttention, q, *x);
  }
  check(v_tail.dim() == 4 && v_tail.scalar_type() == k_tail.scalar_type(), kPackedAttention,
        ": v_tail: expected k_tail's shape and dtype");
  for (int64_t i = 0; i < 4; ++i) {
    check(v_tail.size(i) == (i == 2 ? length - packed.tokens : k_tail.size(i)) &&
              k_tail.size(2) == length - packed.tokens,
          kPackedAttention, ": k_tail, v_tail: expected the ", length - packed.tokens,
          " tokens of the unfinished group");
  }
  check(bounds.dim() == 2 && bounds.size(0) == cache.batch && bounds.size(1) == 5 &&
            bounds.scalar_type() == ScalarType::Int && bounds.is_contiguous(),
        kPackedAttention, ": bounds: expected contiguous int32 [B, 5]");
  check_same_device(kPackedAttention, q, bounds);
  check(block >= 1 && sink >= 0 && window.value_or(1) >= 1, kPackedAttention,
        ": expected window and block of at least 1, sink of at least 0");
  check(positions.has_value() == inv_freq.has_value(), kPackedAttention,
        ": positions: expected together with inv_freq");
  if (positions) {
    check(positions->dim() == 2 && positions->size(0) == cache.batch &&
              positions->size(1) >= packed.tokens && positions->stride(1) == 1 &&
              positions->scalar_type() == ScalarType::Float,
          kPackedAttention, ": positions: expected float32 [B, R] for every token");
    check(inv_freq->dim() == 1 && inv_freq->scalar_type() == ScalarType::Float &&
              inv_freq->is_contiguous() && inv_freq->size(0) % 2 == 0 &&
              2 * inv_freq->size(0) <= cache.head_dim,
          kPackedAttention, ": inv_freq: expected contiguous float32 [F], F even and at most D/2");
    check_same_device(kPackedAttention, q, *positions);
    check_same_device(kPackedAttention, q, *inv_freq);
    packed.positions = positions->const_data_ptr<float>();
    packed.position_stride = positions->stride(0);
    packed.inv_freq = inv_freq->const_data_ptr<float>();
    packed.frequencies = inv_freq->size(0);
    packed.scaling = static_cast<float>(attention_scaling);
  }

  Tensor out = attention_output(q);
  if (out.numel() == 0) return out;
  AttentionParams p{};
  p.q = attention_tensor(q.const_data_ptr(), q);
  p.k = attention_tensor(k_tail.const_data_ptr(), k_tail);
  p.v = attention_tensor(v_tail.const_data_ptr(), v_tail);
  p.out = attention_tensor(out.mutable_data_ptr(), out);
  p.type = cache.type;
  p.batch = cache.batch;
  p.kv_heads = cache.heads;
  p.group = q.size(1) / cache.heads;
  p.queries = q.size(2);
  p.keys = length;
  p.head_dim = cache.head_dim;
  p.packed = &packed;
  p.bounds = static_cast<const RowBounds*>(bounds.const_data_ptr());
  p.window = {window.has_value(), window.value_or(0), block, sink};
  p.scale = static_cast<float>(scale);
  run(p, q);
  return out;
}

}  // namespace intp

#define INTP_REGISTER_PACKED_ATTENTION(DEVICE, RUN)              \
  STABLE_TORCH_LIBRARY_IMPL(intp_ext, DEVICE, m) {               \
    m.impl("kv_attention", TORCH_BOX(&intp::kv_attention<RUN>)); \
  }
