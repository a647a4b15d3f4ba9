#include "attention/cuda/packed_decode.h"

template void intp::cuda::launch_packed_decode<__nv_bfloat16>(const PackedLaunch&, int,
                                                              cudaStream_t);
