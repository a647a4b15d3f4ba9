#include "attention/cuda/decode.h"

template void intp::cuda::launch_decode<__half>(const AttentionLaunch&, int, cudaStream_t);
