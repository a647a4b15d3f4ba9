#include "rope/cuda/launch.h"

#include "rope/op.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_rope_cuda(const RopeParams& params, const Tensor& q) {
  const DeviceGuard guard(q.get_device_index());
  rope_cuda_launch(params, current_cuda_stream(q.get_device_index()));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_ROPE(CUDA, intp::run_rope_cuda)
