#include "attention/cuda/prefill.h"

template void intp::cuda::launch_prefill<__half>(const AttentionLaunch&, int, cudaStream_t);
