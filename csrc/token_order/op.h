#pragma once

#include "common/token_order.h"
#include "torch/check.h"

namespace intp {

inline Grouping token_order_args(int64_t groups, int64_t frames_per_group, int64_t tokens_per_frame,
                                 bool interleaved, const Tensor& out) {
  check(groups >= 0 && frames_per_group >= 0 && tokens_per_frame >= 0,
        "token_order: expected counts that are not negative");
  check(out.scalar_type() == ScalarType::Int && out.is_contiguous() &&
            out.numel() == groups * frames_per_group * tokens_per_frame,
        "token_order: out: expected a contiguous int32 tensor of groups * frames_per_group * "
        "tokens_per_frame elements");
  return {groups, frames_per_group, tokens_per_frame, interleaved};
}

}  // namespace intp
