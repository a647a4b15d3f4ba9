#pragma once

// From the tensors of apply_rope to RopeParams, and its four overloads, written once over the
// device's `run(params, q)`.

#include <optional>
#include <tuple>
#include <vector>

#include "rope/params.h"
#include "torch/order.h"
#include "torch/rope_sections.h"

namespace intp {

constexpr const char* kRope = "apply_rope";

// What follows q and k in every overload of apply_rope.
struct RopeArgs {
  const Tensor& positions;
  const Tensor& inv_freq;
  double attention_scaling;
  const std::optional<std::vector<int64_t>>& sections;
  bool interleaved_sections;
  const std::optional<Tensor>& order;
};

inline int64_t rope_length(const Tensor& x, const RopeArgs& args) {
  check(x.dim() == 4, kRope, ": expected [B, H, S, D]");
  if (!args.order) return x.size(2);
  check(args.order->dim() >= 1, kRope, ": order: expected [S] or [B, S]");
  return args.order->size(args.order->dim() - 1);
}

// [B, H, S, D] in the memory layout of the input: a transposed [B, S, H, D] gives another one.
inline Tensor rope_output(const Tensor& x, const RopeArgs& args) {
  const int64_t length = rope_length(x, args);
  if (x.stride(1) < x.stride(2)) {
    Tensor out = torch::stable::new_empty(x, {x.size(0), length, x.size(1), x.size(3)});
    return torch::stable::transpose(out, 1, 2);
  }
  return torch::stable::new_empty(x, {x.size(0), x.size(1), length, x.size(3)});
}

inline void rope_positions(const Tensor& positions, RopeParams& p) {
  switch (positions.scalar_type()) {
    case ScalarType::Int:
      p.position_type = NumberType::kInt32;
      break;
    case ScalarType::Long:
      p.position_type = NumberType::kInt64;
      break;
    default:
      check(positions.scalar_type() == ScalarType::Float, kRope,
            ": positions: expected int32, int64 or float32");
      p.position_type = NumberType::kFloat32;
  }
  const int64_t dim = positions.dim();
  check(1 <= dim && dim <= 3 && positions.size(dim - 1) == p.length &&
            (dim < 2 || positions.size(dim - 2) == 1 || positions.size(dim - 2) == p.batch) &&
            (dim < 3 || positions.size(0) == 3),
        kRope, ": positions: expected [S], [1 or B, S] or [3, 1 or B, S]");
  p.positions = positions.const_data_ptr();
  p.axes = dim == 3 ? 3 : 1;
  p.position_stride_a = dim == 3 ? positions.stride(0) : 0;
  p.position_stride_b = dim >= 2 && positions.size(dim - 2) > 1 ? positions.stride(dim - 2) : 0;
  p.position_stride_s = positions.stride(dim - 1);
}

inline RopeTensor rope_tensor(const Tensor& in, const Tensor& out, const RopeParams& p) {
  check(in.dim() == 4 && in.size(0) == p.batch && in.size(2) == p.rows &&
            in.size(3) == p.head_dim && float_type(kRope, "q, k", in) == p.type,
        kRope, ": k: expected q's dtype, batch, length and head_dim");
  check(out.dim() == 4 && out.size(0) == p.batch && out.size(1) == in.size(1) &&
            out.size(2) == p.length && out.size(3) == p.head_dim &&
            out.scalar_type() == in.scalar_type(),
        kRope, ": out: expected [B, H, S, D] of the input's dtype");
  check_same_device(kRope, in, out);
  check_unit_stride(kRope, "q, k", in);
  check_unit_stride(kRope, "out", out);
  check_no_overlap(kRope, in, out);
  return {in.const_data_ptr(), out.mutable_data_ptr(), in.size(1),    in.stride(0), in.stride(1),
          in.stride(2),        out.stride(0),          out.stride(1), out.stride(2)};
}

// Everything but the tensors that are rotated, for which `x` stands.
inline RopeParams rope_params(const Tensor& x, const RopeArgs& args) {
  RopeParams p{};
  p.length = rope_length(x, args);
  p.type = float_type(kRope, "q, k", x);
  p.batch = x.size(0);
  p.rows = x.size(2);
  p.head_dim = x.size(3);

  check(args.inv_freq.dim() == 1 && args.inv_freq.scalar_type() == ScalarType::Float &&
            args.inv_freq.is_contiguous(),
        kRope, ": inv_freq: expected contiguous float32 [D_rot/2]");
  p.inv_freq = args.inv_freq.const_data_ptr<float>();
  p.frequencies = args.inv_freq.size(0);
  check(2 * p.frequencies <= p.head_dim, kRope,
        ": inv_freq: expected at most D/2 = ", p.head_dim / 2, " frequencies, got ", p.frequencies);
  p.scaling = static_cast<float>(args.attention_scaling);

  rope_positions(args.positions, p);
  p.sections =
      rope_sections(kRope, args.sections, args.interleaved_sections, p.axes, p.frequencies);

  check_same_device(kRope, x, args.positions);
  check_same_device(kRope, x, args.inv_freq);
  if (args.order) {
    check_same_device(kRope, x, *args.order);
    p.order = order_args(kRope, *args.order, p.batch);
  }
  return p;
}

// The parameter list of torch/library.cpp, and RopeArgs of it.
#define INTP_ROPE_PARAMETERS                                                   \
  Tensor positions, Tensor inv_freq, double attention_scaling,                 \
      std::optional<std::vector<int64_t>> sections, bool interleaved_sections, \
      std::optional<Tensor> order
#define INTP_ROPE_ARGS \
  RopeArgs { positions, inv_freq, attention_scaling, sections, interleaved_sections, order }

using RunRope = void(const RopeParams&, const Tensor& q);

template <RunRope* run>
void rope_into(const Tensor& q, const Tensor* k, const RopeArgs& args, const Tensor& out_q,
               const Tensor* out_k) {
  RopeParams params = rope_params(q, args);
  params.tensors[params.tensor_count++] = rope_tensor(q, out_q, params);
  int64_t elements = out_q.numel();
  if (k != nullptr) {
    check_same_device(kRope, q, *k);
    params.tensors[params.tensor_count++] = rope_tensor(*k, *out_k, params);
    elements += out_k->numel();
  }
  if (elements > 0) run(params, q);
}

template <RunRope* run>
std::tuple<Tensor, Tensor> apply_rope(Tensor q, Tensor k, INTP_ROPE_PARAMETERS) {
  const RopeArgs args = INTP_ROPE_ARGS;
  Tensor out_q = rope_output(q, args), out_k = rope_output(k, args);
  rope_into<run>(q, &k, args, out_q, &out_k);
  return {out_q, out_k};
}

template <RunRope* run>
void apply_rope_out(Tensor q, Tensor k, INTP_ROPE_PARAMETERS, Tensor out_q, Tensor out_k) {
  rope_into<run>(q, &k, INTP_ROPE_ARGS, out_q, &out_k);
}

template <RunRope* run>
Tensor apply_rope_single(Tensor x, INTP_ROPE_PARAMETERS) {
  const RopeArgs args = INTP_ROPE_ARGS;
  Tensor out = rope_output(x, args);
  rope_into<run>(x, nullptr, args, out, nullptr);
  return out;
}

template <RunRope* run>
void apply_rope_single_out(Tensor x, INTP_ROPE_PARAMETERS, Tensor out) {
  rope_into<run>(x, nullptr, INTP_ROPE_ARGS, out, nullptr);
}

}  // namespace intp

#define INTP_REGISTER_ROPE(DEVICE, RUN)                                            \
  STABLE_TORCH_LIBRARY_IMPL(TORCH_EXTENSION_NAME, DEVICE, m) {                     \
    m.impl("apply_rope", TORCH_BOX(&intp::apply_rope<RUN>));                       \
    m.impl("apply_rope.out", TORCH_BOX(&intp::apply_rope_out<RUN>));               \
    m.impl("apply_rope.single", TORCH_BOX(&intp::apply_rope_single<RUN>));         \
    m.impl("apply_rope_no_grad", TORCH_BOX(&intp::apply_rope<RUN>));               \
    m.impl("apply_rope_no_grad.single", TORCH_BOX(&intp::apply_rope_single<RUN>)); \
    m.impl("apply_rope.single_out", TORCH_BOX(&intp::apply_rope_single_out<RUN>)); \
  }
