#include "attention/cuda/packed_simt.h"

namespace intp::cuda {

template void launch_packed_simt<float>(const PackedLaunch&, int, cudaStream_t);
template void launch_packed_simt<__nv_bfloat16>(const PackedLaunch&, int, cudaStream_t);
template void launch_packed_simt<__half>(const PackedLaunch&, int, cudaStream_t);

}  // namespace intp::cuda
