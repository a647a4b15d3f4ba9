#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "attention/cuda/packed_launch.h"
#include "cuda/launch.h"

namespace intp {
namespace {

template <class T>
void launch(const cuda::PackedArgs& args, const cuda::AttentionPlan& plan, cudaStream_t stream) {
  const int blocks = static_cast<int>(plan.blocks);
  if constexpr (!std::is_same_v<T, float>) {
    if (plan.kernel == cuda::AttentionKernel::kDecode) {
      cuda::launch_packed_decode<T>(args, blocks, stream);
    }
  }
  if (plan.kernel == cuda::AttentionKernel::kPlain) {
    cuda::launch_packed_plain<T>(args, blocks, stream);
  }
  check_launch("kv_attention");
  if (plan.splits == 1) return;
  cuda::launch_combine<T>(args.attention, stream);
  check_launch("kv_attention");
}

}  // namespace

void packed_attention_cuda_launch(const AttentionParams& p, const cuda::AttentionPlan& plan,
                                  float* workspace, cudaStream_t stream) {
  const cuda::PackedArgs args{
      {p, static_cast<int>(plan.row_tiles), static_cast<int>(plan.splits), workspace}, *p.packed};
  switch (p.type) {
    case FloatType::kFloat32:
      return launch<float>(args, plan, stream);
    case FloatType::kBFloat16:
      return launch<__nv_bfloat16>(args, plan, stream);
    case FloatType::kFloat16:
      return launch<__half>(args, plan, stream);
  }
}

}  // namespace intp
