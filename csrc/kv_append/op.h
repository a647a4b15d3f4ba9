#pragma once

// From tensors to KvAppendParams, and kv_append, written once over the device's `run(params, k)`,
// which is called where there is something to write. Rows of order are not read here.

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "kv_append/params.h"
#include "rope/op.h"
#include "torch/kv_cache.h"

namespace intp {

constexpr const char* kAppend = "kv_append";

// With no frequencies where positions are None: rows pass through.
inline RopeParams append_rope(const Tensor& k, const std::optional<Tensor>& positions,
                              const std::optional<Tensor>& inv_freq, double attention_scaling,
                              const std::optional<std::vector<int64_t>>& sections,
                              bool interleaved_sections, const std::optional<Tensor>& order) {
  check(positions.has_value() == inv_freq.has_value(), kAppend,
        ": positions: expected together with inv_freq");
  RopeParams p{};
  if (positions) {
    p = rope_params(k, RopeArgs{*positions, *inv_freq, attention_scaling, sections,
                                interleaved_sections, order});
  } else {
    p.type = float_type(kAppend, "k", k);
    p.batch = k.size(0);
    p.rows = p.length = k.size(2);
    p.head_dim = k.size(3);
    if (order) {
      check(order->dim() >= 1, kAppend, ": order: expected [S] or [B, S]");
      p.length = order->size(order->dim() - 1);
      check_same_device(kAppend, k, *order);
      p.order = order_args(kAppend, *order, p.batch);
    }
  }
  p.tensors[p.tensor_count++] = {
      k.const_data_ptr(), nullptr, k.size(1), k.stride(0), k.stride(1), k.stride(2), 0, 0, 0};
  return p;
}

using RunAppend = void(const KvAppendParams&, const Tensor& k);

template <RunAppend* run>
void kv_append(Tensor k, Tensor v, std::optional<Tensor> positions, std::optional<Tensor> inv_freq,
               double attention_scaling, std::optional<std::vector<int64_t>> sections,
               bool interleaved_sections, std::optional<Tensor> order, std::optional<Tensor> bounds,
               std::optional<Tensor> first, int64_t length, int64_t packed, int64_t now_packed,
               int64_t key_bits, int64_t value_bits, int64_t key_group, int64_t value_group,
               std::optional<Tensor> k_old, std::optional<Tensor> v_old, Tensor k_codes,
               Tensor v_codes, Tensor k_ranges, Tensor v_ranges, Tensor k_rows, Tensor v_rows,
               Tensor k_sinks, Tensor v_sinks) {
  for (const Tensor* x : {&k, &v}) {
    check(x->dim() == 4, kAppend, ": k, v: expected [B, H, S, D]");
    check_unit_stride(kAppend, "k, v", *x);
    check_same_device(kAppend, k_rows, *x);
    check(x->scalar_type() == k_rows.scalar_type(), kAppend, ": k, v: expected the cache's dtype");
    for (int64_t i = 0; i < 4; ++i) {
      check(x->size(i) == (i == 2 ? k : k_rows).size(i), kAppend,
            ": k, v: expected the cache's batch, heads and head_dim");
    }
  }
  KvAppendParams p{};
  p.rope =
      append_rope(k, positions, inv_freq, attention_scaling, sections, interleaved_sections, order);
  p.length = length;
  p.count = p.rope.length;
  const KvCacheArgs cache_args{kAppend, key_bits, value_bits, key_group, value_group};
  p.cache = cache_like(cache_args, k_rows);
  check(length >= 0, kAppend, ": length: expected at least 0, got ", length);
  const int64_t end = length + p.count;
  check_packed(cache_args, "packed", length, packed);
  check_packed(cache_args, "now_packed", end, now_packed);
  check(packed <= now_packed, kAppend, ": now_packed: expected at least the ", packed,
        " tokens in pages, got ", now_packed);
  p.packed = packed;
  p.now_packed = now_packed;
  const int64_t room = std::max(length - packed, end - now_packed);
  check(p.cache.row_capacity >= room, kAppend, ": k_rows: expected room for ", room,
        " tokens, got ", p.cache.row_capacity);
  for (const auto& [name, x] : {std::pair("k_rows", &k_rows), std::pair("v_rows", &v_rows)}) {
    expect_buffer(cache_args, name, *x, k_rows, k_rows.scalar_type(),
                  {p.cache.batch, p.cache.heads, p.cache.row_capacity, p.cache.head_dim});
  }
  add_pages(cache_args, k_rows, {k_codes, v_codes, k_ranges, v_ranges}, now_packed, p.cache);
  if (packed < now_packed && packed < length) {
    for (const auto& [name, x, rows] :
         {std::tuple("k_old", &k_old, &k_rows), std::tuple("v_old", &v_old, &v_rows)}) {
      check(x->has_value(), kAppend, ": ", name, ": expected the rows that are to be packed");
      expect_buffer(cache_args, name, **x, k_rows, k_rows.scalar_type(),
                    {p.cache.batch, p.cache.heads, p.cache.row_capacity, p.cache.head_dim});
      check_no_overlap(kAppend, **x, *rows);
    }
    p.k_old = k_old->const_data_ptr();
    p.v_old = v_old->const_data_ptr();
  }
  p.cache.k_rows = k_rows.mutable_data_ptr();
  p.cache.v_rows = v_rows.mutable_data_ptr();
  add_sinks(cache_args, k_rows, k_sinks, v_sinks, first, p.cache);
  for (const Tensor* x : {&k, &v}) {
    for (const Tensor* y : {&k_rows, &v_rows, &k_codes, &v_codes, &k_sinks, &v_sinks})
      check_no_overlap(kAppend, *x, *y);
  }
  p.v = v.const_data_ptr();
  p.v_stride_b = v.stride(0);
  p.v_stride_h = v.stride(1);
  p.v_stride_s = v.stride(2);
  if (bounds) {
    check(bounds->dim() == 2 && bounds->size(0) == p.cache.batch && bounds->size(1) == 2 &&
              bounds->scalar_type() == ScalarType::Int && bounds->is_contiguous(),
          kAppend, ": bounds: expected contiguous int32 [B, 2]");
    check_same_device(kAppend, k_rows, *bounds);
    p.valid = static_cast<const int32_t*>(bounds->const_data_ptr());
  }
  if (p.count > 0 && p.cache.batch * p.cache.heads * p.cache.head_dim > 0) run(p, k);
}

}  // namespace intp

#define INTP_REGISTER_APPEND(DEVICE, RUN)                      \
  STABLE_TORCH_LIBRARY_IMPL(TORCH_EXTENSION_NAME, DEVICE, m) { \
    m.impl("kv_append", TORCH_BOX(&intp::kv_append<RUN>));     \
  }
