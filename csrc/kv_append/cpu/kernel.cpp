#include "kv_append/cpu/kernel.h"

#include <algorithm>
#include <vector>

#include "cpu/with_type.h"
#include "kv_append/cpu/quantize.h"
#include "rope/cpu/rotate.h"

namespace intp::cpu::INTP_CPU_TARGET {
namespace {

// The sines of the new ones of a run of tokens, for all heads.
class Table {
 public:
  Table(const KvAppendParams& p, int64_t b, int64_t first, int64_t count)
      : frequencies_(p.rope.frequencies),
        begin_(std::max(first, p.length)),
        count_(std::max(first + count - begin_, int64_t{0})),
        values_(2 * count_ * frequencies_) {
    if (!values_.empty()) {
      fill_table(p.rope, b, begin_ - p.length, count_, values_.data(), values_.data() + size());
    }
  }
  const float* cos(int64_t t) const { return values_.data() + (t - begin_) * frequencies_; }
  const float* sin(int64_t t) const { return cos(t) + size(); }

 private:
  int64_t size() const { return count_ * frequencies_; }
  int64_t frequencies_, begin_, count_;
  std::vector<float> values_;
};

template <class T>
class Append {
 public:
  Append(const KvAppendParams& p, int64_t b)
      : p_(p),
        b_(b),
        dim_(p.cache.head_dim),
        lo_(p.valid ? p.valid[2 * b] : 0),
        hi_(p.valid ? p.valid[2 * b + 1] : p.length + p.count) {}

  bool write(int64_t first, int64_t count, T* k, T* v, int64_t head_stride) const {
    const Table table(p_, b_, first, count);
    FiniteCheck finite;
    for (int64_t h = 0; h < p_.cache.heads; ++h) {
      for (int64_t i = 0; i < count; ++i) {
        T* key = k + h * head_stride + i * dim_;
        T* value = v + h * head_stride + i * dim_;
        put_token(h, first + i, table, key, value);
        if (p_.cache.key_bits == 16) continue;  // stored as is
        for (int64_t c = 0; c < dim_; c += kWidth) {
          finite.add(load(key + c));
          finite.add(load(value + c));
        }
      }
    }
    return finite.passed();
  }

  // Tokens of a group as floats, then codes, then cells, one head after the other.
  bool pack(int64_t group) const {
    const KvCache& cache = p_.cache;
    const int64_t tokens = cache.key_group, first = group * tokens;
    const Table table(p_, b_, first, tokens);
    std::vector<float> k(tokens * dim_), v(tokens * dim_);
    std::vector<uint8_t> codes(kPageTokens * dim_), pairs(kPageTokens * dim_);
    std::vector<T> row(2 * dim_);
    bool good = true;
    T* const key = row.data();
    T* const value = row.data() + dim_;
    for (int64_t h = 0; h < cache.heads; ++h) {
      const int64_t head = b_ * cache.heads + h;
      for (int64_t t = 0; t < tokens; ++t) {
        if (is_sink(cache, b_, first + t)) {
          std::fill(row.begin(), row.end(), T{});
        } else {
          put_token(h, first + t, table, key, value);
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
  bool is_padding(int64_t t) const { return t < lo_ || hi_ <= t; }
  bool is_outside_ranges(int64_t t) const { return is_padding(t) || is_sink(p_.cache, b_, t); }

  // Token t of head h, as it is cached unpacked.
  void put_token(int64_t h, int64_t t, const Table& table, T* key, T* value) const {
    if (t < p_.length) {
      const int64_t at = kv_row_offset(p_.cache, b_ * p_.cache.heads + h, t - p_.packed);
      memcpy(key, static_cast<const T*>(p_.k_old) + at, dim_ * sizeof(T));
      memcpy(value, static_cast<const T*>(p_.v_old) + at, dim_ * sizeof(T));
      return;
    }
    if (is_padding(t)) {  // whatever it holds, zeros are cached
      memset(key, 0, dim_ * sizeof(T));
      memset(value, 0, dim_ * sizeof(T));
      return;
    }
    const RopeTensor& k = p_.rope.tensors[0];
    const int64_t source = source_row(p_.rope.order, b_, t - p_.length);
    const T* from = static_cast<const T*>(k.in) + b_ * k.in_stride_b + h * k.in_stride_h +
                    source * k.in_stride_s;
    rotate_row<false>(from, key, table.cos(t), table.sin(t), p_.rope.frequencies, dim_);
    from = static_cast<const T*>(p_.v) + b_ * p_.v_stride_b + h * p_.v_stride_h +
           source * p_.v_stride_s;
    memcpy(value, from, dim_ * sizeof(T));
  }

  // k [key_group, D]
  bool pack_keys(int64_t head, int64_t group, const float* k, uint8_t* codes,
                 uint8_t* pairs) const {
    const KvCache& cache = p_.cache;
    const float largest = static_cast<float>(largest_code(cache.key_bits));
    const int64_t tokens = cache.key_group, pages = tokens / kPageTokens;
    T* qparams = static_cast<T*>(cache.k_qparams) + key_qparams_offset(cache, head, group * pages);
    bool some = false;
    for (int64_t t = 0; t < tokens; ++t) some |= !is_outside_ranges(group * tokens + t);
    FiniteCheck finite;
    std::vector<QParams> found(dim_ / kWidth);
    for (int64_t c = 0; c < dim_; c += kWidth) {
      Floats low = broadcast(kInfinity), high = broadcast(-kInfinity);
      for (int64_t t = 0; t < tokens; ++t) {
        if (is_outside_ranges(group * tokens + t)) continue;
        const Floats x = load_floats(k + t * dim_ + c);
        low = smaller(low, x);
        high = larger(high, x);
        finite.add(x);
      }
      QParams& by = found[c / kWidth];
      by = finite_qparams<T>(qparams_of<T>(low, high, largest), largest);
      if (some) finite.add(high - low);
      store(qparams + c, by.scale);
      store(qparams + dim_ + c, by.zero);
    }
    for (int64_t page = 0; page < pages; ++page) {
      for (int64_t t = 0; t < kPageTokens; ++t) {
        const float* row = k + (page * kPageTokens + t) * dim_;
        for (int64_t c = 0; c < dim_; c += kWidth) {
          store_bytes(codes + t * dim_ + c,
                      code_of(load_floats(row + c), found[c / kWidth], largest));
        }
      }
      // [64, D / 2] pairs of channels to [D / 2, 64]
      for (int64_t t = 0; t < kPageTokens; ++t) {
        for (int64_t r = 0; r < dim_ / 2; ++r) {
          memcpy(pairs + (r * kPageTokens + t) * 2, codes + t * dim_ + 2 * r, 2);
        }
      }
      // slots of a cell: 32 bytes apart
      write_cells(cache.key_bits, pairs, kCellBytes, 1,
                  key_page(cache, head, group * pages + page));
    }
    return finite.passed();
  }

  // v [key_group, D]
  bool pack_values(int64_t head, int64_t group, const float* v, uint8_t* codes,
                   uint8_t* pairs) const {
    const KvCache& cache = p_.cache;
    const float largest = static_cast<float>(largest_code(cache.value_bits));
    const int64_t pages = cache.key_group / kPageTokens;
    const int64_t groups = value_groups(dim_, cache.value_group);
    FiniteCheck finite;
    for (int64_t page = 0; page < pages; ++page) {
      const int64_t index = group * pages + page;
      T* qparams = static_cast<T*>(cache.v_qparams) + value_qparams_offset(cache, head, index, 0);
      for (int64_t t = 0; t < kPageTokens; ++t) {
        const float* row = v + (page * kPageTokens + t) * dim_;
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t begin = g * cache.value_group;
          const int64_t end = begin + cache.value_group < dim_ ? begin + cache.value_group : dim_;
          Floats low = broadcast(kInfinity), high = broadcast(-kInfinity);
          for (int64_t c = begin; c < end; c += kWidth) {
            const Floats x = load_floats(row + c);
            low = smaller(low, x);
            high = larger(high, x);
            finite.add(x);
          }
          const float least = -lane_max(-low), most = lane_max(high);
          finite.add(broadcast(most - least));
          QParams by = qparams_of<T>(broadcast(least), broadcast(most), largest);
          if (most >= kNearBeyond<T>) by = finite_qparams<T>(by, largest);
          store_one(qparams + (g * 2 + 0) * kPageTokens + t, by.scale[0]);
          store_one(qparams + (g * 2 + 1) * kPageTokens + t, by.zero[0]);
          for (int64_t c = begin; c < end; c += kWidth) {
            store_bytes(codes + t * dim_ + c, code_of(load_floats(row + c), by, largest));
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
      write_cells(cache.value_bits, pairs, 2 * dim_, dim_ / kCellLanes,
                  value_page(cache, head, index));
    }
    return finite.passed();
  }

  // Codes, one a byte, in rows of slots x `columns` cells that share their stacks; slots of a cell
  // `stride` bytes apart.
  void write_cells(int bits, const uint8_t* pairs, int64_t stride, int columns,
                   uint8_t* page) const {
    const int slots = cell_slots(bits), stacks = columns * kCellBytes;
    const int rows = static_cast<int>(kPageTokens * dim_ / (slots * stacks));
    for (int row = 0; row < rows; ++row) {
      const CellPlace at = cell_place(bits, p_.cache.head_dim, columns, row, 0);
      for (int i = 0; i < stacks; ++i) {
        int stack = pairs[i];
        for (int s = 1; s < slots; ++s) stack |= pairs[s * stride + i] << s * bits;
        page[at.byte + i] = static_cast<uint8_t>(stack);
        if (bits == 3) write_upper(stack >> 8 << at.upper_shift, at, page + i);
      }
      pairs += slots * stacks;
    }
  }

  // The first of the rows that share these bytes begins them.
  static void write_upper(int bits, const CellPlace& at, uint8_t* page) {
    const int others = at.upper_shift == 0 ? 0 : page[at.upper];
    page[at.upper] = static_cast<uint8_t>(others | bits);
  }

  const KvAppendParams& p_;
  const int64_t b_, dim_, lo_, hi_;
};

}  // namespace

bool pack_group(const KvAppendParams& params, int64_t b, int64_t group) {
  return with_type(params.cache.type,
                   [&](auto type) { return Append<decltype(type)>(params, b).pack(group); });
}

bool write_tokens(const KvAppendParams& params, int64_t b, int64_t first, int64_t count, void* k,
                  void* v, int64_t head_stride) {
  return with_type(params.cache.type, [&](auto type) {
    using T = decltype(type);
    return Append<T>(params, b).write(first, count, static_cast<T*>(k), static_cast<T*>(v),
                                      head_stride);
  });
}

}  // namespace intp::cpu::INTP_CPU_TARGET
