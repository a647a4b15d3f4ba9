#pragma once

#include "rearrange/params.h"
#include "torch/order.h"

namespace intp {

inline RearrangeParams rearrange_args(const Tensor& features, const Tensor& order,
                                      const Tensor& out) {
  constexpr const char* kWhere = "rearrange";
  check(features.dim() == 3, kWhere, ": features: expected [B, R, C]");
  check_same_device(kWhere, features, order);
  check_same_device(kWhere, features, out);
  check_unit_stride(kWhere, "features", features);
  RearrangeParams p;
  p.batch = features.size(0);
  p.rows = features.size(1);
  p.order = order_args(kWhere, order, p.batch);
  p.length = order.size(order.dim() - 1);
  check(out.dim() == 3 && out.size(0) == p.batch && out.size(1) == p.length &&
            out.size(2) == features.size(2) && out.scalar_type() == features.scalar_type(),
        kWhere, ": out: expected [B, S, C] of the features' dtype");
  check_unit_stride(kWhere, "out", out);
  check_no_overlap(kWhere, features, out);
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
  check(features.dim() == 3, "rearrange: features: expected [B, R, C]");
  check(order.dim() >= 1, "rearrange: order: expected [S] or [B, S]");
  return torch::stable::new_empty(
      features, {features.size(0), order.size(order.dim() - 1), features.size(2)});
}

}  // namespace intp
