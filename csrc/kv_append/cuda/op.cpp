#include "kv_append/cuda/launch.h"

#include "kv_append/op.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_append_cuda(const KvAppend& append, const Tensor& k) {
  const int32_t device = k.get_device_index();
  const DeviceGuard guard(device);
  kv_append_cuda_launch(append, multiprocessors(device), current_cuda_stream(device));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_APPEND(CUDA, intp::run_append_cuda)
