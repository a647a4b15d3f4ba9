#include "rearrange/op.h"

#include "rearrange/cuda/launch.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_rearrange(const RearrangeParams& params, const Tensor& out) {
  const DeviceGuard guard(out.get_device_index());
  cuda::launch_rearrange(params, current_cuda_stream(out.get_device_index()));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_REARRANGE(CUDA, intp::run_rearrange)
