#include "attention/cuda/packed_launch.h"

#include "attention/packed_op.h"
#include "torch/cuda_stream.h"

namespace intp {
namespace {

void run_packed_cuda(const AttentionParams& p, const Tensor& q) {
  constexpr int64_t kMost = 0x7fffff00;  // kernels count in int32, and round up to tiles
  const int32_t device = q.get_device_index();
  const DeviceGuard guard(device);
  const cuda::AttentionPlan plan =
      cuda::plan_packed_attention(p, *p.packed, multiprocessors(device));
  const int64_t rows = p.batch * p.kv_heads * attention_rows(p);
  check(p.keys <= kMost && rows <= kMost && plan.blocks <= kMost, kPackedAttention,
        ": expected at most 2^31 - 256 keys, and rows over all heads");
  const Tensor memory = make_scratch(q, plan.workspace);
  packed_attention_cuda_launch(p, plan, static_cast<float*>(memory.mutable_data_ptr()),
                               current_cuda_stream(device));
}

}  // namespace
}  // namespace intp

INTP_REGISTER_PACKED_ATTENTION(CUDA, intp::run_packed_cuda)
