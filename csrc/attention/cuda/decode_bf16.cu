#include "attention/cuda/decode.h"

template void intp::cuda::launch_decode<__nv_bfloat16>(const AttentionLaunch&, int, cudaStream_t);
