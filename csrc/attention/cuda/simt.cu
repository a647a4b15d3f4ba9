#include "attention/cuda/combine.h"
#include "attention/cuda/simt.h"

namespace intp::cuda {

template void launch_simt<float>(const AttentionLaunch&, int, cudaStream_t);
template void launch_simt<__nv_bfloat16>(const AttentionLaunch&, int, cudaStream_t);
template void launch_simt<__half>(const AttentionLaunch&, int, cudaStream_t);

template void launch_combine<float>(const AttentionLaunch&, cudaStream_t);
template void launch_combine<__nv_bfloat16>(const AttentionLaunch&, cudaStream_t);
template void launch_combine<__half>(const AttentionLaunch&, cudaStream_t);

}  // namespace intp::cuda
