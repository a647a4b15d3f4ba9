#include "attention/cuda/unpack.h"

namespace intp::cuda {

template void launch_unpack<float>(const UnpackLaunch&, cudaStream_t);
template void launch_unpack<__nv_bfloat16>(const UnpackLaunch&, cudaStream_t);
template void launch_unpack<__half>(const UnpackLaunch&, cudaStream_t);

}  // namespace intp::cuda
