#include <limits>
#include <vector>

#include "cpu/simd_math.h"
#include "cpu/with_type.h"
#include "kv_append/params.h"
#include "rope/cpu/rotate.h"

namespace intp::cpu::INTP_CPU_LEVEL {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The smallest T that is at least x >= 0, as float.
template <class T>
inline Floats round_up(Floats x) {
  if constexpr (std::is_same_v<T, Float32>) {
    return x;
  } else {
    T near[kWidth];
    store(near, x);
    const Floats rounded = load(near);
    for (int i = 0; i < kWidth; ++i) near[i].bits += rounded[i] < x[i];
    return load(near);
  }
}

struct Range {
  Floats zero, scale;
};

// Of groups whose smallest and largest values are low and high, infinite where a group is empty.
template <class T>
inline Range range_of(Floats low, Floats high, float largest) {
  const auto some = low <= high;
  low = some ? low : Floats{};
  high = some ? high : Floats{};
  return {low, round_up<T>(high / largest - low / largest)};
}

// What is rounded to an infinite T, and values below which no range ends there.
template <class T>
constexpr float kBeyond = std::is_same_v<T, Float32>    ? kInfinity
                          : std::is_same_v<T, BFloat16> ? 0x1.ffp+127f
                                                        : 65520.0f;
template <class T>
constexpr float kNearBeyond = std::is_same_v<T, Float16> ? 64000.0f : 3.3e38f;

// The next smaller T as scale where the last code would be infinite.
template <class T>
inline Range finite_range(const Range& range, float largest) {
  constexpr int kDigit = std::is_same_v<T, Float32> ? 0 : std::is_same_v<T, BFloat16> ? 16 : 13;
  const Words beyond = bit_cast<Words>(range.zero + range.scale * largest >= kBeyond<T>);
  return {range.zero, bit_cast<Floats>(bit_cast<Words>(range.scale) - (beyond & 1u << kDigit))};
}

inline Words code_of(Floats x, const Range& range, float largest) {
  constexpr float kRoundToInteger = 0x1.8p+23f;  // adding it leaves the integer in the low bits
  Floats code = (x - range.zero) / range.scale;
  code = range.scale > 0.0f ? code : Floats{};
  code = code > 0.0f ? code : Floats{};
  code = code < largest ? code : broadcast(largest);
  return bit_cast<Words>(code + kRoundToInteger) & 0xff;
}

inline Floats least_of(Floats a, Floats b) { return a < b ? a : b; }
inline Floats most_of(Floats a, Floats b) { return a > b ? a : b; }

inline bool all_zero(Floats x) {
  bool good = true;
  for (int i = 0; i < kWidth; ++i) good &= x[i] == 0.0f;
  return good;
}

// The sines of a run of new tokens, for all heads.
class Table {
 public:
  Table(const KvAppend& p, int64_t b, int64_t first, int64_t count)
      : frequencies_(p.rope.frequencies), count_(count), values_(2 * count * frequencies_) {
    if (!values_.empty()) {
      fill_table(p.rope, b, first - p.length, count, values_.data(), values_.data() + size());
    }
  }
  const float* cos(int64_t i) const { return values_.data() + i * frequencies_; }
  const float* sin(int64_t i) const { return values_.data() + size() + i * frequencies_; }

 private:
  int64_t size() const { return count_ * frequencies_; }
  int64_t frequencies_, count_;
  std::vector<float> values_;
};

template <class T>
class Append {
 public:
  Append(const KvAppend& p, int64_t b)
      : p_(p),
        b_(b),
        dim_(p.cache.head_dim),
        lo_(p.bounds ? p.bounds[2 * b] : 0),
        hi_(p.bounds ? p.bounds[2 * b + 1] : p.length + p.count) {}

  bool write(int64_t first, int64_t count, T* k, T* v, int64_t head_stride) const {
    const Table table(p_, b_, first, count);
    Floats strange{};
    for (int64_t h = 0; h < p_.cache.heads; ++h) {
      for (int64_t i = 0; i < count; ++i) {
        T* key = k + h * head_stride + i * dim_;
        T* value = v + h * head_stride + i * dim_;
        new_token(h, first + i, table, i, key, value);
        if (p_.cache.bits == 16) continue;  // stored as is
        for (const T* row : {key, value}) strange += strangeness(row);
      }
    }
    return all_zero(strange);
  }

  // Tokens of a group as floats, then codes, then cells, one head after the other.
  bool pack(int64_t group) const {
    const KvCache& cache = p_.cache;
    const int64_t tokens = cache.key_group, first = group * tokens;
    const int64_t fresh = first > p_.length ? first : p_.length;  // the first new token
    const Table table(p_, b_, fresh, first + tokens - fresh);
    std::vector<float> k(tokens * dim_), v(tokens * dim_);
    std::vector<uint8_t> codes(kPageTokens * dim_), pairs(kPageTokens * dim_);
    std::vector<T> row(2 * dim_);
    bool good = true;
    for (int64_t h = 0; h < cache.heads; ++h) {
      const int64_t head = b_ * cache.heads + h;
      for (int64_t t = 0; t < tokens; ++t) {
        const T* key = row.data();
        const T* value = row.data() + dim_;
        if (first + t < p_.length) {  // the unfinished group begins with row 0
          const int64_t at = (head * cache.row_capacity + t) * dim_;
          key = static_cast<const T*>(cache.k_rows) + at;
          value = static_cast<const T*>(cache.v_rows) + at;
        } else {
          new_token(h, first + t, table, first + t - fresh, row.data(), row.data() + dim_);
        }
        for (int64_t c = 0; c < dim_; c += kWidth) {
          store_floats(&k[t * dim_ + c], load(key + c));
          store_floats(&v[t * dim_ + c], load(value + c));
        }
      }
      good &= pack_keys(head, group, k.data(), codes.data(), pairs.data());
      good &= pack_values(head, group, v.data(), codes.data(), pairs.data());
    }
    return good;
  }

 private:
  bool kept(int64_t t) const { return lo_ <= t && t < hi_; }

  // Zero in every lane, or NaN.
  Floats strangeness(const T* row) const {
    Floats sum{};
    for (int64_t c = 0; c < dim_; c += kWidth) {
      const Floats x = load(row + c);
      sum += x - x;
    }
    return sum;
  }

  // Token t of head h: entry i of the table.
  void new_token(int64_t h, int64_t t, const Table& table, int64_t i, T* key, T* value) const {
    if (!kept(t)) {  // whatever padding holds, nothing of it is kept
      memset(key, 0, dim_ * sizeof(T));
      memset(value, 0, dim_ * sizeof(T));
      return;
    }
    const RopeTensor& k = p_.rope.tensors[0];
    const int64_t source = source_row(p_.rope.order, b_, t - p_.length);
    const T* from = static_cast<const T*>(k.in) + b_ * k.in_stride_b + h * k.in_stride_h +
                    source * k.in_stride_s;
    rotate_row<false>(from, key, table.cos(i), table.sin(i), p_.rope.frequencies, dim_);
    from = static_cast<const T*>(p_.v) + b_ * p_.v_stride_b + h * p_.v_stride_h +
           source * p_.v_stride_s;
    memcpy(value, from, dim_ * sizeof(T));
  }

  // k [key_group, D]
  bool pack_keys(int64_t head, int64_t group, const float* k, uint8_t* codes,
                 uint8_t* pairs) const {
    const KvCache& cache = p_.cache;
    const float largest = static_cast<float>(largest_code(cache.bits));
    const int64_t tokens = cache.key_group, pages = tokens / kPageTokens;
    T* ranges =
        static_cast<T*>(cache.k_ranges) + (head * (cache.page_capacity / pages) + group) * 2 * dim_;
    bool some = false;
    for (int64_t t = 0; t < tokens; ++t) some |= kept(group * tokens + t);
    Floats strange{};
    std::vector<Range> range(dim_ / kWidth);
    for (int64_t c = 0; c < dim_; c += kWidth) {
      Floats low = broadcast(kInfinity), high = broadcast(-kInfinity);
      for (int64_t t = 0; t < tokens; ++t) {
        if (!kept(group * tokens + t)) continue;
        const Floats x = load_floats(k + t * dim_ + c);
        low = least_of(low, x);
        high = most_of(high, x);
        strange += x - x;
      }
      Range& found = range[c / kWidth];
      found = finite_range<T>(range_of<T>(low, high, largest), largest);
      if (some) strange += (high - low) * 0.0f;  // NaN where a range is not finite
      store(ranges + c, found.scale);
      store(ranges + dim_ + c, found.zero);
    }
    for (int64_t page = 0; page < pages; ++page) {
      for (int64_t t = 0; t < kPageTokens; ++t) {
        const float* row = k + (page * kPageTokens + t) * dim_;
        for (int64_t c = 0; c < dim_; c += kWidth) {
          store_codes(codes + t * dim_ + c,
                      code_of(load_floats(row + c), range[c / kWidth], largest));
        }
      }
      // [64, D / 2] pairs of channels to [D / 2, 64]
      for (int64_t t = 0; t < kPageTokens; ++t) {
        for (int64_t r = 0; r < dim_ / 2; ++r) {
          memcpy(pairs + (r * kPageTokens + t) * 2, codes + t * dim_ + 2 * r, 2);
        }
      }
      // slots of a cell: 32 bytes apart
      write_cells(pairs, kCellBytes, 1,
                  cache.k_codes + (head * cache.page_capacity + group * pages + page) *
                                      page_bytes(cache.bits, dim_));
    }
    return all_zero(strange);
  }

  // v [key_group, D]
  bool pack_values(int64_t head, int64_t group, const float* v, uint8_t* codes,
                   uint8_t* pairs) const {
    const KvCache& cache = p_.cache;
    const float largest = static_cast<float>(largest_code(cache.bits));
    const int64_t pages = cache.key_group / kPageTokens;
    const int64_t groups = value_groups(dim_, cache.value_group);
    bool good = true;
    for (int64_t page = 0; page < pages; ++page) {
      const int64_t index = head * cache.page_capacity + group * pages + page;
      T* ranges = static_cast<T*>(cache.v_ranges) + index * groups * 2 * kPageTokens;
      for (int64_t t = 0; t < kPageTokens; ++t) {
        const float* row = v + (page * kPageTokens + t) * dim_;
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t begin = g * cache.value_group;
          const int64_t end = begin + cache.value_group < dim_ ? begin + cache.value_group : dim_;
          Floats low = broadcast(kInfinity), high = broadcast(-kInfinity), strange{};
          for (int64_t c = begin; c < end; c += kWidth) {
            const Floats x = load_floats(row + c);
            low = least_of(low, x);
            high = most_of(high, x);
            strange += x - x;
          }
          const float least = -lane_max(-low), most = lane_max(high);
          good &= all_zero(strange + (most - least) * 0.0f);
          Range range = range_of<T>(broadcast(least), broadcast(most), largest);
          if (most >= kNearBeyond<T>) range = finite_range<T>(range, largest);
          store_one(ranges + (g * 2 + 0) * kPageTokens + t, range.scale[0]);
          store_one(ranges + (g * 2 + 1) * kPageTokens + t, range.zero[0]);
          for (int64_t c = begin; c < end; c += kWidth) {
            store_codes(codes + t * dim_ + c, code_of(load_floats(row + c), range, largest));
          }
        }
      }
      // tokens 2 r and 2 r + 1 side by side
      for (int64_t r = 0; r < kPageTokens / 2; ++r) {
        const uint8_t* first = codes + 2 * r * dim_;
        for (int64_t c = 0; c < dim_; ++c) {
          pairs[2 * (r * dim_ + c)] = first[c];
          pairs[2 * (r * dim_ + c) + 1] = first[dim_ + c];
        }
      }
      // slots of a cell: a row of D / 16 cells apart
      write_cells(pairs, 2 * dim_, dim_ / kCellLanes,
                  cache.v_codes + index * page_bytes(cache.bits, dim_));
    }
    return good;
  }

  static void store_codes(uint8_t* y, Words codes) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm512_cvtepi32_epi8(bit_cast<__m512i>(codes));
    memcpy(y, &bytes, sizeof bytes);
#else
    for (int i = 0; i < kWidth; ++i) y[i] = static_cast<uint8_t>(codes[i]);
#endif
  }

  // Codes, one a byte, in runs of 8 / bits x `columns` cells that share their bytes; slots of a
  // cell `stride` bytes apart.
  void write_cells(const uint8_t* pairs, int64_t stride, int64_t columns, uint8_t* page) const {
    const int64_t bits = p_.cache.bits, slots = 8 / bits, bytes = columns * kCellBytes;
    for (int64_t at = 0; at < kPageTokens * dim_; at += slots * bytes) {
      const uint8_t* from = pairs + at;
      for (int64_t i = 0; i < bytes; ++i) {
        uint8_t packed = from[i];
        for (int64_t s = 1; s < slots; ++s) {
          packed = static_cast<uint8_t>(packed | from[s * stride + i] << s * bits);
        }
        *page++ = packed;
      }
    }
  }

  const KvAppend& p_;
  const int64_t b_, dim_, lo_, hi_;
};

}  // namespace

bool pack_group(const KvAppend& append, int64_t b, int64_t group) {
  return with_type(append.cache.type,
                   [&](auto type) { return Append<decltype(type)>(append, b).pack(group); });
}

bool write_tokens(const KvAppend& append, int64_t b, int64_t first, int64_t count, void* k, void* v,
                  int64_t head_stride) {
  return with_type(append.cache.type, [&](auto type) {
    using T = decltype(type);
    return Append<T>(append, b).write(first, count, static_cast<T*>(k), static_cast<T*>(v),
                                      head_stride);
  });
}

}  // namespace intp::cpu::INTP_CPU_LEVEL
