#pragma once

// From the tensors of rearrange to RearrangeParams, and its two overloads, written once over the
// device's `run(params, out)`.

#include "rearrange/params.h"
#include "torch/order.h"

namespace intp {

constexpr const char* kRearrange = "rearrange";

inline RearrangeParams rearrange_params(const Tensor& features, const Tensor& order,
                                        const Tensor& out) {
  check(features.dim() == 3, kRearrange, ": features: expected [B, R, C]");
  check_same_device(kRearrange, features, order);
  check_same_device(kRearrange, features, out);
  check_unit_stride(kRearrange, "features", features);
  RearrangeParams p;
  p.batch = features.size(0);
  p.rows = features.size(1);
  p.order = order_args(kRearrange, order, p.batch);
  p.length = order.size(order.dim() - 1);
  check(out.dim() == 3 && out.size(0) == p.batch && out.size(1) == p.length &&
            out.size(2) == features.size(2) && out.scalar_type() == features.scalar_type(),
        kRearrange, ": out: expected [B, S, C] of the features' dtype");
  check_unit_stride(kRearrange, "out", out);
  check_no_overlap(kRearrange, features, out);
  const int64_t element = static_cast<int64_t>(features.element_size());
  p.features = features.const_data_ptr();
  p.out = out.mutable_data_ptr();
  p.row_bytes = features.size(2) * element;
  p.features_stride_b = features.stride(0) * element;
  p.features_stride_r = features.stride(1) * element;
  p.out_stride_b = out.stride(0) * element;
  p.out_stride_s = out.stride(1) * element;
  return p;
}

inline Tensor rearrange_output(const Tensor& features, const Tensor& order) {
  check(features.dim() == 3, kRearrange, ": features: expected [B, R, C]");
  check(order.dim() >= 1, kRearrange, ": order: expected [S] or [B, S]");
  return torch::stable::new_empty(
      features, {features.size(0), order.size(order.dim() - 1), features.size(2)});
}

using RunRearrange = void(const RearrangeParams&, const Tensor& out);

template <RunRearrange* run>
void rearrange_out(Tensor features, Tensor order, Tensor out) {
  const RearrangeParams params = rearrange_params(features, order, out);
  if (out.numel() > 0) run(params, out);
}

template <RunRearrange* run>
Tensor rearrange(Tensor features, Tensor order) {
  Tensor out = rearrange_output(features, order);
  rearrange_out<run>(features, order, out);
  return out;
}

}  // namespace intp

#define INTP_REGISTER_REARRANGE(DEVICE, RUN)                       \
  STABLE_TORCH_LIBRARY_IMPL(TORCH_EXTENSION_NAME, DEVICE, m) {     \
    m.impl("rearrange", TORCH_BOX(&intp::rearrange<RUN>));         \
    m.impl("rearrange.out", TORCH_BOX(&intp::rearrange_out<RUN>)); \
  }
