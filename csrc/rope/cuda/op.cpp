#include "rope/op.h"

#include "rope/cuda/launch.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_rope(const RopeParams& params, const Tensor& q) {
  const DeviceGuard guard(q.get_device_index());
  cuda::launch_rope(params, current_cuda_stream(q.get_device_index()));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_ROPE(CUDA, intp::run_rope)
