#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/launch.h"
#include "rope/rope_cuda.h"

namespace intp {
namespace {

constexpr int kThreads = 256;

// N elements that are loaded and stored at once.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T lane[N];
};

// One block per output row (b, s): its sines once into shared memory, then every head of q and k.
// N divides F and D, and every address is aligned to N elements.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) rope_kernel(const RopeParams p) {
  auto* table = static_cast<float*>(cuda::dynamic_shared());  // cos [F], sin [F]
  using Packed = Pack<T, N>;
  const int64_t b = blockIdx.x / p.length, s = blockIdx.x % p.length;
  const int frequencies = static_cast<int>(p.frequencies);
  float* cos = table;
  float* sin = table + frequencies;

  const int64_t at = b * p.position_stride_b + s * p.position_stride_s;
  for (int f = threadIdx.x; f < frequencies; f += kThreads) {
    const int axis = p.axes == 1 ? 0 : rope_axis(p.sections, f);
    const float position =
        load_position(p.positions, p.position_type, at + axis * p.position_stride_a);
    const SinCos turn = sincos(rope_angle(position, p.inv_freq[f]));
    cos[f] = turn.cos * p.scaling;
    sin[f] = turn.sin * p.scaling;
  }
  __syncthreads();

  const int64_t source = source_row(p.order, b, s);
  const bool inside = 0 <= source && source < p.rows;
  const int turned = frequencies / N;                                // packs of a half
  const int passed = static_cast<int>(p.head_dim) / N - 2 * turned;  // packs of the rest
  const int packs = turned + passed;                                 // work items of a head
  for (int i = 0; i < p.tensor_count; ++i) {
    const RopeTensor& t = p.tensors[i];
    const T* in = static_cast<const T*>(t.in) + b * t.in_stride_b + source * t.in_stride_s;
    T* out = static_cast<T*>(t.out) + b * t.out_stride_b + s * t.out_stride_s;
    for (int64_t item = threadIdx.x; item < t.heads * packs; item += kThreads) {
      const int64_t head = item / packs;
      const int pack = static_cast<int>(item % packs);
      const T* x = in + head * t.in_stride_h;
      T* y = out + head * t.out_stride_h;
      if (pack >= turned) {
        const int d = (turned + pack) * N;
        *reinterpret_cast<Packed*>(y + d) =
            inside ? *reinterpret_cast<const Packed*>(x + d) : Packed{};
        continue;
      }
      const int f = pack * N;
      Packed first{}, second{};
      if (inside) {
        first = *reinterpret_cast<const Packed*>(x + f);
        second = *reinterpret_cast<const Packed*>(x + f + frequencies);
#pragma unroll
        for (int n = 0; n < N; ++n) {
          const float u = static_cast<float>(first.lane[n]), v = static_cast<float>(second.lane[n]);
          first.lane[n] = static_cast<T>(u * cos[f + n] - v * sin[f + n]);
          second.lane[n] = static_cast<T>(v * cos[f + n] + u * sin[f + n]);
        }
      }
      *reinterpret_cast<Packed*>(y + f) = first;
      *reinterpret_cast<Packed*>(y + f + frequencies) = second;
    }
  }
}

// Is every address, stride and count a multiple of `elements`?
template <class T>
bool all_aligned(const RopeParams& p, int64_t elements) {
  int64_t counts = p.frequencies | p.head_dim;
  uintptr_t addresses = 0;
  for (int i = 0; i < p.tensor_count; ++i) {
    const RopeTensor& t = p.tensors[i];
    counts |= t.in_stride_b | t.in_stride_h | t.in_stride_s;
    counts |= t.out_stride_b | t.out_stride_h | t.out_stride_s;
    addresses |= reinterpret_cast<uintptr_t>(t.in) | reinterpret_cast<uintptr_t>(t.out);
  }
  return counts % elements == 0 && addresses % (elements * sizeof(T)) == 0;
}

template <class T>
void launch(const RopeParams& p, cudaStream_t stream) {
  constexpr int kWide = 16 / sizeof(T);
  const auto blocks = static_cast<unsigned>(p.batch * p.length);
  const int shared = static_cast<int>(2 * p.frequencies * sizeof(float));
  if (all_aligned<T>(p, kWide)) {
    cuda::launch_kernel(rope_kernel<T, kWide>, blocks, kThreads, shared, stream, p);
  } else {
    cuda::launch_kernel(rope_kernel<T, 1>, blocks, kThreads, shared, stream, p);
  }
}

}  // namespace

void rope_cuda_launch(const RopeParams& p, cudaStream_t stream) {
  constexpr int64_t kMaxRows = 0x7fffffff, kMaxFrequencies = 6144;  // grid, 48 KiB of shared memory
  if (p.batch * p.length > kMaxRows || p.frequencies > kMaxFrequencies) {
    throw std::invalid_argument("apply_rope: expected at most 2^31 - 1 rows and 6144 frequencies");
  }
  switch (p.type) {
    case FloatType::kFloat32:
      launch<float>(p, stream);
      break;
    case FloatType::kBFloat16:
      launch<__nv_bfloat16>(p, stream);
      break;
    case FloatType::kFloat16:
      launch<__half>(p, stream);
      break;
  }
  check_launch("apply_rope");
}

}  // namespace intp
