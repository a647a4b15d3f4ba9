#pragma once

// From the arguments of token_order to TokenOrderParams, and the operator, written once over the
// device's `run(params, out)`.

#include "token_order/params.h"
#include "torch/check.h"

namespace intp {

inline TokenOrderParams token_order_params(int64_t groups, int64_t frames_per_group,
                                           int64_t tokens_per_frame, bool interleaved,
                                           const Tensor& out) {
  check(groups >= 0 && frames_per_group >= 0 && tokens_per_frame >= 0,
        "token_order: expected counts that are not negative");
  check(out.scalar_type() == ScalarType::Int && out.is_contiguous() &&
            out.numel() == groups * frames_per_group * tokens_per_frame,
        "token_order: out: expected a contiguous int32 tensor of groups * frames_per_group * "
        "tokens_per_frame elements");
  return {{groups, frames_per_group, tokens_per_frame, interleaved},
          out.mutable_data_ptr<int32_t>(),
          out.numel()};
}

using RunTokenOrder = void(const TokenOrderParams&, const Tensor& out);

template <RunTokenOrder* run>
void token_order(int64_t groups, int64_t frames_per_group, int64_t tokens_per_frame,
                 bool interleaved, Tensor out) {
  const TokenOrderParams params =
      token_order_params(groups, frames_per_group, tokens_per_frame, interleaved, out);
  if (params.length > 0) run(params, out);
}

}  // namespace intp

#define INTP_REGISTER_TOKEN_ORDER(DEVICE, RUN)                 \
  STABLE_TORCH_LIBRARY_IMPL(TORCH_EXTENSION_NAME, DEVICE, m) { \
    m.impl("token_order", TORCH_BOX(&intp::token_order<RUN>)); \
  }
