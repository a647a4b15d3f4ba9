#pragma once

#include <tuple>

#include "rope/args.h"

// The four overloads of apply_rope, written once over the device's `run(params, q)`.

namespace intp {

// Turns a parameter list of torch/library.cpp into RopeArgs.
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
  RopeParams params = rope_args(q, args);
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
  STABLE_TORCH_LIBRARY_IMPL(intp_ext, DEVICE, m) {                                 \
    m.impl("apply_rope", TORCH_BOX(&intp::apply_rope<RUN>));                       \
    m.impl("apply_rope.out", TORCH_BOX(&intp::apply_rope_out<RUN>));               \
    m.impl("apply_rope.single", TORCH_BOX(&intp::apply_rope_single<RUN>));         \
    m.impl("apply_rope.single_out", TORCH_BOX(&intp::apply_rope_single_out<RUN>)); \
  }
