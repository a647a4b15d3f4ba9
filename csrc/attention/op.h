#pragma once

// From tensors to AttentionParams, and the operators of attention, written once over the device's
// `run(params, q)`: attention_core over keys and values as they are, kv_attention over a packed
// cache and the rows after its pages.

#include <optional>
#include <utility>
#include <vector>

#include "attention/params.h"
#include "torch/check.h"
#include "torch/kv_cache.h"
#include "torch/rope_sections.h"

namespace intp {

// What both operators are told beside tensors of keys and values.
struct AttentionArgs {
  const Tensor& bounds;
  std::optional<int64_t> window;
  int64_t block, sink;
  double scale;
  const std::optional<Tensor>& first_key;
  std::optional<double> softcap;
  const std::optional<Tensor>& sinks;
};

template <class Data>
inline AttentionTensor<Data> attention_tensor(Data* data, const Tensor& x) {
  return {data, x.stride(0), x.stride(1), x.stride(2)};
}

inline void check_states(const char* where, const char* name, const Tensor& x, const Tensor& q) {
  check(x.dim() == 4 && x.size(0) == q.size(0) && x.size(3) <= q.size(3), where, ": ", name,
        ": expected [B, H, S, D] with q's batch and at most its head_dim");
  check(x.scalar_type() == q.scalar_type(), where, ": ", name, ": expected q's dtype");
  check_same_device(where, q, x);
  check_unit_stride(where, name, x);
}

inline void check_args(const char* where, const AttentionArgs& args, const Tensor& q) {
  const Tensor& bounds = args.bounds;
  check(bounds.dim() == 2 && bounds.size(0) == q.size(0) && bounds.size(1) == 5 &&
            bounds.scalar_type() == ScalarType::Int && bounds.is_contiguous(),
        where, ": bounds: expected contiguous int32 [B, 5]");
  check_same_device(where, q, bounds);
  check(args.block >= 1 && args.sink >= 0 && args.window.value_or(1) >= 1, where,
        ": expected window and block of at least 1, sink of at least 0");
  check(!args.softcap || static_cast<float>(*args.softcap) > 0.0f, where,
        ": softcap: expected more than 0");
  if (args.sinks) {
    check(args.sinks->dim() == 1 && args.sinks->size(0) == q.size(1) &&
              args.sinks->scalar_type() == ScalarType::Float && args.sinks->is_contiguous(),
          where, ": sinks: expected contiguous float32 [Hq]");
    check_same_device(where, q, *args.sinks);
  }
  if (!args.first_key) return;
  const Tensor& keys = *args.first_key;
  check(keys.dim() == 2 && (keys.size(0) == 1 || keys.size(0) == q.size(0)) &&
            keys.size(1) == q.size(2) && keys.scalar_type() == ScalarType::Int,
        where, ": first_key: expected int32 [1 or B, Sq]");
  check_unit_stride(where, "first_key", keys);
  check_same_device(where, q, keys);
  check(!args.window, where, ": first_key: expected without window");
}

inline WindowParams window_params(const AttentionArgs& args) {
  const WindowKind kind = args.first_key ? WindowKind::kFirstKeys
                          : args.window  ? WindowKind::kBlocks
                                         : WindowKind::kNone;
  return {kind, args.window.value_or(0), args.block, args.sink};
}

inline AttentionParams attention_params(const char* where, const Tensor& q, const Tensor& k,
                                        const Tensor& v, const AttentionArgs& args,
                                        const Tensor& out) {
  check(q.dim() == 4, where, ": q: expected [B, H, S, D]");
  for (const auto& [name, x] :
       {std::pair("q", &q), std::pair("k", &k), std::pair("v", &v), std::pair("out", &out)}) {
    check_states(where, name, *x, q);
  }
  check(k.size(3) == q.size(3), where, ": k: expected q's head_dim");
  check(k.size(1) == v.size(1) && k.size(2) == v.size(2), where,
        ": v: expected k's shape, or fewer channels");
  check(out.size(1) == q.size(1) && out.size(2) == q.size(2) && out.size(3) == v.size(3), where,
        ": out: expected q's [B, H, S] and v's channels");
  check(k.size(1) > 0 && q.size(1) % k.size(1) == 0, where,
        ": k: expected a number of heads that divides q's ", q.size(1), ", got ", k.size(1));
  check_args(where, args, q);
  for (const Tensor* x : {&q, &k, &v}) check_no_overlap(where, *x, out);

  AttentionParams p{};
  p.q = attention_tensor(q.const_data_ptr(), q);
  p.k = attention_tensor(k.const_data_ptr(), k);
  p.v = attention_tensor(v.const_data_ptr(), v);
  p.out = attention_tensor(out.mutable_data_ptr(), out);
  p.type = float_type(where, "q, k, v", q);
  p.batch = q.size(0);
  p.kv_heads = k.size(1);
  p.group = q.size(1) / k.size(1);
  p.queries = q.size(2);
  p.keys = k.size(2);
  p.head_dim = q.size(3);
  p.value_dim = v.size(3);
  static_assert(sizeof(RowBounds) == 5 * sizeof(int32_t));
  p.bounds = static_cast<const RowBounds*>(args.bounds.const_data_ptr());
  p.window = window_params(args);
  if (args.first_key) {
    p.first_key = args.first_key->const_data_ptr<int32_t>();
    p.first_key_stride_b = args.first_key->size(0) == 1 ? 0 : args.first_key->stride(0);
  }
  p.scale = static_cast<float>(args.scale);
  p.softcap = static_cast<float>(args.softcap.value_or(0.0));
  if (args.sinks) p.sinks = args.sinks->const_data_ptr<float>();
  return p;
}

// float [elements] on the device of `like`, on a cache line; freed with the tensor.
inline Tensor make_scratch(const Tensor& like, int64_t elements) {
  return torch::stable::new_empty(like, {elements}, ScalarType::Float);
}

// [B, H, S, Dv] as q lies in memory: a transposed [B, S, H, D] gives a transposed [B, S, H, Dv].
inline Tensor attention_output(const char* where, const Tensor& q, const Tensor& v) {
  check(q.dim() == 4, where, ": q: expected [B, H, S, D]");
  check(v.dim() == 4, where, ": v: expected [B, H, S, Dv]");
  const bool transposed = q.stride(1) < q.stride(2);
  const Tensor out = torch::stable::new_empty(
      q, {q.size(0), q.size(transposed ? 2 : 1), q.size(transposed ? 1 : 2), v.size(3)});
  return transposed ? torch::stable::transpose(out, 1, 2) : out;
}

using RunAttention = void(const AttentionParams&, const Tensor& q);

// The parameter list of torch/library.cpp, and AttentionArgs of it.
#define INTP_ATTENTION_PARAMETERS                                                          \
  Tensor bounds, std::optional<int64_t> window, int64_t block, int64_t sink, double scale, \
      std::optional<Tensor> first_key, std::optional<double> softcap, std::optional<Tensor> sinks
#define INTP_ATTENTION_ARGS \
  AttentionArgs { bounds, window, block, sink, scale, first_key, softcap, sinks }

template <RunAttention* run>
void attention_core_out(Tensor q, Tensor k, Tensor v, INTP_ATTENTION_PARAMETERS, Tensor out) {
  const AttentionParams p = attention_params(kAttention, q, k, v, INTP_ATTENTION_ARGS, out);
  if (out.numel() > 0) run(p, q);
}

template <RunAttention* run>
Tensor attention_core(Tensor q, Tensor k, Tensor v, INTP_ATTENTION_PARAMETERS) {
  Tensor out = attention_output(kAttention, q, v);
  const AttentionParams p = attention_params(kAttention, q, k, v, INTP_ATTENTION_ARGS, out);
  if (out.numel() > 0) run(p, q);
  return out;
}

// Rotation of packed keys as they are read, of positions float32 [B, R] or [3, B, R] and
// inv_freq [F].
inline void add_rotation(const Tensor& q, const Tensor& positions, const Tensor& inv_freq,
                         double attention_scaling,
                         const std::optional<std::vector<int64_t>>& sections,
                         bool interleaved_sections, PackedKeys& packed) {
  const KvCache& cache = packed.cache;
  const int64_t dim = positions.dim();
  check((dim == 2 || (dim == 3 && positions.size(0) == 3)) &&
            positions.size(dim - 2) == cache.batch && positions.size(dim - 1) >= packed.tokens &&
            positions.stride(dim - 1) == 1 && positions.scalar_type() == ScalarType::Float,
        kPackedAttention, ": positions: expected float32 [B, R] or [3, B, R] for every token");
  check(inv_freq.dim() == 1 && inv_freq.scalar_type() == ScalarType::Float &&
            inv_freq.is_contiguous() && inv_freq.size(0) % 2 == 0 &&
            2 * inv_freq.size(0) <= cache.head_dim,
        kPackedAttention, ": inv_freq: expected contiguous float32 [F], F even and at most D/2");
  check_same_device(kPackedAttention, q, positions);
  check_same_device(kPackedAttention, q, inv_freq);
  packed.positions = positions.const_data_ptr<float>();
  packed.axes = dim == 3 ? 3 : 1;
  packed.position_stride_a = dim == 3 ? positions.stride(0) : 0;
  packed.position_stride_b = positions.stride(dim - 2);
  packed.inv_freq = inv_freq.const_data_ptr<float>();
  packed.frequencies = inv_freq.size(0);
  packed.scaling = static_cast<float>(attention_scaling);
  packed.sections = rope_sections(kPackedAttention, sections, interleaved_sections, packed.axes,
                                  packed.frequencies);
}

template <RunAttention* run>
Tensor kv_attention(Tensor q, Tensor k_tail, Tensor v_tail, Tensor k_codes, Tensor v_codes,
                    Tensor k_ranges, Tensor v_ranges, Tensor k_sinks, Tensor v_sinks,
                    std::optional<Tensor> first, int64_t length, int64_t packed_tokens,
                    int64_t key_bits, int64_t value_bits, int64_t key_group, int64_t value_group,
                    std::optional<Tensor> positions, std::optional<Tensor> inv_freq,
                    double attention_scaling, std::optional<std::vector<int64_t>> sections,
                    bool interleaved_sections, INTP_ATTENTION_PARAMETERS) {
  check(key_bits != 16, kPackedAttention, ": key_bits: expected 2, 3, 4 or 8, got 16");
  const KvCacheArgs cache_args{kPackedAttention, key_bits, value_bits, key_group, value_group};
  PackedKeys packed{};
  packed.cache = cache_like(cache_args, k_tail);
  check_packed(cache_args, "packed", length, packed_tokens);
  packed.tokens = packed_tokens;
  add_pages(cache_args, k_tail, {k_codes, v_codes, k_ranges, v_ranges}, packed.tokens,
            packed.cache);
  add_sinks(cache_args, k_tail, k_sinks, v_sinks, first, packed.cache);
  check(k_tail.size(2) == length - packed.tokens, kPackedAttention,
        ": k_tail, v_tail: expected the ", length - packed.tokens, " tokens after the pages, got ",
        k_tail.size(2));
  check(positions.has_value() == inv_freq.has_value(), kPackedAttention,
        ": positions: expected together with inv_freq");
  if (positions) {
    add_rotation(q, *positions, *inv_freq, attention_scaling, sections, interleaved_sections,
                 packed);
  }

  check(v_tail.dim() == 4 && v_tail.size(3) == q.size(3), kPackedAttention,
        ": v_tail: expected q's head_dim");
  Tensor out = attention_output(kPackedAttention, q, v_tail);
  AttentionParams p =
      attention_params(kPackedAttention, q, k_tail, v_tail, INTP_ATTENTION_ARGS, out);
  p.keys = length;
  p.packed = &packed;
  if (out.numel() > 0) run(p, q);
  return out;
}

}  // namespace intp

#define INTP_REGISTER_ATTENTION(DEVICE, RUN)                                 \
  STABLE_TORCH_LIBRARY_IMPL(TORCH_EXTENSION_NAME, DEVICE, m) {               \
    m.impl("attention_core", TORCH_BOX(&intp::attention_core<RUN>));         \
    m.impl("attention_core_no_grad", TORCH_BOX(&intp::attention_core<RUN>)); \
    m.impl("attention_core.out", TORCH_BOX(&intp::attention_core_out<RUN>)); \
    m.impl("kv_attention", TORCH_BOX(&intp::kv_attention<RUN>));             \
  }
