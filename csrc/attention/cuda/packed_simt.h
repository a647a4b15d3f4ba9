#pragma once

// Attention over packed keys without tensor cores: the plain kernel, whose elements are looked up
// one at a time. For float32, heads beyond 128 and what does not lie on 16 bytes.

#include "attention/cuda/packed_launch.h"
#include "attention/cuda/simt.h"

namespace intp::cuda {

template <class T>
class PackedElements {
 public:
  INTP_DEVICE explicit PackedElements(const PackedArgs& args)
      : args_(args), rows_(args.attention), tokens_(static_cast<int>(args.keys.tokens)) {}

  INTP_DEVICE float key(const BlockTask& task, int key, int channel) const {
    if (key >= tokens_) return rows_.key(task, key - tokens_, channel);
    const float x = code_key(task, key, channel);
    const PackedKeys& keys = args_.keys;
    const int frequencies = static_cast<int>(keys.frequencies);
    if (channel >= 2 * frequencies) return x;
    const bool low = channel < frequencies;
    const int f = low ? channel : channel - frequencies;
    const float partner = code_key(task, key, low ? f + frequencies : f);
    const float position = keys.positions[task.b * keys.position_stride + key];
    const SinCos turn = sincos(rope_angle(position, keys.inv_freq[f]));
    return keys.scaling *
           (low ? x * turn.cos - partner * turn.sin : x * turn.cos + partner * turn.sin);
  }

  INTP_DEVICE float value(const BlockTask& task, int key, int channel) const {
    if (key >= tokens_) return rows_.value(task, key - tokens_, channel);
    const KvCache& cache = args_.keys.cache;
    const int bits = static_cast<int>(cache.bits), dim = static_cast<int>(cache.head_dim);
    const int width = static_cast<int>(cache.value_group), groups = (dim + width - 1) / width;
    const int64_t page = task.head * cache.page_capacity + key / kPackedPage;
    const T* range = static_cast<const T*>(cache.v_ranges) +
                     (page * groups + channel / width) * 2 * kPackedPage + key % kPackedPage;
    const CodePlace at = value_code(bits, dim, key % kPackedPage, channel);
    return element(cache.v_codes, page, at, range[0], range[kPackedPage]);
  }

 private:
  INTP_DEVICE float code_key(const BlockTask& task, int key, int channel) const {
    const KvCache& cache = args_.keys.cache;
    const int bits = static_cast<int>(cache.bits), dim = static_cast<int>(cache.head_dim);
    const int pages = static_cast<int>(cache.key_group) / kPackedPage, page = key / kPackedPage;
    const int64_t groups = static_cast<int>(cache.page_capacity) / pages;
    const T* range = static_cast<const T*>(cache.k_ranges) +
                     (task.head * groups + page / pages) * 2 * dim + channel;
    const CodePlace at = key_code(bits, key % kPackedPage, channel);
    return element(cache.k_codes, task.head * cache.page_capacity + page, at, range[0], range[dim]);
  }

  INTP_DEVICE float element(const uint8_t* codes, int64_t page, const CodePlace& at, T scale,
                            T zero) const {
    const KvCache& cache = args_.keys.cache;
    const uint8_t* from = codes + page * page_bytes(cache.bits, cache.head_dim);
    const int code = from[at.byte] >> at.shift & ((1 << static_cast<int>(cache.bits)) - 1);
    return fmaf(static_cast<float>(scale), static_cast<float>(code), static_cast<float>(zero));
  }

  const PackedArgs& args_;
  const RowElements<T> rows_;
  const int tokens_;
};

template <class T>
__global__ void __launch_bounds__(PlainShared::kTile.warps* kWarp, PlainShared::kTile.blocks)
    packed_plain_kernel(const __grid_constant__ PackedArgs args) {
  PlainBlock<T, PackedElements<T>>(args.attention, PackedElements<T>(args)).run();
}

template <class T>
void launch_packed_plain(const PackedArgs& args, int blocks, cudaStream_t stream) {
  launch_kernel(packed_plain_kernel<T>, dim3(blocks), PlainShared::kTile.warps * kWarp,
                sizeof(PlainShared), stream, args);
}

}  // namespace intp::cuda
