#include "rearrange/cuda/launch.h"

#include "rearrange/op.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void rearrange_out_cuda(Tensor features, Tensor order, Tensor out) {
  const RearrangeParams params = rearrange_args(features, order, out);
  if (out.numel() == 0) return;
  const DeviceGuard guard(out.get_device_index());
  rearrange_cuda_launch(params, current_cuda_stream(out.get_device_index()));
}

Tensor rearrange_cuda(Tensor features, Tensor order) {
  Tensor out = rearrange_output(features, order);
  rearrange_out_cuda(features, order, out);
  return out;
}

}  // namespace
}  // namespace intp

STABLE_TORCH_LIBRARY_IMPL(intp_ext, CUDA, m) {
  m.impl("rearrange", TORCH_BOX(&intp::rearrange_cuda));
  m.impl("rearrange.out", TORCH_BOX(&intp::rearrange_out_cuda));
}
