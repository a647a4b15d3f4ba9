#pragma once

// The pages of a cache to rows, once for all rows of queries, where these are many: what attention
// then reads is an ordinary [B, Hkv, Skv, D], with what follows the pages behind them. As rotated,
// and rounded, as KVCache.dequantize() is.
//
// A block has 64 tokens of a key head: a page, or a run of those after the pages. Where no query
// sees one of them, it reads and writes nothing. A thread has 16 channels of a token of keys, which
// it writes side by side, or of two tokens of values, whose codes share bytes.

#include "attention/cuda/block.h"
#include "common/rope.h"
#include "cuda/launch.h"

namespace intp::cuda {

constexpr int kUnpackThreads = 128;

// Of 64 tokens each, of a key head.
INTP_HD int runs_of(const AttentionParams& p) {
  return static_cast<int>(divide_up(p.keys, kPageTokens));
}

template <class T>
class UnpackBlock {
  static constexpr int kLanes = kCellLanes;  // channels of a thread
  struct alignas(16) Lanes {
    T x[kLanes];
  };

 public:
  INTP_DEVICE explicit UnpackBlock(const UnpackLaunch& launch)
      : p_(launch.params),
        packed_(launch.packed),
        cache_(launch.packed.cache),
        dim_(cache_.head_dim),
        page_(static_cast<int>(blockIdx.x) % runs_of(p_)),
        origin_(page_ * kPageTokens) {
    const int kv_heads = static_cast<int>(p_.kv_heads);
    task_.head = static_cast<int>(blockIdx.x) / runs_of(p_);
    task_.b = task_.head / kv_heads;
    task_.h = task_.head % kv_heads;
    const int64_t at = (task_.head * p_.keys + origin_) * dim_;
    k_ = static_cast<T*>(launch.k) + at;
    v_ = static_cast<T*>(launch.v) + at;
  }

  INTP_DEVICE void run() {
    if (!is_seen()) return;
    if (origin_ >= packed_.tokens) return copy_rows_after_pages();
    write_keys();
    write_values();
    __syncthreads();  // sinks are written over what their codes gave
    copy_sinks();
  }

 private:
  // By some query.
  INTP_DEVICE bool is_seen() const {
    const RowBounds bounds = p_.bounds[task_.b];
    QuerySpan all = query_indices(p_, bounds, 0, attention_rows(p_));
    if (p_.window.kind == WindowKind::kFirstKeys) {
      all.first_keys = tile_first_keys(p_, task_, bounds, all);
    }
    const KeySpans seen = visible_keys(bounds, p_.window, p_.keys, all);
    const auto meets = [&](const KeySpan& span) {
      return span.begin < origin_ + kPageTokens && origin_ < span.end;
    };
    return meets(seen.sink) || meets(seen.recent);
  }

  // --- codes -------------------------------------------------------------------------------------

  // Of both halves of a lane, at a shift in their stacks.
  struct Codes {
    float first, second;
  };

  INTP_DEVICE static Codes codes_at(int bits, const uint8_t* page, const CellPlace& cell, int lane,
                                    int shift) {
    uint32_t stacks = two_bytes(page + cell.byte + 2 * lane);
    if (bits == 3) {
      stacks |= (two_bytes(page + cell.upper + 2 * lane) >> cell.upper_shift & 0x000f000f) << 8;
    }
    const uint32_t mask = largest_code(bits);
    return {static_cast<float>(stacks >> shift & mask),
            static_cast<float>(stacks >> (16 + shift) & mask)};
  }

  // In the halves of a word.
  INTP_DEVICE static uint32_t two_bytes(const uint8_t* at) {
    const uint32_t pair = *reinterpret_cast<const uint16_t*>(at);
    return (pair & 0xff) | pair >> 8 << 16;
  }

  // --- keys --------------------------------------------------------------------------------------

  INTP_DEVICE void write_keys() const {
    const uint8_t* codes = key_page(cache_, task_.head, page_);
    const T* qparams =
        static_cast<const T*>(cache_.k_qparams) + key_qparams_offset(cache_, task_.head, page_);
    const int rotated = static_cast<int>(packed_.frequencies) / 2;  // rows of cells, see partner
    for (int i = threadIdx.x; i < kPageTokens * dim_ / kLanes; i += kUnpackThreads) {
      const int token = i % kPageTokens, channel = i / kPageTokens * kLanes;
      Lanes out;
#pragma unroll
      for (int pair = 0; pair < kLanes / 2; ++pair) {
        const int row = channel / 2 + pair;
        Codes key = key_pair(codes, qparams, token, row);
        if (row < 2 * rotated) {
          const bool is_first = row < rotated;
          const int f = 2 * (is_first ? row : row - rotated);
          const Codes partner =
              key_pair(codes, qparams, token, is_first ? row + rotated : row - rotated);
          key = {rotated_channel(token, f, is_first, key.first, partner.first),
                 rotated_channel(token, f + 1, is_first, key.second, partner.second)};
        }
        out.x[2 * pair] = static_cast<T>(key.first);
        out.x[2 * pair + 1] = static_cast<T>(key.second);
      }
      *reinterpret_cast<Lanes*>(k_ + token * dim_ + channel) = out;
    }
  }

  // Channels 2 row and 2 row + 1 of a token of the page, in T as they are cached.
  INTP_DEVICE Codes key_pair(const uint8_t* codes, const T* qparams, int token, int row) const {
    const int bits = cache_.key_bits, slots = cell_slots(bits), run = token / kCellLanes;
    const Codes x = codes_at(bits, codes, key_cell(bits, dim_, row, run / slots),
                             token % kCellLanes, run % slots * bits);
    const int c = 2 * row;
    return {value_of(x.first, qparams[c], qparams[dim_ + c]),
            value_of(x.second, qparams[c + 1], qparams[dim_ + c + 1])};
  }

  INTP_DEVICE float rotated_channel(int token, int f, bool is_first, float x, float partner) const {
    const float position = key_positions(packed_, task_.b, key_axis(packed_, f))[origin_ + token];
    const SinCos at = sincos(rope_angle(position, packed_.inv_freq[f]));
    return packed_.scaling * (is_first ? rotate(x, partner, at.cos, at.sin).first
                                       : rotate(partner, x, at.cos, at.sin).second);
  }

  // --- values ------------------------------------------------------------------------------------

  INTP_DEVICE void write_values() const {
    const uint8_t* codes = value_page(cache_, task_.head, page_);
    const int bits = cache_.value_bits, slots = cell_slots(bits);
    for (int i = threadIdx.x; i < kPageTokens / 2 * dim_ / kLanes; i += kUnpackThreads) {
      const int pair = i % (kPageTokens / 2), cells = i / (kPageTokens / 2);
      const int token = 2 * pair, channel = cells * kLanes;
      const T* qparams =
          static_cast<const T*>(cache_.v_qparams) +
          value_qparams_offset(cache_, task_.head, page_, channel / cache_.value_group) + token;
      const CellPlace cell = value_cell(bits, dim_, pair / slots, cells);
      Lanes first, second;
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        const Codes x = codes_at(bits, codes, cell, lane, pair % slots * bits);
        first.x[lane] = static_cast<T>(value_of(x.first, qparams[0], qparams[kPageTokens]));
        second.x[lane] = static_cast<T>(value_of(x.second, qparams[1], qparams[kPageTokens + 1]));
      }
      auto* to = v_ + token * dim_ + channel;
      *reinterpret_cast<Lanes*>(to) = first;
      *reinterpret_cast<Lanes*>(to + dim_) = second;
    }
  }

  INTP_DEVICE static float value_of(float code, T scale, T zero) {
    return fmaf(static_cast<float>(scale), code, static_cast<float>(zero));
  }

  // --- rows --------------------------------------------------------------------------------------

  INTP_DEVICE void copy_rows_after_pages() const {
    const int first = origin_ - static_cast<int>(packed_.tokens);
    const int rows = static_cast<int>(least(kPageTokens, p_.keys - origin_));
    const T* k = head_data<T>(p_.k, task_) + first * p_.k.stride_s;
    const T* v = head_data<T>(p_.v, task_) + first * p_.v.stride_s;
    for (int i = threadIdx.x; i < rows * dim_; i += kUnpackThreads) {
      const int row = i / dim_, channel = i % dim_;
      k_[i] = k[row * p_.k.stride_s + channel];
      v_[i] = v[row * p_.v.stride_s + channel];
    }
  }

  INTP_DEVICE void copy_sinks() const {
    for (int i = threadIdx.x; i < cache_.sinks * dim_; i += kUnpackThreads) {
      const int slot = i / dim_, channel = i % dim_;
      const int64_t token = int64_t{cache_.first[task_.b]} + slot - origin_;
      if (token < 0 || token >= kPageTokens) continue;
      const int64_t at = sink_offset(cache_, task_.head, slot) + channel;
      k_[token * dim_ + channel] = static_cast<const T*>(cache_.k_sinks)[at];
      v_[token * dim_ + channel] = static_cast<const T*>(cache_.v_sinks)[at];
    }
  }

  const AttentionParams& p_;
  const PackedKeys& packed_;
  const KvCache& cache_;
  const int dim_, page_, origin_;
  BlockTask task_{};
  T* k_;  // of the block's first token
  T* v_;
};

// Block x: the runs of a key head, one head after the other.
template <class T>
__global__ void __launch_bounds__(kUnpackThreads, 6)
    unpack_kernel(const __grid_constant__ UnpackLaunch launch) {
  UnpackBlock<T>(launch).run();
}

template <class T>
void launch_unpack(const UnpackLaunch& launch, cudaStream_t stream) {
  const AttentionParams& p = launch.params;
  const auto blocks = static_cast<unsigned>(runs_of(p) * p.batch * p.kv_heads);
  launch_kernel(unpack_kernel<T>, dim3(blocks), kUnpackThreads, 0, stream, launch);
}

}  // namespace intp::cuda
