// The emulation itself: what each instruction gives, and that each kind of mistake shows.

#include <string>
#include <vector>

#include "check.h"
#include "cuda/launch.h"

extern "C" void cuda_on_host_set_descending(int value);

namespace {

using intp::cuda::dynamic_shared;

struct Params {
  float* out;
  const float* in;
  bool mistake;
};

// What the launch throws; "" for nothing.
template <class Kernel>
std::string run(Kernel kernel, const Params& params, int threads = 64, int shared = 4096) {
  intp::cuda::launch_kernel(kernel, dim3(2), threads, shared, nullptr, params);
  try {
    intp::cuda::check_launch("kernel");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// Wrong in at least one of the two schedules?
template <class Kernel>
bool shows(Kernel kernel, const std::vector<float>& expected, bool mistake, const float* in) {
  bool wrong = false;
  for (int descending = 0; descending < 2; ++descending) {
    cuda_on_host_set_descending(descending);
    std::vector<float> out(expected.size(), -1.0f);
    CHECK(run(kernel, {out.data(), in, mistake}) == "");
    wrong |= out != expected;
  }
  cuda_on_host_set_descending(0);
  return wrong;
}

__global__ void reverse(const Params p) {
  auto* shared = static_cast<float*>(dynamic_shared());
  shared[threadIdx.x] = p.in[threadIdx.x];
  if (!p.mistake) __syncthreads();
  p.out[threadIdx.x] = shared[63 - threadIdx.x];
}

// Two rounds through the same shared memory: the second may not begin before the first was read.
__global__ void reverse_twice(const Params p) {
  auto* shared = static_cast<float*>(dynamic_shared());
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    shared[threadIdx.x] = p.in[threadIdx.x] * (round + 1);
    __syncthreads();
    sum += shared[63 - threadIdx.x];
    if (!p.mistake) __syncthreads();
  }
  p.out[threadIdx.x] = sum;
}

__global__ void reverse_in_warp(const Params p) {
  auto* shared = static_cast<float*>(dynamic_shared());
  shared[threadIdx.x] = p.in[threadIdx.x];
  if (!p.mistake) __syncwarp();
  p.out[threadIdx.x] = shared[threadIdx.x ^ 31];
}

// Two groups of copies; with the mistake it waits for one of them only.
__global__ void copy_later(const Params p) {
  auto* shared = static_cast<float*>(dynamic_shared());
  const int at = 4 * threadIdx.x;
  if (threadIdx.x < 16) {
    intp::cuda::copy_async_16(shared + at + 64, p.in, false);
    intp::cuda::commit_copies();
    intp::cuda::copy_async_16(shared + at, p.in + at, true);
    intp::cuda::commit_copies();
  }
  if (p.mistake) {
    intp::cuda::wait_copies<1>();
  } else {
    intp::cuda::wait_copies<0>();
  }
  __syncthreads();
  p.out[threadIdx.x] = shared[threadIdx.x] + shared[threadIdx.x + 64];
}

void test_order_and_waiting() {
  std::vector<float> in(64), reversed(64), twice(64), in_warp(64);
  for (int i = 0; i < 64; ++i) {
    in[i] = static_cast<float>(i);
    reversed[i] = static_cast<float>(63 - i);
    twice[i] = 3 * reversed[i];
    in_warp[i] = static_cast<float>(i ^ 31);
  }
  for (const bool mistake : {false, true}) {
    CHECK(shows(reverse, reversed, mistake, in.data()) == mistake);
    CHECK(shows(reverse_twice, twice, mistake, in.data()) == mistake);
    CHECK(shows(reverse_in_warp, in_warp, mistake, in.data()) == mistake);
    CHECK(shows(copy_later, in, mistake, in.data()) == mistake);
  }
}

__global__ void shuffles(const Params p) {
  const auto l = static_cast<float>(cuda_on_host::lane());
  float* out = p.out + 6 * threadIdx.x;
  out[0] = __shfl_xor_sync(~0u, l, 5);
  out[1] = __shfl_sync(~0u, l, 3, 8);
  out[2] = __shfl_down_sync(~0u, l, 2);
  out[3] = __shfl_up_sync(~0u, l, 2);
  out[4] = static_cast<float>(__ballot_sync(~0u, l < 3));
  if (threadIdx.x % 32 < 16) out[5] = __shfl_xor_sync(0xffffu, l, 8);  // half a warp
}

void test_shuffles_and_votes() {
  std::vector<float> out(6 * 64, -1);
  CHECK(run(shuffles, {out.data(), nullptr, false}) == "");
  for (int i = 0; i < 64; ++i) {
    const int l = i % 32;
    const int expected[] = {l ^ 5, l / 8 * 8 + 3,      l < 30 ? l + 2 : l, l < 2 ? l : l - 2,
                            7,     l < 16 ? l ^ 8 : -1};
    for (int e = 0; e < 6; ++e) CHECK(out[6 * i + e] == static_cast<float>(expected[e]));
  }
}

// c = a b^T of a [16, 16] and b [8, 16], and c = a b of b [16, 8] by the transposed load.
template <class T, bool transposed>
__global__ void multiply(const Params p) {
  auto* shared = static_cast<T*>(dynamic_shared());  // a, then b
  for (int i = threadIdx.x; i < 16 * 16 + 8 * 16; i += 32) shared[i] = static_cast<T>(p.in[i]);
  __syncwarp();
  const int l = threadIdx.x;
  uint32_t a[4], b[4];
  float c[4] = {};
  intp::cuda::load_matrices(a, shared + (l % 16) * 16 + l / 16 * 8);
  const T* second = shared + 16 * 16;
  if constexpr (transposed) {
    intp::cuda::load_matrices_transposed(b, second + (l % 16) * 8);
  } else {
    intp::cuda::load_matrices(b, second + (l % 8) * 16 + l / 8 % 2 * 8);
  }
  intp::cuda::multiply_matrices<T>(c, a, b[0], b[1]);
  for (int i = 0; i < 4; ++i) p.out[(l / 4 + i / 2 * 8) * 8 + l % 4 * 2 + i % 2] = c[i];
}

template <class T, bool transposed>
void test_matrices() {
  std::vector<float> in(16 * 16 + 8 * 16), out(16 * 8);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>((i * 37) % 31) - 15;
  CHECK(run(multiply<T, transposed>, {out.data(), in.data(), false}, 32) == "");
  for (int r = 0; r < 16; ++r) {
    for (int s = 0; s < 8; ++s) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) {
        sum += in[r * 16 + k] * in[16 * 16 + (transposed ? k * 8 + s : s * 16 + k)];
      }
      CHECK(out[r * 8 + s] == sum);
    }
  }
}

// (1.5, -2) (4, 0.25) + (1, 1) = (7, 0.5)
template <class T>
void test_pairs() {
  const auto pair = [](float low, float high) {
    const T both[2] = {static_cast<T>(low), static_cast<T>(high)};
    uint32_t bits;
    memcpy(&bits, both, sizeof bits);
    return bits;
  };
  CHECK(intp::cuda::multiply_add_pairs<T>(pair(1.5f, -2.0f), pair(4.0f, 0.25f), pair(1.0f, 1.0f)) ==
        pair(7.0f, 0.5f));
  // the product is not rounded before the sum
  const float x = std::is_same_v<T, __half> ? 1.0f + 0x1p-10f : 1.0f + 0x1p-7f;
  CHECK(intp::cuda::multiply_add_pairs<T>(pair(x, x), pair(x, x), pair(-1.0f, -x)) ==
        pair(x * x - 1.0f, x * x - x));
  CHECK(intp::cuda::spread_bytes(0x04030201, false) == 0x00020001);
  CHECK(intp::cuda::spread_bytes(0x04030201, true) == 0x00040003);
}

__global__ void some_never_come(const Params) {
  if (threadIdx.x < 32) __syncwarp();
  if (threadIdx.x != 40) __syncthreads();
  if (threadIdx.x == 40) __syncwarp();
}

__global__ void part_of_a_warp(const Params) {
  if (threadIdx.x % 32 < 31) __shfl_xor_sync(~0u, 1.0f, 1);
}

__global__ void different_instructions(const Params) {
  if (threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    __shfl_xor_sync(~0u, 1.0f, 1);
  }
}

__global__ void misaligned_row(const Params) {
  uint32_t m[4];
  intp::cuda::load_matrices(m, static_cast<char*>(dynamic_shared()) + 8);
}

__global__ void nothing(const Params) {}

void test_mistakes_have_names() {
  CHECK(
      has(run(some_never_come, {}), "kernel: threads wait for ever: warp 0: 32 at __syncthreads"));
  CHECK(
      has(run(some_never_come, {}), "warp 1: 31 at __syncthreads, 0 ended, others at __syncwarp"));
  CHECK(has(run(part_of_a_warp, {}), "threads wait for ever"));
  CHECK(has(run(different_instructions, {}), "expected all lanes of the mask at the same one"));
  CHECK(has(run(misaligned_row, {}), "ldmatrix: expected a row on 16 bytes"));
  CHECK(has(run(misaligned_row, {}), "thread (0, 0, 0), block (0, 0, 0)"));
  CHECK(has(run(reverse, {}, 2048), "invalid configuration"));
  CHECK(has(run(reverse, {}, 64, 300 << 10), "invalid argument"));
  CHECK(run(nothing, {}) == "");  // and the next launch runs again
}

}  // namespace

int main() {
  test_order_and_waiting();
  test_shuffles_and_votes();
  test_matrices<__nv_bfloat16, false>();
  test_matrices<__nv_bfloat16, true>();
  test_matrices<__half, false>();
  test_matrices<__half, true>();
  test_pairs<__nv_bfloat16>();
  test_pairs<__half>();
  test_mistakes_have_names();
  return 0;
}
