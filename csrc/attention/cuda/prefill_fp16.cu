#include "attention/cuda/prefill.h"

template void intp::cuda::launch_prefill<__half>(const AttentionArgs&, int, cudaStream_t);
