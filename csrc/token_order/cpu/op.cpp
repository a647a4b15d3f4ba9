#include "token_order/op.h"

namespace intp {
namespace {

void token_order_cpu(int64_t groups, int64_t frames_per_group, int64_t tokens_per_frame,
                     bool interleaved, Tensor out) {
  const Grouping grouping =
      token_order_args(groups, frames_per_group, tokens_per_frame, interleaved, out);
  int32_t* rows = out.mutable_data_ptr<int32_t>();
  torch::stable::parallel_for(0, out.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) rows[t] = static_cast<int32_t>(storage_row(grouping, t));
  });
}

}  // namespace
}  // namespace intp

STABLE_TORCH_LIBRARY_IMPL(intp_ext, CPU, m) {
  m.impl("token_order", TORCH_BOX(&intp::token_order_cpu));
}
