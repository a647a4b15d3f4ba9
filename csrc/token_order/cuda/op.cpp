#include "token_order/op.h"

#include "token_order/cuda/launch.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_token_order(const TokenOrderParams& params, const Tensor& out) {
  const DeviceGuard guard(out.get_device_index());
  cuda::launch_token_order(params, current_cuda_stream(out.get_device_index()));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_TOKEN_ORDER(CUDA, intp::run_token_order)
