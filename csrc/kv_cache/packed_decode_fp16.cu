#include "kv_cache/cuda_packed_decode.h"

template void intp::cuda::launch_packed_decode<__half>(const PackedArgs&, int, cudaStream_t);
