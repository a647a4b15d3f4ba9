#include "kv_append/op.h"

#include "kv_append/cuda/launch.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_append(const KvAppendParams& params, const Tensor& k) {
  const int32_t device = k.get_device_index();
  const DeviceGuard guard(device);
  cuda::launch_append(params, multiprocessors(device), current_cuda_stream(device));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_APPEND(CUDA, intp::run_append)
