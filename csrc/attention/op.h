#pragma once

#include <optional>

#include "attention/params.h"
#include "torch/check.h"

// The two overloads of attention_core, written once over the device's `run(params, q)`.

namespace intp {

constexpr const char* kAttention = "attention_core";

template <class Data>
inline AttentionTensor<Data> attention_tensor(Data* data, const Tensor& x) {
  return {data, x.stride(0), x.stride(1), x.stride(2)};
}

inline void check_states(const char* name, const Tensor& x, const Tensor& q) {
  check(x.dim() == 4 && x.size(0) == q.size(0) && x.size(3) == q.size(3), kAttention, ": ", name,
        ": expected [B, H, S, D] with q's batch and head_dim");
  check(x.scalar_type() == q.scalar_type(), kAttention, ": ", name, ": expected q's dtype");
  check_same_device(kAttention, q, x);
  check_unit_stride(kAttention, name, x);
}

inline AttentionParams attention_args(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const Tensor& bounds, std::optional<int64_t> window,
                                      int64_t block, int64_t sink, double scale,
                                      const Tensor& out) {
  check(q.dim() == 4, kAttention, ": q: expected [B, H, S, D]");
  for (const auto& [name, x] :
       {std::pair("q", &q), std::pair("k", &k), std::pair("v", &v), std::pair("out", &out)}) {
    check_states(name, *x, q);
  }
  check(k.size(1) == v.size(1) && k.size(2) == v.size(2), kAttention, ": v: expected k's shape");
  check(out.size(1) == q.size(1) && out.size(2) == q.size(2), kAttention,
        ": out: expected q's shape");
  check(k.size(1) > 0 && q.size(1) % k.size(1) == 0, kAttention,
        ": k: expected a number of heads that divides q's ", q.size(1), ", got ", k.size(1));
  check(bounds.dim() == 2 && bounds.size(0) == q.size(0) && bounds.size(1) == 5 &&
            bounds.scalar_type() == ScalarType::Int && bounds.is_contiguous(),
        kAttention, ": bounds: expected contiguous int32 [B, 5]");
  check_same_device(kAttention, q, bounds);
  check(block >= 1 && sink >= 0 && window.value_or(1) >= 1, kAttention,
        ": expected window and block of at least 1, sink of at least 0");
  for (const Tensor* x : {&q, &k, &v}) check_no_overlap(kAttention, *x, out);

  AttentionParams p{};
  p.q = attention_tensor(q.const_data_ptr(), q);
  p.k = attention_tensor(k.const_data_ptr(), k);
  p.v = attention_tensor(v.const_data_ptr(), v);
  p.out = attention_tensor(out.mutable_data_ptr(), out);
  p.type = float_type(kAttention, "q, k, v", q);
  p.batch = q.size(0);
  p.kv_heads = k.size(1);
  p.group = q.size(1) / k.size(1);
  p.queries = q.size(2);
  p.keys = k.size(2);
  p.head_dim = q.size(3);
  static_assert(sizeof(RowBounds) == 5 * sizeof(int32_t));
  p.bounds = static_cast<const RowBounds*>(bounds.const_data_ptr());
  p.window = {window.has_value(), window.value_or(0), block, sink};
  p.scale = static_cast<float>(scale);
  return p;
}

// float [elements] on the device of `like`, on a cache line; freed with the tensor.
inline Tensor make_scratch(const Tensor& like, int64_t elements) {
  return torch::stable::new_empty(like, {elements}, ScalarType::Float);
}

// [B, H, S, D] as q lies in memory: a transposed [B, S, H, D] gives a transposed [B, S, H, D].
inline Tensor attention_output(const Tensor& q) {
  const bool transposed = q.stride(1) < q.stride(2);
  const Tensor out = torch::stable::new_empty(
      q, {q.size(0), q.size(transposed ? 2 : 1), q.size(transposed ? 1 : 2), q.size(3)});
  return transposed ? torch::stable::transpose(out, 1, 2) : out;
}

using RunAttention = void(const AttentionParams&, const Tensor& q);

template <RunAttention* run>
void attention_core_out(Tensor q, Tensor k, Tensor v, Tensor bounds, std::optional<int64_t> window,
                        int64_t block, int64_t sink, double scale, Tensor out) {
  const AttentionParams p = attention_args(q, k, v, bounds, window, block, sink, scale, out);
  if (out.numel() > 0) run(p, q);
}

template <RunAttention* run>
Tensor attention_core(Tensor q, Tensor k, Tensor v, Tensor bounds, std::optional<int64_t> window,
                      int64_t block, int64_t sink, double scale) {
  check(q.dim() == 4, kAttention, ": q: expected [B, H, S, D]");
  Tensor out = attention_output(q);
  attention_core_out<run>(q, k, v, bounds, window, block, sink, scale, out);
  return out;
}

}  // namespace intp

#define INTP_REGISTER_ATTENTION(DEVICE, RUN)                                 \
  STABLE_TORCH_LIBRARY_IMPL(intp_ext, DEVICE, m) {                           \
    m.impl("attention_core", TORCH_BOX(&intp::attention_core<RUN>));         \
    m.impl("attention_core.out", TORCH_BOX(&intp::attention_core_out<RUN>)); \
  }
