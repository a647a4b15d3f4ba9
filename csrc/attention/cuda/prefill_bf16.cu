#include "attention/cuda/prefill.h"

template void intp::cuda::launch_prefill<__nv_bfloat16>(const AttentionLaunch&, int, cudaStream_t);
