#include "attention/op.h"

#include "attention/cuda/launch.h"
#include "cuda/limits.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_attention(const AttentionParams& p, const Tensor& q) {
  constexpr int64_t kMost = cuda::kMostTokens;
  const int32_t device = q.get_device_index();
  const DeviceGuard guard(device);
  const cuda::AttentionPlan plan = cuda::plan_attention(p, multiprocessors(device));
  const int64_t rows = p.batch * p.kv_heads * attention_rows(p);
  check(p.keys <= kMost && rows <= kMost && plan.blocks <= kMost, operator_name(p),
        ": expected at most 2^31 - 256 keys, and rows over all heads");
  const Tensor memory = make_scratch(q, plan.workspace);
  cuda::launch_attention(p, plan, static_cast<float*>(memory.mutable_data_ptr()),
                         current_cuda_stream(device));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_ATTENTION(CUDA, intp::run_attention)
