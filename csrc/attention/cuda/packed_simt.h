#pragma once

// Attention over packed keys without tensor cores: the SIMT kernel, whose elements are looked up
// one at a time. For float32, heads beyond 128 and what does not lie on 16 bytes.

#include "attention/cuda/simt.h"
#include "common/rope.h"

namespace intp::cuda {

template <class T>
class PackedElements {
 public:
  INTP_DEVICE explicit PackedElements(const PackedLaunch& launch)
      : packed_(launch.packed),
        cache_(launch.packed.cache),
        rows_(launch.attention),
        tokens_(static_cast<int>(launch.packed.tokens)) {}

  INTP_DEVICE float key(const BlockTask& task, int key, int channel) const {
    if (key >= tokens_) return rows_.key(task, key - tokens_, channel);
    if (is_sink(cache_, task.b, key)) return sink(cache_.k_sinks, task, key, channel);
    const float x = unrotated_key(task, key, channel);
    const int frequencies = static_cast<int>(packed_.frequencies);
    if (channel >= 2 * frequencies) return x;
    const bool is_first = channel < frequencies;
    const int f = is_first ? channel : channel - frequencies;
    const float partner = unrotated_key(task, key, is_first ? f + frequencies : f);
    const float position = key_positions(packed_, task.b, key_axis(packed_, f))[key];
    const SinCos at = sincos(rope_angle(position, packed_.inv_freq[f]));
    return packed_.scaling * (is_first ? rotate(x, partner, at.cos, at.sin).first
                                       : rotate(partner, x, at.cos, at.sin).second);
  }

  INTP_DEVICE float value(const BlockTask& task, int key, int channel) const {
    if (key >= tokens_) return rows_.value(task, key - tokens_, channel);
    if (is_sink(cache_, task.b, key)) return sink(cache_.v_sinks, task, key, channel);
    const int page = key / kPageTokens, token = key % kPageTokens;
    const T* qparams = static_cast<const T*>(cache_.v_qparams) +
                       value_qparams_offset(cache_, task.head, page, channel / cache_.value_group) +
                       token;
    return element(cache_.value_bits, value_page(cache_, task.head, page),
                   value_code(cache_.value_bits, cache_.head_dim, token, channel), qparams[0],
                   qparams[kPageTokens]);
  }

 private:
  INTP_DEVICE float sink(const void* sinks, const BlockTask& task, int key, int channel) const {
    const int64_t at = sink_offset(cache_, task.head, sink_slot(cache_, task.b, key));
    return static_cast<float>(static_cast<const T*>(sinks)[at + channel]);
  }

  INTP_DEVICE float unrotated_key(const BlockTask& task, int key, int channel) const {
    const int page = key / kPageTokens, token = key % kPageTokens;
    const T* qparams = static_cast<const T*>(cache_.k_qparams) +
                       key_qparams_offset(cache_, task.head, page) + channel;
    return element(cache_.key_bits, key_page(cache_, task.head, page),
                   key_code(cache_.key_bits, cache_.head_dim, token, channel), qparams[0],
                   qparams[cache_.head_dim]);
  }

  INTP_DEVICE float element(int bits, const uint8_t* page, const CodePlace& at, T scale,
                            T zero) const {
    const int code = read_code(bits, page, at);
    return fmaf(static_cast<float>(scale), static_cast<float>(code), static_cast<float>(zero));
  }

  const PackedKeys& packed_;
  const KvCache& cache_;
  const RowElements<T> rows_;
  const int tokens_;
};

// Addresses of codes and sinks take more registers than two blocks of a multiprocessor can have.
template <class T>
__global__ void __launch_bounds__(SimtShared::kTile.warps* kWarp, SimtShared::kTile.blocks - 1)
    packed_simt_kernel(const __grid_constant__ PackedLaunch launch) {
  SimtBlock<T, PackedElements<T>>(launch.attention, PackedElements<T>(launch)).run();
}

template <class T>
void launch_packed_simt(const PackedLaunch& launch, int blocks, cudaStream_t stream) {
  launch_kernel(packed_simt_kernel<T>, dim3(blocks), SimtShared::kTile.warps * kWarp,
                sizeof(SimtShared), stream, launch);
}

}  // namespace intp::cuda
