#pragma once

// The kernel of kv_append: gather, rotate, quantize, write, in one pass over k and v.
//
// A block has one part of the tokens of a batch row, for some of its heads: a group that is packed
// now, which becomes pages, or a run of tokens that are rows, or the new sinks. Tokens that were
// rows before are read from other memory than any block writes.

#include <cmath>

#include "cuda/launch.h"
#include "kv_append/params.h"

namespace intp::cuda {

constexpr int kAppendThreads = 128;
constexpr int kRowsOfPart = 32;  // tokens of a block where nothing is packed

// What the kernel is given; shared memory is, one after the other, sines [table, F], scales and
// zero points float [qparam_floats] and a page T [64, pitch].
struct AppendLaunch {
  KvAppendParams params;
  int first_group, groups;  // packed now
  int first_row;            // first token that is written as a row
  int rows;                 // so many of them
  int row_parts;            // blocks that share them
  int heads;                // of a block
  int table;                // tokens whose sines are kept; 0: computed anew for every head
  int qparam_floats;
  int pitch;  // elements, an odd number of words: a column lies in as many banks as a row
  bool wide;  // everything lies on 16 bytes
};

template <class T, int N>
struct alignas(sizeof(T) * N) AppendPack {
  T lane[N];
};

// The T that is so many digits above x > 0.
template <class T>
INTP_DEVICE T append_step(T x, int digits) {
  std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t> bits;
  memcpy(&bits, &x, sizeof bits);
  bits += digits;
  memcpy(static_cast<void*>(&x), &bits, sizeof bits);
  return x;
}

// The smallest T that is at least x >= 0.
template <class T>
INTP_DEVICE T append_round_up(float x) {
  const T near = static_cast<T>(x);
  return static_cast<float>(near) < x ? append_step(near, 1) : near;
}

template <class T>
class AppendBlock {
  static constexpr int kWide = 16 / sizeof(T);

 public:
  INTP_DEVICE explicit AppendBlock(const AppendLaunch& launch)
      : launch_(launch),
        p_(launch.params),
        cache_(launch.params.cache),
        dim_(cache_.head_dim),
        b_(static_cast<int>(blockIdx.z)),
        sines_(static_cast<SinCos*>(dynamic_shared())),
        qparams_(reinterpret_cast<float*>(sines_ + launch.table * p_.rope.frequencies)),
        page_(reinterpret_cast<T*>(qparams_ + launch.qparam_floats)) {
    lo_ = p_.valid ? p_.valid[2 * b_] : 0;
    hi_ = p_.valid ? p_.valid[2 * b_ + 1] : static_cast<int>(p_.length + p_.count);
  }

  INTP_DEVICE void run() {
    const int part = static_cast<int>(blockIdx.x);
    if (part < launch_.groups) {
      pack(launch_.first_group + part);
    } else if (part < launch_.groups + launch_.row_parts) {
      const int first = (part - launch_.groups) * kRowsOfPart;
      write_rows(first, min(kRowsOfPart, launch_.rows - first));
    } else {
      write_sinks();
    }
  }

 private:
  INTP_DEVICE int first_head() const { return static_cast<int>(blockIdx.y) * launch_.heads; }
  INTP_DEVICE int end_head() const {
    return min(first_head() + launch_.heads, static_cast<int>(cache_.heads));
  }
  INTP_DEVICE int64_t cached_head(int h) const { return b_ * cache_.heads + h; }
  INTP_DEVICE bool is_padding(int t) const { return t < lo_ || hi_ <= t; }
  INTP_DEVICE bool is_sink(int t) const {  // in 32 bits, which leave registers for the rest
    if (cache_.sinks == 0) return false;
    const int slot = t - cache_.first[b_];
    return 0 <= slot && slot < cache_.sinks;
  }

  // --- sines -------------------------------------------------------------------------------------

  INTP_DEVICE SinCos new_sines(int token, int f) const {
    return rope_sincos(p_.rope, b_, token - p_.length, f);
  }

  // Of new tokens begin <= t < end, for all heads. Ends with a barrier.
  INTP_DEVICE void fill_sines(int begin, int end) {
    begin = max(begin, static_cast<int>(p_.length));
    sines_begin_ = begin;
    const int frequencies = static_cast<int>(p_.rope.frequencies);
    if (launch_.table > 0) {
      for (int i = threadIdx.x; i < (end - begin) * frequencies; i += kAppendThreads) {
        sines_[i] = new_sines(begin + i / frequencies, i % frequencies);
      }
    }
    __syncthreads();
  }

  INTP_DEVICE SinCos sines(int token, int f) const {
    if (launch_.table == 0) return new_sines(token, f);
    return sines_[(token - sines_begin_) * static_cast<int>(p_.rope.frequencies) + f];
  }

  // --- tokens, as they are cached unpacked -------------------------------------------------------

  // nullptr: zeros, of padding or of a row that order does not have.
  INTP_DEVICE const T* row_of(bool keys, int h, int token) const {
    const RopeTensor& k = p_.rope.tensors[0];
    if (token < p_.length) {
      const void* rows = keys ? p_.k_old : p_.v_old;
      const int64_t row = token - p_.packed;
      return static_cast<const T*>(rows) + kv_row_offset(cache_, cached_head(h), row);
    }
    if (is_padding(token)) return nullptr;
    const int64_t source = source_row(p_.rope.order, b_, token - p_.length);
    if (source < 0 || source >= p_.rope.rows) return nullptr;
    if (keys) {
      return static_cast<const T*>(k.in) + b_ * k.in_stride_b + h * k.in_stride_h +
             source * k.in_stride_s;
    }
    return static_cast<const T*>(p_.v) + b_ * p_.v_stride_b + h * p_.v_stride_h +
           source * p_.v_stride_s;
  }

  // store(i, channel, pack) for every pack of N channels of tokens first + i, i < count; packing:
  // as they stand in pages.
  template <int N, class Store>
  INTP_DEVICE void each_pack(bool packing, bool keys, int h, int first, int count,
                             const Store& store) const {
    using Pack = AppendPack<T, N>;
    const int frequencies = keys ? static_cast<int>(p_.rope.frequencies) : 0;
    const int rotated = frequencies / N, packs = dim_ / N - rotated;
    for (int item = threadIdx.x; item < count * packs; item += kAppendThreads) {
      const int i = item / packs, pack = item % packs, token = first + i;
      const int channel = (pack < rotated ? pack : rotated + pack) * N;
      const bool is_zero = packing && is_sink(token);
      const T* from = is_zero ? nullptr : row_of(keys, h, token);
      Pack low{}, high{};
      if (from != nullptr) {
        low = *reinterpret_cast<const Pack*>(from + channel);
        if (pack < rotated) high = *reinterpret_cast<const Pack*>(from + channel + frequencies);
      }
      if (pack < rotated) {
        if (from != nullptr && token >= p_.length) {
#pragma unroll
          for (int n = 0; n < N; ++n) {
            const SinCos at = sines(token, channel + n);
            const auto pair = rotate(static_cast<float>(low.lane[n]),
                                     static_cast<float>(high.lane[n]), at.cos, at.sin);
            low.lane[n] = static_cast<T>(pair.first);
            high.lane[n] = static_cast<T>(pair.second);
          }
        }
        store(i, channel + frequencies, high);
      }
      store(i, channel, low);
    }
  }

  template <class Store>
  INTP_DEVICE void each_pack(bool packing, bool keys, int h, int first, int count,
                             const Store& store) const {
    if (launch_.wide) {
      each_pack<kWide>(packing, keys, h, first, count, store);
    } else {
      each_pack<1>(packing, keys, h, first, count, store);
    }
  }

  // Tokens first ... of every head h, to k_to and v_to + offset(h).
  template <class Offset>
  INTP_DEVICE void write_tokens(int first, int count, void* k_to, void* v_to,
                                const Offset& offset) {
    fill_sines(first, first + count);
    for (int h = first_head(); h < end_head(); ++h) {
      for (int keys = 1; keys >= 0; --keys) {
        T* to = static_cast<T*>(keys ? k_to : v_to) + offset(h);
        each_pack(false, keys, h, first, count, [&](int i, int channel, const auto& pack) {
          using Pack = std::decay_t<decltype(pack)>;
          *reinterpret_cast<Pack*>(to + int64_t{i} * dim_ + channel) = pack;
        });
      }
    }
  }

  INTP_DEVICE void write_rows(int begin, int count) {
    const int first = launch_.first_row + begin;
    write_tokens(first, count, cache_.k_rows, cache_.v_rows, [&](int h) {
      return kv_row_offset(cache_, cached_head(h), first - p_.now_packed);
    });
  }

  INTP_DEVICE void write_sinks() {
    const NewTokens sinks = new_sinks(p_, b_);
    for (int64_t t = sinks.begin; t < sinks.end; t += kRowsOfPart) {
      __syncthreads();  // the sines before have been used
      const int first = static_cast<int>(t);
      const int count = min(kRowsOfPart, static_cast<int>(sinks.end) - first);
      write_tokens(first, count, cache_.k_sinks, cache_.v_sinks, [&](int h) {
        return sink_offset(cache_, cached_head(h), sink_slot(cache_, b_, first));
      });
    }
  }

  // --- pages -------------------------------------------------------------------------------------

  INTP_DEVICE void pack(int group) {
    const int tokens = cache_.key_group, first = group * tokens;
    const int pages = group_pages(cache_);
    fill_sines(first, first + tokens);
    for (int h = first_head(); h < end_head(); ++h) {
      for (int page = 0; page < pages; ++page) {
        load_page(true, h, first + page * kPageTokens);
        widen_key_extremes(first + page * kPageTokens, page == 0);
      }
      finish_key_qparams(h, group * pages);
      for (int page = 0; page < pages; ++page) {
        if (pages > 1) load_page(true, h, first + page * kPageTokens);
        write_key_codes(h, group * pages + page);
      }
      for (int page = 0; page < pages; ++page) {
        load_page(false, h, first + page * kPageTokens);
        find_value_qparams(h, group * pages + page);
        write_value_codes(h, group * pages + page);
      }
    }
  }

  // 64 tokens of head h into shared memory, between barriers.
  INTP_DEVICE void load_page(bool keys, int h, int first) {
    __syncthreads();  // the page before has been used
    each_pack(true, keys, h, first, kPageTokens, [&](int i, int channel, const auto& pack) {
      T* to = page_ + i * launch_.pitch + channel;
      if constexpr (sizeof(pack) >= sizeof(uint32_t)) {
        constexpr int kPair = sizeof(uint32_t) / sizeof(T);
#pragma unroll
        for (int n = 0; n < static_cast<int>(sizeof(pack) / sizeof(T)); n += kPair) {
          AppendPack<T, kPair> word;
#pragma unroll
          for (int e = 0; e < kPair; ++e) word.lane[e] = pack.lane[n + e];
          *reinterpret_cast<AppendPack<T, kPair>*>(to + n) = word;
        }
      } else {
        *to = pack.lane[0];
      }
    });
    __syncthreads();
  }

  INTP_DEVICE float element(int token, int channel) const {
    return static_cast<float>(page_[token * launch_.pitch + channel]);
  }

  struct QParams {
    T scale, zero;
  };

  // Of a group with values low <= x <= high (none if low > high); check: 0, or NaN if a value is
  // not finite.
  INTP_DEVICE QParams qparams_of(int bits, float low, float high, float check) const {
    const float largest = static_cast<float>(largest_code(bits));
    if (low > high) low = high = 0.0f;
    check += (high - low) * 0.0f;
    if (check != 0.0f) return {static_cast<T>(check), static_cast<T>(check)};
    T scale = append_round_up<T>(high / largest - low / largest);
    const T end = static_cast<T>(low + static_cast<float>(scale) * largest);
    // every code is finite
    if (static_cast<float>(end) == INFINITY) scale = append_step(scale, -1);
    return {scale, static_cast<T>(low)};
  }

  INTP_DEVICE uint32_t code_of(int bits, float x, float scale, float zero) const {
    const float code = (x - zero) / scale;
    if (!(scale > 0.0f) || !(code > 0.0f)) return 0;
    return static_cast<uint32_t>(rintf(fminf(code, static_cast<float>(largest_code(bits)))));
  }

  // Of keys: float [3, D], smallest, largest and check, then scale and zero point. A thread has the
  // same channels throughout.
  INTP_DEVICE void widen_key_extremes(int first, bool fresh) {
    for (int c = threadIdx.x; c < dim_; c += kAppendThreads) {
      float low = fresh ? INFINITY : qparams_[c];
      float high = fresh ? -INFINITY : qparams_[dim_ + c];
      float check = fresh ? 0.0f : qparams_[2 * dim_ + c];
      for (int i = 0; i < kPageTokens; ++i) {
        if (is_padding(first + i) || is_sink(first + i)) continue;
        const float x = element(i, c);
        low = fminf(low, x);
        high = fmaxf(high, x);
        check += x - x;
      }
      qparams_[c] = low;
      qparams_[dim_ + c] = high;
      qparams_[2 * dim_ + c] = check;
    }
  }

  INTP_DEVICE void finish_key_qparams(int h, int page) {
    T* to = static_cast<T*>(cache_.k_qparams) + key_qparams_offset(cache_, cached_head(h), page);
    for (int c = threadIdx.x; c < dim_; c += kAppendThreads) {
      const QParams by =
          qparams_of(cache_.key_bits, qparams_[c], qparams_[dim_ + c], qparams_[2 * dim_ + c]);
      to[c] = by.scale;
      to[dim_ + c] = by.zero;
      qparams_[c] = static_cast<float>(by.scale);
      qparams_[dim_ + c] = static_cast<float>(by.zero);
    }
    __syncthreads();
  }

  // A word, of 4 bytes of a row of cells: two lanes of two codes of every slot (common/kv_page.h).
  static constexpr int kCellWords = kCellBytes / 4;

  // code(row, word, lane, half, slot) of every code of a page [rows, words].
  template <class Code>
  INTP_DEVICE void write_codes(int bits, uint8_t* page, int rows, int words,
                               const Code& code) const {
    auto* to = reinterpret_cast<uint32_t*>(page);
    const int slots = cell_slots(bits), shared = shared_rows(bits);
    uint32_t* upper_to = to + rows * words;
    for (int i = threadIdx.x; i < rows / shared * words; i += kAppendThreads) {
      const int word = i % words;
      uint32_t upper = 0;
#pragma unroll 1  // each division inlined would be a call with registers to save
      for (int r = 0; r < shared; ++r) {
        const int row = i / words * shared + r;
        uint32_t lower = 0;
#pragma unroll 1
        for (int n = 0; n < 4 * slots; ++n) {
          const int at = n % 4 * 8, slot = n / 4;
          const uint32_t bits_of = code(row, word, n % 4 / 2, n % 2, slot) << slot * bits;
          lower |= (bits_of & 0xff) << at;
          upper |= bits_of >> 8 << (at + 4 * r);
        }
        to[row * words + word] = lower;
      }
      if (shared > 1) upper_to[i] = upper;
    }
  }

  INTP_DEVICE void write_key_codes(int h, int page) const {
    const int bits = cache_.key_bits;
    write_codes(bits, key_page(cache_, cached_head(h), page), dim_ / 2,
                key_columns(bits) * kCellWords,
                [&](int row, int word, int lane, int half, int slot) {
                  const int column = word / kCellWords, c = 2 * row + half;
                  const int token = key_token(bits, column, slot, word % kCellWords * 2 + lane);
                  return code_of(bits, element(token, c), qparams_[c], qparams_[dim_ + c]);
                });
  }

  // Of values: float [value groups, 2, 64].
  INTP_DEVICE void find_value_qparams(int h, int page) {
    const int width = cache_.value_group, groups = value_groups(dim_, width);
    T* to =
        static_cast<T*>(cache_.v_qparams) + value_qparams_offset(cache_, cached_head(h), page, 0);
    for (int i = threadIdx.x; i < groups * kPageTokens; i += kAppendThreads) {
      const int group = i / kPageTokens, token = i % kPageTokens;
      float low = INFINITY, high = -INFINITY, check = 0.0f;
      for (int c = group * width; c < min((group + 1) * width, dim_); ++c) {
        const float x = element(token, c);
        low = fminf(low, x);
        high = fmaxf(high, x);
        check += x - x;
      }
      const QParams by = qparams_of(cache_.value_bits, low, high, check);
      const int at = group * 2 * kPageTokens + token;
      to[at] = by.scale;
      to[at + kPageTokens] = by.zero;
      qparams_[at] = static_cast<float>(by.scale);
      qparams_[at + kPageTokens] = static_cast<float>(by.zero);
    }
    __syncthreads();
  }

  INTP_DEVICE void write_value_codes(int h, int page) const {
    const int bits = cache_.value_bits, slots = cell_slots(bits);
    write_codes(bits, value_page(cache_, cached_head(h), page), kPageTokens / 2 / slots, dim_ / 2,
                [&](int row, int word, int lane, int half, int slot) {
                  const int token = 2 * (row * slots + slot) + half, channel = 2 * word + lane;
                  const float* by = qparams_ + channel / cache_.value_group * 2 * kPageTokens;
                  return code_of(bits, element(token, channel), by[token], by[kPageTokens + token]);
                });
  }

  const AppendLaunch& launch_;
  const KvAppendParams& p_;
  const KvCache& cache_;
  const int dim_, b_;
  SinCos* const sines_;
  float* const qparams_;
  T* const page_;
  int lo_, hi_;  // tokens outside are padding
  int sines_begin_ = 0;
};

// Grid: parts x shares of the heads x batch.
template <class T>
__global__ void __launch_bounds__(kAppendThreads, 7)
    append_kernel(const __grid_constant__ AppendLaunch launch) {
  AppendBlock<T>(launch).run();
}

}  // namespace intp::cuda
