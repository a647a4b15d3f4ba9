#pragma once

// A function for host and device. `static`: the same header is compiled for several instruction
// sets, and a shared copy of an inline function could carry AVX-512 into the portable path.
#if defined(__CUDACC__)
#define INTP_HD static __host__ __device__ __forceinline__
#else
#define INTP_HD static inline
#endif
