#include "kv_append/cuda/launch.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kv_append/cuda/kernel.h"

namespace intp::cuda {
namespace {

// Is every address, stride and count on 16 bytes?
template <class T>
bool is_wide(const KvAppendParams& p) {
  const RopeTensor& k = p.rope.tensors[0];
  const int64_t counts = p.cache.head_dim | p.rope.frequencies | k.in_stride_b | k.in_stride_h |
                         k.in_stride_s | p.v_stride_b | p.v_stride_h | p.v_stride_s;
  uintptr_t addresses = 0;
  for (const void* x :
       {k.in, p.v, static_cast<const void*>(p.cache.k_rows),
        static_cast<const void*>(p.cache.v_rows), p.k_old, p.v_old,
        static_cast<const void*>(p.cache.k_sinks), static_cast<const void*>(p.cache.v_sinks)}) {
    addresses |= reinterpret_cast<uintptr_t>(x);
  }
  return counts * int64_t{sizeof(T)} % 16 == 0 && addresses % 16 == 0;
}

template <class T>
void launch_type(const KvAppendParams& p, int processors, cudaStream_t stream) {
  const KvCache& cache = p.cache;
  constexpr int64_t kMostBlocks = 0xffff;  // in y and z of a grid
  if (p.length + p.count > kMostTokens || cache.batch > kMostBlocks || cache.heads > kMostBlocks) {
    throw std::invalid_argument(
        "kv_append: expected at most 2^31 - 256 tokens, and 65535 batch rows and heads");
  }
  const int64_t end = p.length + p.count, first_row = first_written_row(p);
  AppendLaunch launch{};
  launch.params = p;
  launch.first_group = static_cast<int>(p.packed / cache.key_group);
  launch.groups = static_cast<int>((p.now_packed - p.packed) / cache.key_group);
  launch.first_row = static_cast<int>(first_row);
  launch.rows = static_cast<int>(end - first_row);
  launch.row_parts = (launch.rows + kRowsOfPart - 1) / kRowsOfPart;
  const int64_t parts = launch.groups + launch.row_parts + (cache.sinks > 0);
  // sines are computed once for the heads of a block, of which there should still be enough
  const int64_t wanted = 8 * int64_t{processors} / (parts * cache.batch);
  launch.heads =
      static_cast<int>(cache.heads / std::min(cache.heads, std::max<int64_t>(1, wanted)));
  launch.wide = is_wide<T>(p);

  launch.pitch = static_cast<int>(cache.head_dim + 4 / sizeof(T));
  int64_t shared = 0;
  if (launch.groups > 0) {
    const int values = 2 * kPageTokens * value_groups(cache.head_dim, cache.value_group);
    launch.qparam_floats = std::max(3 * cache.head_dim, values);
    shared = launch.qparam_floats * int64_t{sizeof(float)} +
             kPageTokens * launch.pitch * int64_t{sizeof(T)};
    if (shared > kMostShared) {
      throw std::invalid_argument(
          "kv_append: expected a head_dim of which 64 tokens fit into 99 KiB");
    }
  }
  // new tokens of a block, at most
  const int64_t tokens =
      std::min<int64_t>(p.count, launch.groups > 0 ? cache.key_group : int64_t{kRowsOfPart});
  const int64_t table = tokens * p.rope.frequencies * int64_t{sizeof(SinCos)};
  if (shared + table <= kMostShared) {
    launch.table = static_cast<int>(tokens);
    shared += table;
  }
  const dim3 grid(static_cast<unsigned>(parts),
                  static_cast<unsigned>((cache.heads + launch.heads - 1) / launch.heads),
                  static_cast<unsigned>(cache.batch));
  launch_kernel(append_kernel<T>, grid, kAppendThreads, static_cast<int>(shared), stream, launch);
}

}  // namespace

void launch_append(const KvAppendParams& p, int processors, cudaStream_t stream) {
  switch (p.cache.type) {
    case FloatType::kFloat32:
      launch_type<float>(p, processors, stream);
      break;
    case FloatType::kBFloat16:
      launch_type<__nv_bfloat16>(p, processors, stream);
      break;
    case FloatType::kFloat16:
      launch_type<__half>(p, processors, stream);
      break;
  }
  check_launch("kv_append");
}

}  // namespace intp::cuda
