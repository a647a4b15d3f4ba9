#pragma once

// The machine instructions that kernels use beyond CUDA C++, each as a function with a name: the
// only file with assembly. Kernels call them as cuda::f(...).
//
// Another compiler than nvcc takes all of it from "cuda_on_host.h", which tests put in its way to
// run the kernels on the CPU (tests/cuda_on_host): these functions under the same names,
// cuda::launch_kernel() of cuda/launch.h, INTP_DEVICE, and the CUDA C++ that kernels use: threadIdx
// and the like, __syncthreads, __syncwarp, shuffles, votes and atomics. Shared memory comes from
// dynamic_shared() alone: arrays declared __shared__ could not be poisoned there.

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

// A function, or a member function, of a kernel.
#define INTP_DEVICE __device__ __forceinline__

namespace intp::cuda {

// The dynamic shared memory of the block, on 128 bytes.
INTP_DEVICE void* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char intp_dynamic_shared[];
  return intp_dynamic_shared;
}

INTP_DEVICE uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Begins to copy 16 bytes to shared memory, both addresses on 16 bytes; with `read` false it reads
// nothing and writes zeros.
INTP_DEVICE void copy_async_16(void* shared, const void* global, bool read) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(read ? 16 : 0)
               : "memory");
}

// Closes a group of this thread's copies (an empty one counts).
INTP_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the last `kPending` groups of this thread have arrived. Other threads' copies
// are seen after a barrier that follows their wait.
template <int kPending>
INTP_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements by one warp. Lane l gives the shared address of row l % 8
// of matrix l / 8 and gets, in m[i], two elements of matrix i: (l / 4, 2 (l % 4)) and the next one.
INTP_DEVICE void load_matrices(uint32_t (&m)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(shared_address(shared_row))
               : "memory");
}

// The same of the transposed matrices: m[i] holds (2 (l % 4), l / 4) and the one below it.
INTP_DEVICE void load_matrices_transposed(uint32_t (&m)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(shared_address(shared_row))
               : "memory");
}

// c [16, 8] += a [16, 16] b [16, 8] by one warp, T __nv_bfloat16 or __half, sums in float. Of lane
// l, with r = l / 4 and s = 2 (l % 4):
//   c   (r, s) (r, s + 1) (r + 8, s) (r + 8, s + 1)
//   a   pairs at (r, s) (r + 8, s) (r, s + 8) (r + 8, s + 8)
//   b   pairs down column r, at rows s and s + 8
template <class T>
INTP_DEVICE void multiply_matrices(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                   uint32_t b1) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    static_assert(std::is_same_v<T, __half>);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// a b + c of both elements of pairs, each rounded once.
template <class T>
INTP_DEVICE uint32_t multiply_add_pairs(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t y;
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(c));
  } else {
    static_assert(std::is_same_v<T, __half>);
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(c));
  }
  return y;
}

// Bytes 0 and 1 of x, or 2 and 3, as the low bytes of two 16-bit halves: one instruction.
INTP_DEVICE uint32_t spread_bytes(uint32_t x, bool upper) {
  return __byte_perm(x, 0, upper ? 0x4342 : 0x4140);
}

// The n lowest bits: none for n below 0, all from 32 on.
INTP_DEVICE uint32_t low_bits(int n) {
  uint32_t y;
  asm("bmsk.clamp.b32 %0, 0, %1;" : "=r"(y) : "r"(n > 0 ? n : 0));
  return y;
}

// a b, never part of a fused multiply-add.
INTP_DEVICE float multiply_rounded(float a, float b) { return __fmul_rn(a, b); }

// 2^x to 2 ulp, results below 2^-126 as zero, in one instruction (exp2f takes four).
INTP_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x to 1 ulp, in one instruction; 0 for infinity.
INTP_DEVICE float fast_inverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace intp::cuda

#else

#include "cuda_on_host.h"

#endif
