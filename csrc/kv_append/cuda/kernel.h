#pragma once

// The kernel of kv_append: gather, turn, quantise, write, in one pass over k and v.
//
// A block has one part of the new tokens of a batch row, for some of its heads: a group that is
// complete now, which becomes pages, or a run of tokens that stay rows. The first group takes what
// was unfinished from the rows of the cache; the tokens after the last group go to the same rows,
// so the block that has read them writes them.

#include <cmath>

#include "cuda/launch.h"
#include "kv_append/params.h"

namespace intp::cuda {

constexpr int kAppendThreads = 128;
constexpr int kRowsOfPart = 32;  // tokens of a block where nothing is packed
constexpr int kAppendPage = static_cast<int>(kPageTokens);

// What every block is given; shared memory is, one after the other, sines float2 [table, F], ranges
// float [range_floats] and a page T [64, pitch].
struct AppendTask {
  KvAppend append;
  int packed_before, packed;  // tokens in pages before the call and after it
  int first_group, groups;    // complete now
  int group_capacity;         // of k_ranges, a head
  int value_groups;
  int first_row;  // first new token that stays a row
  int rows;       // so many of them
  int row_parts;  // blocks that share them; 0 where the first group's block has them
  int heads;      // of a block
  int table;      // tokens whose sines are kept; 0: computed anew for every head
  int range_floats;
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
  INTP_DEVICE explicit AppendBlock(const AppendTask& task)
      : task_(task),
        p_(task.append),
        cache_(task.append.cache),
        dim_(static_cast<int>(cache_.head_dim)),
        b_(static_cast<int>(blockIdx.z)),
        sines_(static_cast<float2*>(dynamic_shared())),
        ranges_(reinterpret_cast<float*>(sines_ + task.table * p_.rope.frequencies)),
        page_(reinterpret_cast<T*>(ranges_ + task.range_floats)) {
    lo_ = p_.bounds ? p_.bounds[2 * b_] : 0;
    hi_ = p_.bounds ? p_.bounds[2 * b_ + 1] : static_cast<int>(p_.length + p_.count);
  }

  INTP_DEVICE void run() {
    const int part = static_cast<int>(blockIdx.x);
    if (part < task_.groups) {
      pack(task_.first_group + part);
      if (part == 0 && task_.row_parts == 0) write_rows(0, task_.rows);
    } else {
      const int first = (part - task_.groups) * kRowsOfPart;
      write_rows(first, min(kRowsOfPart, task_.rows - first));
    }
  }

 private:
  INTP_DEVICE int first_head() const { return static_cast<int>(blockIdx.y) * task_.heads; }
  INTP_DEVICE int end_head() const {
    return min(first_head() + task_.heads, static_cast<int>(cache_.heads));
  }
  INTP_DEVICE int64_t cached_head(int h) const { return b_ * cache_.heads + h; }
  INTP_DEVICE bool kept(int t) const { return lo_ <= t && t < hi_; }

  // --- sines -------------------------------------------------------------------------------------

  INTP_DEVICE float2 turn_of(int token, int f) const {
    const RopeParams& rope = p_.rope;
    const int axis = rope.axes == 1 ? 0 : rope_axis(rope.sections, f);
    const int64_t at = axis * rope.position_stride_a + b_ * rope.position_stride_b +
                       (token - p_.length) * rope.position_stride_s;
    const float position = load_position(rope.positions, rope.position_type, at);
    const SinCos turn = sincos(rope_angle(position, rope.inv_freq[f]));
    return {turn.cos * rope.scaling, turn.sin * rope.scaling};
  }

  // Of new tokens begin <= t < end, for all heads. Ends with a barrier.
  INTP_DEVICE void fill_sines(int begin, int end) {
    begin = max(begin, static_cast<int>(p_.length));
    sines_begin_ = begin;
    const int frequencies = static_cast<int>(p_.rope.frequencies);
    if (task_.table > 0) {
      for (int i = threadIdx.x; i < (end - begin) * frequencies; i += kAppendThreads) {
        sines_[i] = turn_of(begin + i / frequencies, i % frequencies);
      }
    }
    __syncthreads();
  }

  INTP_DEVICE float2 sines(int token, int f) const {
    if (task_.table == 0) return turn_of(token, f);
    return sines_[(token - sines_begin_) * static_cast<int>(p_.rope.frequencies) + f];
  }

  // --- tokens, as they are cached unpacked -------------------------------------------------------

  // nullptr: zeros, of padding or of a row that order does not have.
  INTP_DEVICE const T* row_of(bool keys, int h, int token) const {
    if (!kept(token)) return nullptr;
    const RopeTensor& k = p_.rope.tensors[0];
    if (token < p_.length) {  // of the unfinished group, which begins with row 0
      const void* rows = keys ? cache_.k_rows : cache_.v_rows;
      const int64_t row = token - task_.packed_before;
      return static_cast<const T*>(rows) + (cached_head(h) * cache_.row_capacity + row) * dim_;
    }
    const int64_t source = source_row(p_.rope.order, b_, token - p_.length);
    if (source < 0 || source >= p_.rope.rows) return nullptr;
    if (keys) {
      return static_cast<const T*>(k.in) + b_ * k.in_stride_b + h * k.in_stride_h +
             source * k.in_stride_s;
    }
    return static_cast<const T*>(p_.v) + b_ * p_.v_stride_b + h * p_.v_stride_h +
           source * p_.v_stride_s;
  }

  // store(i, channel, pack) for every pack of N channels of tokens first + i, i < count.
  template <int N, class Store>
  INTP_DEVICE void each_pack(bool keys, int h, int first, int count, const Store& store) const {
    using Pack = AppendPack<T, N>;
    const int frequencies = keys ? static_cast<int>(p_.rope.frequencies) : 0;
    const int turned = frequencies / N, packs = dim_ / N - turned;
    for (int item = threadIdx.x; item < count * packs; item += kAppendThreads) {
      const int i = item / packs, pack = item % packs, token = first + i;
      const int channel = (pack < turned ? pack : turned + pack) * N;
      const T* from = row_of(keys, h, token);
      Pack low{}, high{};
      if (from != nullptr) {
        low = *reinterpret_cast<const Pack*>(from + channel);
        if (pack < turned) high = *reinterpret_cast<const Pack*>(from + channel + frequencies);
      }
      if (pack < turned) {
        if (from != nullptr && token >= p_.length) {
#pragma unroll
          for (int n = 0; n < N; ++n) {
            const float2 turn = sines(token, channel + n);
            const float u = static_cast<float>(low.lane[n]), w = static_cast<float>(high.lane[n]);
            low.lane[n] = static_cast<T>(u * turn.x - w * turn.y);
            high.lane[n] = static_cast<T>(w * turn.x + u * turn.y);
          }
        }
        store(i, channel + frequencies, high);
      }
      store(i, channel, low);
    }
  }

  template <class Store>
  INTP_DEVICE void each_pack(bool keys, int h, int first, int count, const Store& store) const {
    if (task_.wide) {
      each_pack<kWide>(keys, h, first, count, store);
    } else {
      each_pack<1>(keys, h, first, count, store);
    }
  }

  // After pack(), whose last barrier comes when the rows and sines that it needs have been read.
  INTP_DEVICE void write_rows(int begin, int count) {
    const int first = task_.first_row + begin;
    fill_sines(first, first + count);
    const int64_t place = first - task_.packed;
    for (int h = first_head(); h < end_head(); ++h) {
      for (int keys = 1; keys >= 0; --keys) {
        T* rows = static_cast<T*>(keys ? cache_.k_rows : cache_.v_rows) +
                  (cached_head(h) * cache_.row_capacity + place) * dim_;
        each_pack(keys, h, first, count, [&](int i, int channel, const auto& pack) {
          using Pack = std::decay_t<decltype(pack)>;
          *reinterpret_cast<Pack*>(rows + int64_t{i} * dim_ + channel) = pack;
        });
      }
    }
  }

  // --- pages -------------------------------------------------------------------------------------

  INTP_DEVICE void pack(int group) {
    const int tokens = static_cast<int>(cache_.key_group), first = group * tokens;
    const int pages = tokens / kAppendPage;
    fill_sines(first, first + tokens);
    for (int h = first_head(); h < end_head(); ++h) {
      for (int page = 0; page < pages; ++page) {
        load_page(true, h, first + page * kAppendPage);
        widen_key_ranges(first + page * kAppendPage, page == 0);
      }
      finish_key_ranges(h, group);
      for (int page = 0; page < pages; ++page) {
        if (pages > 1) load_page(true, h, first + page * kAppendPage);
        write_key_codes(h, group * pages + page);
      }
      for (int page = 0; page < pages; ++page) {
        load_page(false, h, first + page * kAppendPage);
        find_value_ranges(h, group * pages + page);
        write_value_codes(h, group * pages + page);
      }
    }
  }

  // 64 tokens of head h into shared memory, between barriers.
  INTP_DEVICE void load_page(bool keys, int h, int first) {
    __syncthreads();  // the page before has been used
    each_pack(keys, h, first, kAppendPage, [&](int i, int channel, const auto& pack) {
      T* to = page_ + i * task_.pitch + channel;
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
    return static_cast<float>(page_[token * task_.pitch + channel]);
  }
  INTP_DEVICE float largest() const { return static_cast<float>(largest_code(cache_.bits)); }

  struct Range {
    T scale, zero;
  };

  // Of a group with values low <= x <= high, none where low > high; strange: 0, or NaN.
  INTP_DEVICE Range range_of(float low, float high, float strange) const {
    if (low > high) low = high = 0.0f;
    strange += (high - low) * 0.0f;
    if (strange != 0.0f) return {static_cast<T>(strange), static_cast<T>(strange)};
    T scale = append_round_up<T>(high / largest() - low / largest());
    const T end = static_cast<T>(low + static_cast<float>(scale) * largest());
    if (static_cast<float>(end) == INFINITY)
      scale = append_step(scale, -1);  // every code is finite
    return {scale, static_cast<T>(low)};
  }

  INTP_DEVICE uint32_t code_of(float x, float scale, float zero) const {
    const float code = (x - zero) / scale;
    if (!(scale > 0.0f) || !(code > 0.0f)) return 0;
    return static_cast<uint32_t>(rintf(fminf(code, largest())));
  }

  // Of keys: float [3, D], smallest, largest and strange, then scale and zero. A thread has the
  // same channels throughout.
  INTP_DEVICE void widen_key_ranges(int first, bool fresh) {
    for (int c = threadIdx.x; c < dim_; c += kAppendThreads) {
      float low = fresh ? INFINITY : ranges_[c];
      float high = fresh ? -INFINITY : ranges_[dim_ + c];
      float strange = fresh ? 0.0f : ranges_[2 * dim_ + c];
      for (int i = 0; i < kAppendPage; ++i) {
        if (!kept(first + i)) continue;
        const float x = element(i, c);
        low = fminf(low, x);
        high = fmaxf(high, x);
        strange += x - x;
      }
      ranges_[c] = low;
      ranges_[dim_ + c] = high;
      ranges_[2 * dim_ + c] = strange;
    }
  }

  INTP_DEVICE void finish_key_ranges(int h, int group) {
    T* to = static_cast<T*>(cache_.k_ranges) +
            (cached_head(h) * task_.group_capacity + group) * 2 * dim_;
    for (int c = threadIdx.x; c < dim_; c += kAppendThreads) {
      const Range range = range_of(ranges_[c], ranges_[dim_ + c], ranges_[2 * dim_ + c]);
      to[c] = range.scale;
      to[dim_ + c] = range.zero;
      ranges_[c] = static_cast<float>(range.scale);
      ranges_[dim_ + c] = static_cast<float>(range.zero);
    }
    __syncthreads();
  }

  INTP_DEVICE uint32_t* page_words(uint8_t* codes, int h, int page) const {
    return reinterpret_cast<uint32_t*>(codes + (cached_head(h) * cache_.page_capacity + page) *
                                                   page_bytes(cache_.bits, dim_));
  }

  // A word has, of each slot, two lanes of two codes: common/kv_page.h.
  INTP_DEVICE void write_key_codes(int h, int page) const {
    const int bits = static_cast<int>(cache_.bits), slots = 8 / bits;
    uint32_t* to = page_words(cache_.k_codes, h, page);
    const int row_words = 4 * bits;  // of two channels and 64 tokens
    for (int i = threadIdx.x; i < dim_ / 2 * row_words; i += kAppendThreads) {
      const int channel = i / row_words * 2, cell = i % row_words / 8, lane = i % 8 * 2;
      uint32_t word = 0;
#pragma unroll 1  // each division inlined would be a call with registers to save
      for (int n = 0; n < 4 * slots; ++n) {
        const int slot = n / 4, token = 16 * (cell * slots + slot) + lane + n % 4 / 2;
        const int c = channel + n % 2;
        word |= code_of(element(token, c), ranges_[c], ranges_[dim_ + c])
                << (n % 4 * 8 + slot * bits);
      }
      to[i] = word;
    }
  }

  // Of values: float [value groups, 2, 64].
  INTP_DEVICE void find_value_ranges(int h, int page) {
    const int width = static_cast<int>(cache_.value_group);
    const int groups = task_.value_groups;
    T* to = static_cast<T*>(cache_.v_ranges) +
            (cached_head(h) * cache_.page_capacity + page) * groups * 2 * kAppendPage;
    for (int i = threadIdx.x; i < groups * kAppendPage; i += kAppendThreads) {
      const int group = i / kAppendPage, token = i % kAppendPage;
      float low = INFINITY, high = -INFINITY, strange = 0.0f;
      for (int c = group * width; c < min((group + 1) * width, dim_); ++c) {
        const float x = element(token, c);
        low = fminf(low, x);
        high = fmaxf(high, x);
        strange += x - x;
      }
      const Range range = range_of(low, high, strange);
      const int at = group * 2 * kAppendPage + token;
      to[at] = range.scale;
      to[at + kAppendPage] = range.zero;
      ranges_[at] = static_cast<float>(range.scale);
      ranges_[at + kAppendPage] = static_cast<float>(range.zero);
    }
    __syncthreads();
  }

  INTP_DEVICE void write_value_codes(int h, int page) const {
    const int bits = static_cast<int>(cache_.bits), slots = 8 / bits;
    const int width = static_cast<int>(cache_.value_group), row_words = dim_ / 2;
    uint32_t* to = page_words(cache_.v_codes, h, page);
    for (int i = threadIdx.x; i < kAppendPage / 2 / slots * row_words; i += kAppendThreads) {
      const int pair = i / row_words * slots, channel = i % row_words * 2;
      const float* range = ranges_ + channel / width * 2 * kAppendPage;
      uint32_t word = 0;
#pragma unroll 1
      for (int n = 0; n < 4 * slots; ++n) {
        const int slot = n / 4, token = 2 * (pair + slot) + n % 2;
        const float x = element(token, channel + n % 4 / 2);
        word |= code_of(x, range[token], range[kAppendPage + token]) << (n % 4 * 8 + slot * bits);
      }
      to[i] = word;
    }
  }

  const AppendTask& task_;
  const KvAppend& p_;
  const KvCache& cache_;
  const int dim_, b_;
  float2* const sines_;
  float* const ranges_;
  T* const page_;
  int lo_, hi_;  // tokens outside are padding
  int sines_begin_ = 0;
};

// Grid: parts x shares of the heads x batch.
template <class T>
__global__ void __launch_bounds__(kAppendThreads, 4)
    append_kernel(const __grid_constant__ AppendTask task) {
  AppendBlock<T>(task).run();
}

}  // namespace intp::cuda
