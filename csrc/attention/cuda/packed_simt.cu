#include "attention/cuda/packed_simt.h"

namespace intp::cuda {

template void launch_packed_plain<float>(const PackedArgs&, int, cudaStream_t);
template void launch_packed_plain<__nv_bfloat16>(const PackedArgs&, int, cudaStream_t);
template void launch_packed_plain<__half>(const PackedArgs&, int, cudaStream_t);

}  // namespace intp::cuda
