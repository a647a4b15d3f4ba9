#include "attention/cuda/launch.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/launch.h"

namespace intp::cuda {
namespace {

template <class T>
void launch_type(const AttentionLaunch& launch, const AttentionPlan& plan, cudaStream_t stream) {
  const AttentionParams& p = launch.params;  // without packed keys, where they become rows
  const int blocks = static_cast<int>(plan.blocks);
  if (plan.kernel == AttentionKernel::kSimt && p.packed == nullptr) {
    launch_simt<T>(launch, blocks, stream);
  } else if (plan.kernel == AttentionKernel::kSimt) {
    launch_packed_simt<T>({launch, *p.packed}, blocks, stream);
  } else if constexpr (!std::is_same_v<T, float>) {
    if (plan.kernel == AttentionKernel::kPrefill) {
      launch_prefill<T>(launch, blocks, stream);
    } else if (plan.kernel == AttentionKernel::kDecode) {
      launch_decode<T>(launch, blocks, stream);
    } else {
      launch_packed_decode<T>({launch, *p.packed}, blocks, stream);
    }
  }
  check_launch(operator_name(p));
  if (plan.splits == 1) return;
  launch_combine<T>(launch, stream);
  check_launch(operator_name(p));
}

template <class T>
void unpack_and_launch(const AttentionParams& p, const AttentionPlan& plan, float* workspace,
                       cudaStream_t stream) {
  AttentionLaunch launch{p, static_cast<int>(plan.row_tiles), static_cast<int>(plan.splits),
                         workspace + plan.unpacked};
  if (plan.unpacked > 0) {
    T *const k = reinterpret_cast<T*>(workspace), *const v = k + unpacked_elements(p);
    launch_unpack<T>({p, *p.packed, k, v}, stream);
    check_launch(operator_name(p));
    launch.params = over_rows(p, k, v);
  }
  launch_type<T>(launch, plan, stream);
}

}  // namespace

void launch_attention(const AttentionParams& p, const AttentionPlan& plan, float* workspace,
                      cudaStream_t stream) {
  switch (p.type) {
    case FloatType::kFloat32:
      return unpack_and_launch<float>(p, plan, workspace, stream);
    case FloatType::kBFloat16:
      return unpack_and_launch<__nv_bfloat16>(p, plan, workspace, stream);
    case FloatType::kFloat16:
      return unpack_and_launch<__half>(p, plan, workspace, stream);
  }
}

}  // namespace intp::cuda
