#include "token_order/cuda/launch.h"

#include "token_order/op.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void token_order_cuda(int64_t groups, int64_t frames_per_group, int64_t tokens_per_frame,
                      bool interleaved, Tensor out) {
  const Grouping grouping =
      token_order_args(groups, frames_per_group, tokens_per_frame, interleaved, out);
  if (out.numel() == 0) return;
  const DeviceGuard guard(out.get_device_index());
  token_order_cuda_launch({grouping, out.mutable_data_ptr<int32_t>(), out.numel()},
                          current_cuda_stream(out.get_device_index()));
}

}  // namespace
}  // namespace intp

STABLE_TORCH_LIBRARY_IMPL(intp_ext, CUDA, m) {
  m.impl("token_order", TORCH_BOX(&intp::token_order_cuda));
}
