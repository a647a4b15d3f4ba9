#include "attention/cuda/combine.h"
#include "attention/cuda/simt.h"

namespace intp::cuda {

template void launch_plain<float>(const AttentionArgs&, int, cudaStream_t);
template void launch_plain<__nv_bfloat16>(const AttentionArgs&, int, cudaStream_t);
template void launch_plain<__half>(const AttentionArgs&, int, cudaStream_t);

template void launch_combine<float>(const AttentionArgs&, cudaStream_t);
template void launch_combine<__nv_bfloat16>(const AttentionArgs&, cudaStream_t);
template void launch_combine<__half>(const AttentionArgs&, cudaStream_t);

}  // namespace intp::cuda
