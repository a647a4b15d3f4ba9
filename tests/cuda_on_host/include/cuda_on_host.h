#pragma once

// CUDA C++ for g++: what kernels use beyond C++, emulated, so that their own sources run on the
// CPU. csrc/cuda/ptx.h includes this file under any compiler but nvcc.
//
// A block's threads are fibers that run one at a time. Each runs until it waits (a barrier, an
// instruction of the whole warp) or ends; each warp as far as it can go before the next begins.
// What the code does not order may so happen in the extreme: run ascending and descending, a
// missing barrier gives a wrong result. Shared memory is NaN when a block begins. An asynchronous
// copy fills its target with NaN at once and with the data only in the wait that covers it. Misuse
// (threads that wait for ever, lanes of a warp at different instructions, a misaligned address) is
// an error of the launch that names it.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#undef __device__
#undef __forceinline__
#undef __global__
#undef __grid_constant__
#undef __launch_bounds__
#undef __shared__
#define __device__
#define __forceinline__ inline
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
// Static arrays cannot be poisoned between blocks.
#define __shared__ expected_shared_memory_from_dynamic_shared

#define threadIdx (cuda_on_host::thread_index())
#define blockIdx (cuda_on_host::block_index())
#define blockDim (cuda_on_host::block_size())
#define gridDim (cuda_on_host::grid_size())
#define __syncthreads() cuda_on_host::block_barrier()
#define __threadfence() static_cast<void>(0)  // one thread runs at a time

#define INTP_DEVICE inline

namespace cuda_on_host {

// --- what the scheduler offers (scheduler.cpp) ---------------------------------------------------

const dim3& thread_index();
const dim3& block_index();
const dim3& block_size();
const dim3& grid_size();
int lane();  // of the warp
void* shared_memory();

void block_barrier();

// Ends the launch with an error that names the block and the thread.
[[noreturn]] void fail(const char* message);

// Waits until every lane of `mask` has come here. The last one runs `apply` for all of them, on
// what each lane passed (nullptr for lanes outside the mask).
using Lanes = void* const (&)[32];
void warp_instruction(const char* name, uint32_t mask, void* lane, void (*apply)(Lanes lanes));

// The asynchronous copies of the running thread.
void begin_copy(void* to, const void* from, int bytes);  // from nullptr: zeros
void close_copies();
void finish_copies(int pending);

// Runs thread() in every thread of every block; cudaGetLastError() says how it went.
void run_grid(dim3 grid, dim3 block, int64_t shared, const std::function<void()>& thread);

inline void check_aligned(const void* address, int bytes, const char* message) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) fail(message);
}

// --- instructions of a warp ----------------------------------------------------------------------

template <class T>
struct Shuffle {
  T value, result;
  int source;  // a lane
};

template <class T>
T shuffle(uint32_t mask, T value, int source) {
  Shuffle<T> mine{value, value, source % 32};
  warp_instruction("shuffle", mask, &mine, [](Lanes lanes) {
    for (void* lane : lanes) {
      if (lane == nullptr) continue;
      auto& to = *static_cast<Shuffle<T>*>(lane);
      const auto* from = static_cast<const Shuffle<T>*>(lanes[to.source]);
      if (from == nullptr) fail("shuffle: expected a source lane in the mask");
      to.result = from->value;
    }
  });
  return mine.result;
}

struct Vote {
  bool value;
  uint32_t result;
};

inline uint32_t ballot(uint32_t mask, bool value) {
  Vote mine{value, 0};
  warp_instruction("vote", mask, &mine, [](Lanes lanes) {
    uint32_t bits = 0;
    for (int l = 0; l < 32; ++l) {
      if (lanes[l] != nullptr && static_cast<Vote*>(lanes[l])->value) bits |= 1u << l;
    }
    for (void* lane : lanes) {
      if (lane != nullptr) static_cast<Vote*>(lane)->result = bits;
    }
  });
  return mine.result;
}

struct MatrixRow {
  const void* row;
  uint32_t (*m)[4];
};

template <bool transposed>
void load_matrices(uint32_t (&m)[4], const void* row) {
  check_aligned(row, 16, "ldmatrix: expected a row on 16 bytes");
  MatrixRow mine{row, &m};
  warp_instruction("ldmatrix", ~0u, &mine, [](Lanes lanes) {
    uint16_t matrix[4][8][8];
    for (int l = 0; l < 32; ++l) {
      memcpy(matrix[l / 8][l % 8], static_cast<MatrixRow*>(lanes[l])->row, 16);
    }
    for (int l = 0; l < 32; ++l) {
      const int line = l / 4, pair = 2 * (l % 4);
      for (int i = 0; i < 4; ++i) {
        const auto& x = matrix[i];
        const uint32_t low = transposed ? x[pair][line] : x[line][pair];
        const uint32_t high = transposed ? x[pair + 1][line] : x[line][pair + 1];
        (*static_cast<MatrixRow*>(lanes[l])->m)[i] = low | high << 16;
      }
    }
  });
}

template <class T>
float element(uint32_t pair, int i) {
  const auto bits = static_cast<uint16_t>(pair >> (16 * i));
  T value;
  memcpy(static_cast<void*>(&value), &bits, sizeof bits);
  return static_cast<float>(value);
}

struct Fragments {
  float (*c)[4];
  const uint32_t (*a)[4];
  uint32_t b[2];
};

template <class T>
void multiply_matrices(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Fragments mine{&c, &a, {b0, b1}};
  warp_instruction("mma", ~0u, &mine, [](Lanes lanes) {
    float a[16][16], b[8][16];  // b by columns
    for (int l = 0; l < 32; ++l) {
      const auto& from = *static_cast<Fragments*>(lanes[l]);
      const int r = l / 4, s = 2 * (l % 4);
      for (int e = 0; e < 2; ++e) {
        for (int i = 0; i < 4; ++i) {
          a[r + 8 * (i % 2)][s + 8 * (i / 2) + e] = element<T>((*from.a)[i], e);
        }
        for (int i = 0; i < 2; ++i) b[r][s + 8 * i + e] = element<T>(from.b[i], e);
      }
    }
    for (int l = 0; l < 32; ++l) {
      float (&c)[4] = *static_cast<Fragments*>(lanes[l])->c;
      for (int i = 0; i < 4; ++i) {
        const int row = l / 4 + 8 * (i / 2), column = 2 * (l % 4) + i % 2;
        for (int k = 0; k < 16; ++k) c[i] += a[row][k] * b[column][k];
      }
    }
  });
}

}  // namespace cuda_on_host

// --- CUDA C++ ------------------------------------------------------------------------------------

using std::max;
using std::min;

inline void __syncwarp(uint32_t mask = ~0u) {
  int nothing = 0;
  cuda_on_host::warp_instruction("__syncwarp", mask, &nothing, [](cuda_on_host::Lanes) {});
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
  const int l = cuda_on_host::lane();
  return cuda_on_host::shuffle(mask, value, l / width * width + source % width);
}

template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32) {
  const int l = cuda_on_host::lane(), source = l ^ bits;
  return cuda_on_host::shuffle(mask, value, source / width > l / width ? l : source);
}

template <class T>
T __shfl_down_sync(uint32_t mask, T value, int distance, int width = 32) {
  const int l = cuda_on_host::lane();
  return cuda_on_host::shuffle(mask, value, l % width + distance < width ? l + distance : l);
}

template <class T>
T __shfl_up_sync(uint32_t mask, T value, int distance, int width = 32) {
  const int l = cuda_on_host::lane();
  return cuda_on_host::shuffle(mask, value, l % width >= distance ? l - distance : l);
}

inline uint32_t __ballot_sync(uint32_t mask, bool value) {
  return cuda_on_host::ballot(mask, value);
}
inline bool __any_sync(uint32_t mask, bool value) { return __ballot_sync(mask, value) != 0; }
inline bool __all_sync(uint32_t mask, bool value) { return __ballot_sync(mask, !value) == 0; }

template <class T>
T __ldg(const T* address) {
  return *address;
}

template <class T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}

template <class T>
T atomicMax(T* address, T value) {
  const T old = *address;
  *address = std::max(old, value);
  return old;
}

template <class T>
T atomicExch(T* address, T value) {
  const T old = *address;
  *address = value;
  return old;
}

// --- what csrc/cuda/ptx.h and launch.h offer under nvcc
// --------------------------------------------

namespace intp::cuda {

INTP_DEVICE void* dynamic_shared() { return cuda_on_host::shared_memory(); }

INTP_DEVICE void copy_async_16(void* shared, const void* global, bool read) {
  cuda_on_host::check_aligned(shared, 16, "cp.async: expected a target on 16 bytes");
  cuda_on_host::check_aligned(global, 16, "cp.async: expected a source on 16 bytes");
  cuda_on_host::begin_copy(shared, read ? global : nullptr, 16);
}

INTP_DEVICE void commit_copies() { cuda_on_host::close_copies(); }

template <int kPending>
INTP_DEVICE void wait_copies() {
  cuda_on_host::finish_copies(kPending);
}

INTP_DEVICE void load_matrices(uint32_t (&m)[4], const void* shared_row) {
  cuda_on_host::load_matrices<false>(m, shared_row);
}

INTP_DEVICE void load_matrices_transposed(uint32_t (&m)[4], const void* shared_row) {
  cuda_on_host::load_matrices<true>(m, shared_row);
}

template <class T>
INTP_DEVICE void multiply_matrices(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                   uint32_t b1) {
  cuda_on_host::multiply_matrices<T>(c, a, b0, b1);
}

template <class T>
INTP_DEVICE uint32_t multiply_add_pairs(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t pair = 0;
  for (int i = 0; i < 2; ++i) {
    // exact in double but for the sum of far apart ones, which rounds twice
    const double sum =
        static_cast<double>(cuda_on_host::element<T>(a, i)) * cuda_on_host::element<T>(b, i) +
        cuda_on_host::element<T>(c, i);
    const T rounded = static_cast<T>(static_cast<float>(sum));
    uint16_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    pair |= uint32_t{bits} << (16 * i);
  }
  return pair;
}

INTP_DEVICE uint32_t spread_bytes(uint32_t x, bool upper) {
  if (upper) x >>= 16;
  return (x & 0xff) | (x & 0xff00) << 8;
}

INTP_DEVICE uint32_t low_bits(int n) { return n <= 0 ? 0 : n >= 32 ? ~0u : (1u << n) - 1; }

INTP_DEVICE float multiply_rounded(float a, float b) { return a * b; }

INTP_DEVICE float fast_inverse(float x) { return 1.0f / x; }

INTP_DEVICE float fast_exp2(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }

template <class Params>
void launch_kernel(void (*kernel)(Params), dim3 grid, int threads, int shared, cudaStream_t,
                   const Params& params) {
  cuda_on_host::run_grid(grid, dim3(threads), shared, [&] { kernel(params); });
}

}  // namespace intp::cuda
