#include "attention/cpu/packed_kernel.h"

#include <vector>

#include "attention/cpu/cells.h"
#include "attention/cpu/decode.h"
#include "cpu/copy.h"
#include "cpu/with_type.h"

// Decode over packed keys. A page is read once, as it lies:
//
//     k = center + scale * code, per channel:   q . k = (q scale) . code + q . center
//     v = center + scale * code, per token:     w . v = (w scale) . code + w . center
//
// so the codes go into the products as they are, and scales into the other, small operand.

namespace intp::cpu::INTP_CPU_LEVEL {
namespace {

constexpr int64_t kRunPages = 4;
constexpr int64_t kRun = kRunPages * kPageTokens;  // keys whose scores become weights together
constexpr int kRowsAtOnce = kWidth == 16 ? 7 : 3;  // that share the unpacking of a code

// What products with codes are made of: pairs of float, or of bfloat16. Of a cell's slot: unpack()
// its codes; of the other operand: spread() a pair to all lanes.
template <class T, int kBits>
struct Codes {
  using Element = Float32;
  static constexpr int kElements = 2;  // of a pair
  using Cell = Words;
  using Slot = CodePair;
  using Factor = CodePair;

  static Cell load(const uint8_t* cell, int64_t lane) { return load_cell(cell, lane); }
  static Slot unpack(const Codes&, Cell cell, int slot) { return slot_codes<kBits>(cell, slot); }
  static Factor spread(const Element* a) { return {broadcast(a[0].bits), broadcast(a[1].bits)}; }
  static Floats add(const Factor& a, const Slot& b, Floats sum) {
    return fma(a.second, b.second, fma(a.first, b.first, sum));
  }
  // n floats (whole vectors of pairs) to elements
  static void convert(const float* x, int64_t n, Element* y) { memcpy(y, x, n * sizeof(float)); }
};

#if defined(__AVX512BF16__)
inline uint32_t bfloat16_bits(float x) { return bit_cast<uint32_t>(x) >> 16; }

// A table of 32 bfloat16 unpacks 32 codes in one permutation: its index is the low 5 bits of a
// lane, of which a code uses the last ones. 8 bits are two codes of 4: 16 * high - 128, and low.
template <int kBits>
struct Codes<BFloat16, kBits> {
  using Element = BFloat16Pair;
  static constexpr int kElements = 1;
  static constexpr int kCode = kBits == 8 ? 4 : kBits;
  using Cell = __m512i;
  struct Slot {
    Words codes, high;  // high: of 8 bits
  };
  using Factor = Words;
  __m512i table, high_table;

  Codes() {
    uint16_t low[32], high[32];
    for (int i = 0; i < 32; ++i) {
      const int code = i & ((1 << kCode) - 1);
      low[i] = bfloat16_bits(kBits == 8 ? code : code - kCenter<kBits>);
      high[i] = bfloat16_bits(16.0f * code - 128.0f);
    }
    table = _mm512_loadu_si512(low);
    high_table = _mm512_loadu_si512(high);
  }
  static Cell load(const uint8_t* cell, int64_t) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(cell)));
  }
  static Slot unpack(const Codes& tables, Cell cell, int slot) {
    const __m512i code = slot == 0 ? cell : _mm512_srli_epi16(cell, slot * kBits);
    Slot found{bit_cast<Words>(_mm512_permutexvar_epi16(code, tables.table)), Words{}};
    if constexpr (kBits == 8) {
      const __m512i high = _mm512_srli_epi16(cell, 4);
      found.high = bit_cast<Words>(_mm512_permutexvar_epi16(high, tables.high_table));
    }
    return found;
  }
  static Factor spread(const Element* a) { return cpu::spread(a); }
  static Floats add(const Factor& a, const Slot& b, Floats sum) {
    sum = multiply_add(a, b.codes, sum);
    if constexpr (kBits == 8) sum = multiply_add(a, b.high, sum);
    return sum;
  }
  static void convert(const float* x, int64_t n, Element* y) {
    for (int64_t i = 0; i < n; i += 2 * kWidth) {
      store_pairs(y + i / 2, load_floats(x + i), load_floats(x + i + kWidth));
    }
  }
};
#endif

// scores[row][0 .. 63] = a[row] . codes: 16 tokens are the lanes, a slot is 16 more.
//   a [kRows, D / 2] pairs, lda elements apart
//   ahead: a page that is read soon, and prefetched at the pace of this one
template <class C, int kBits, int kRows>
void score_page(const C& codes, const uint8_t* page, const uint8_t* ahead, int64_t head_dim,
                const typename C::Element* a, int64_t lda, float* scores, int64_t ld_scores) {
  constexpr int kSlots = 8 / kBits, kCells = kPageTokens / kCellLanes / kSlots;
  // all accumulators of a row of cells where there are registers for them
  constexpr int kColumns = kWidth == 16 ? kCells : 1;
  for (int column = 0; column < kCells; column += kColumns) {
    for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
      Floats sum[kRows][kColumns * kSlots] = {};
      const uint8_t* cell = page + column * kCellBytes;
      for (int64_t r = 0; r < head_dim / 2; ++r, cell += kCells * kCellBytes) {
        typename C::Slot slot[kColumns * kSlots];
#pragma GCC unroll 4
        for (int i = 0; i < kColumns; ++i) {
          const auto packed = C::load(cell + i * kCellBytes, lane);
          __builtin_prefetch(ahead + (cell - page) + i * kCellBytes);
#pragma GCC unroll 4
          for (int s = 0; s < kSlots; ++s) slot[i * kSlots + s] = C::unpack(codes, packed, s);
        }
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          const auto factor = C::spread(a + row * lda + r * C::kElements);
#pragma GCC unroll 4
          for (int i = 0; i < kColumns * kSlots; ++i) {
            sum[row][i] = C::add(factor, slot[i], sum[row][i]);
          }
        }
      }
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
        for (int i = 0; i < kColumns * kSlots; ++i) {
          store_floats(scores + row * ld_scores + (column * kSlots + i) * kCellLanes + lane,
                       sum[row][i]);
        }
      }
    }
  }
}

// sums[row][16 * first ...] += a[row] . codes: 16 channels of kColumns cells are the lanes, a slot
// is a pair of tokens.
//   a [kRows, 32] pairs, lda elements apart; ahead: see score_page
template <class C, int kBits, int kRows, int kColumns>
void sum_page(const C& codes, const uint8_t* page, const uint8_t* ahead, int64_t cells,
              int64_t first, const typename C::Element* a, int64_t lda, float* sums,
              int64_t ld_sums) {
  constexpr int kSlots = 8 / kBits;
  for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
    Floats sum[kRows][kColumns] = {};
    const uint8_t* cell = page + first * kCellBytes;
    for (int64_t r = 0; r < kPageTokens / 2; r += kSlots, cell += cells * kCellBytes) {
      typename C::Cell packed[kColumns];
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; ++i) {
        packed[i] = C::load(cell + i * kCellBytes, lane);
        __builtin_prefetch(ahead + (cell - page) + i * kCellBytes);
      }
#pragma GCC unroll 4
      for (int s = 0; s < kSlots; ++s) {
        typename C::Slot slot[kColumns];
#pragma GCC unroll 4
        for (int i = 0; i < kColumns; ++i) slot[i] = C::unpack(codes, packed[i], s);
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          const auto factor = C::spread(a + row * lda + (r + s) * C::kElements);
#pragma GCC unroll 4
          for (int i = 0; i < kColumns; ++i) {
            sum[row][i] = C::add(factor, slot[i], sum[row][i]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; ++i) {
        float* at = sums + row * ld_sums + (first + i) * kCellLanes + lane;
        store_floats(at, load_floats(at) + sum[row][i]);
      }
    }
  }
}

// f(std::integral_constant) for 1 <= n <= kMost.
template <int kMost, class F>
inline void with_count(int64_t n, F f) {
  if constexpr (kMost > 1) {
    if (n < kMost) return with_count<kMost - 1>(n, f);
  }
  f(std::integral_constant<int, kMost>());
}

// --- keys rotated while they are read --------------------------------------------------------
//
// With p the position of a page's first key: R(pq) q . R(pt) k = R(pq - p) q . R(pt - p) k. The
// query is turned back by p once a page, and the sines of pt - p are the same for page after page
// of evenly spaced positions: no sine is computed for a key.
//
// Angles are float32, so two of them are not to the bit the one of their sum: they differ by its
// rounding. Pages that share no sines, and those beyond kFarAngle, where the rounding is more than
// that of a bfloat16, have p = 0: every key's own sine.

constexpr float kFarAngle = 0x1p16f;

class PageSines {
 public:
  void prepare(const PackedKeys& keys) {
    keys_ = &keys;
    values_.resize(2 * kPageTokens * keys.frequencies);
    shared_ = false;
    fastest_ = 0.0f;
    for (int64_t f = 0; f < keys.frequencies; ++f) {
      fastest_ = most_of(fastest_, std::fabs(keys.inv_freq[f]));
    }
  }

  // For the page whose positions these are; the next one's follow them if there is one. Returns p.
  float move_to(const float* positions, bool has_next) {
    float farthest = 0.0f;
    for (int64_t t = 0; t < kPageTokens; ++t) {
      farthest = most_of(farthest, std::fabs(positions[t]));
    }
    const bool near = farthest * fastest_ <= kFarAngle;
    float steps[kPageTokens];
    for (int64_t t = 0; t < kPageTokens; ++t) steps[t] = positions[t] - positions[0];
    // positions are float32: what lies below their last digit is not a difference
    const float digit = farthest * 0x1p-23f;
    if (near && shared_ && agree(steps, steps_, digit)) return positions[0];

    shared_ = near && has_next;
    if (shared_) {
      const float* next = positions + kPageTokens;
      for (int64_t t = 0; t < kPageTokens; ++t) steps_[t] = next[t] - next[0];
      shared_ = agree(steps, steps_, digit);
    }
    memcpy(steps_, shared_ ? steps : positions, sizeof steps_);
    make();
    return shared_ ? positions[0] : 0.0f;
  }

  const float* cos(int64_t f) const { return values_.data() + f * kPageTokens; }
  const float* sin(int64_t f) const { return cos(f) + kPageTokens * keys_->frequencies; }

 private:
  static float most_of(float a, float b) { return a > b ? a : b; }

  static bool agree(const float* a, const float* b, float digit) {
    bool same = true;
    for (int64_t t = 0; t < kPageTokens; ++t) same &= std::fabs(a[t] - b[t]) <= digit;
    return same;
  }

  void make() {
    const int64_t all = kPageTokens * keys_->frequencies;
    for (int64_t f = 0; f < keys_->frequencies; ++f) {
      float* cos = values_.data() + f * kPageTokens;
      for (int64_t t = 0; t < kPageTokens; ++t) {
        const SinCos at = sincos(rope_angle(steps_[t], keys_->inv_freq[f]));
        cos[t] = at.cos * keys_->scaling;
        cos[all + t] = at.sin * keys_->scaling;
      }
    }
  }

  const PackedKeys* keys_ = nullptr;
  std::vector<float> values_;  // cos, then sin: [F, 64] each
  float steps_[kPageTokens];   // from p
  float fastest_ = 0.0f;       // frequency
  bool shared_ = false;        // are the sines those of steps that other pages have too?
};

// y = x turned back by `position`: pairs of channels (f, f + F).
inline void turn_back(const PackedKeys& keys, float position, const float* x, int64_t head_dim,
                      float* y) {
  const int64_t frequencies = keys.frequencies;
  for (int64_t f = 0; f < frequencies; ++f) {
    const SinCos at = sincos(rope_angle(position, keys.inv_freq[f]));
    const float first = x[f], second = x[f + frequencies];
    y[f] = first * at.cos + second * at.sin;
    y[f + frequencies] = second * at.cos - first * at.sin;
  }
  for (int64_t c = 2 * frequencies; c < head_dim; ++c) y[c] = x[c];
}

// As score_page, over keys turned by the sines. a: [kRows, D] = q scale, and b = q center.
//
//   q . R k = cos (q0 k0 + q1 k1) + sin (q1 k0 - q0 k1)       for each pair of channels (0, 1)
template <int kBits, int kRows>
void score_rotated_page(const PageSines& sines, int64_t frequencies, const uint8_t* page,
                        int64_t head_dim, const float* q, const float* scale, const float* center,
                        float* scores, int64_t ld_scores) {
  constexpr int kSlots = 8 / kBits, kCells = kPageTokens / kCellLanes / kSlots;
  const int64_t rotated = frequencies / 2;  // rows of cells with partners r + rotated
  for (int column = 0; column < kCells; ++column) {
    for (int64_t lane = 0; lane < kCellLanes; lane += kWidth) {
      Floats sum[kRows][kSlots] = {};
      const auto load = [&](int64_t r) {
        return load_cell(page + (r * kCells + column) * kCellBytes, lane);
      };
      const auto key = [&](Words cell, int shift, int64_t c) {
        return fma(code_floats<kBits>(cell, shift), broadcast(scale[c]), broadcast(center[c]));
      };
      for (int64_t r = 0; r < rotated; ++r) {
        const Words cell = load(r), partner = load(r + rotated);
#pragma GCC unroll 4
        for (int s = 0; s < kSlots; ++s) {
          const int64_t token = (column * kSlots + s) * kCellLanes + lane;
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const int64_t f = 2 * r + half;
            const int shift = s * kBits + 8 * half;
            const Floats k0 = key(cell, shift, f), k1 = key(partner, shift, f + frequencies);
            const Floats cos = load_floats(sines.cos(f) + token);
            const Floats sin = load_floats(sines.sin(f) + token);
            const Floats turned0 = k0 * cos - k1 * sin, turned1 = k1 * cos + k0 * sin;
#pragma GCC unroll 8
            for (int row = 0; row < kRows; ++row) {
              const float* at = q + row * head_dim + f;
              sum[row][s] = fma(broadcast(at[0]), turned0, sum[row][s]);
              sum[row][s] = fma(broadcast(at[frequencies]), turned1, sum[row][s]);
            }
          }
        }
      }
      for (int64_t r = 2 * rotated; r < head_dim / 2; ++r) {
        const Words cell = load(r);
#pragma GCC unroll 4
        for (int s = 0; s < kSlots; ++s) {
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const Floats k = key(cell, s * kBits + 8 * half, 2 * r + half);
#pragma GCC unroll 8
            for (int row = 0; row < kRows; ++row) {
              sum[row][s] = fma(broadcast(q[row * head_dim + 2 * r + half]), k, sum[row][s]);
            }
          }
        }
      }
      for (int row = 0; row < kRows; ++row) {
        for (int s = 0; s < kSlots; ++s) {
          store_floats(scores + row * ld_scores + (column * kSlots + s) * kCellLanes + lane,
                       sum[row][s]);
        }
      }
    }
  }
}

// --- a task ----------------------------------------------------------------------------------

template <class T, int kBits>
class PackedDecode {
  using C = Codes<T, kBits>;
  using Element = typename C::Element;

 public:
  PackedDecode(const AttentionParams& p, int64_t index, float* partial)
      : head_(p, index),
        keys_(*p.packed),
        index_(index),
        rows_(attention_rows(p)),
        dim_(p.head_dim),
        scale_(scale_of(p)),
        partial_(p, partial) {}

  void run(int64_t split) {
    for (int64_t row = 0; row < rows_; ++row) {
      partial_.maxima[row] = kUnseen;
      partial_.totals[row] = 0.0f;
    }
    const KeySpan part{split * kTiles.decode_keys,
                       least((split + 1) * kTiles.decode_keys, keys_.tokens)};
    const KeySpans seen = head_.visible(head_.queries(0, rows_));
    const KeySpan all = hull(seen, part);
    if (part.end <= part.begin || is_empty(all)) return;
    memset(partial_.sums, 0, rows_ * dim_ * sizeof(float));
    for (int64_t row = 0; row < rows_; ++row) {
      convert_row(head_.query(row), dim_, scale_.sign, queries_ + row * dim_, dim_);
    }
    if (keys_.frequencies > 0) sines_.prepare(keys_);
    int64_t first = all.begin / kPageTokens;
    const int64_t end = divide_up(all.end, kPageTokens);
    last_page_ = end - 1;
    for (int64_t page = first; page < least(first + kRunPages, end); ++page) {
      prefetch(key_codes(page), page_bytes(kBits, dim_));
      prefetch(key_ranges<T>(keys_.cache, index_, page), 2 * dim_ * sizeof(T));
    }
    while (first < end) {  // runs of pages that are seen
      int64_t last = first;
      while (last < end && (last - first) * kPageTokens < kRun && sees(seen, last)) ++last;
      if (last > first) attend_run(first, last);
      first = last + (last == first);
    }
  }

 private:
  static bool sees(const KeySpans& seen, int64_t page) {
    return !is_empty(hull(seen, {page * kPageTokens, (page + 1) * kPageTokens}));
  }

  const uint8_t* key_codes(int64_t page) const {
    return page_codes(keys_.cache.k_codes, keys_.cache, index_, page);
  }
  const uint8_t* value_codes(int64_t page) const {
    return page_codes(keys_.cache.v_codes, keys_.cache, index_, page);
  }

  // Keys of a run are read, its values, keys of the next run, ...: while one half is worked on, the
  // next one is prefetched, page by page. The hardware foresees neither the way from keys to values
  // nor the scales and zeros between them.
  void attend_run(int64_t first, int64_t last) {
    const int64_t begin = first * kPageTokens, count = (last - first) * kPageTokens;
    for (int64_t page = first; page < last; ++page) {
      score(page, scores_ + (page - first) * kPageTokens);
    }
    for (int64_t row = 0; row < rows_; ++row) {
      float* at = scores_ + row * kRun;
      mask_scores(at, begin, count, head_.visible(head_.queries(row, row + 1)));
      const RowState state{partial_.maxima + row, partial_.totals + row};
      const float rescale =
          softmax_row<false>(at, count, scale_.weights, state, [&](int64_t j, Floats a, Floats b) {
            store_floats(at + j, a);
            store_floats(at + j + kWidth, b);
          });
      if (rescale != 1.0f) scale_row(partial_.sums + row * dim_, dim_, rescale);
    }
    for (int64_t page = first; page < last; ++page) {
      sum(page, scores_ + (page - first) * kPageTokens);
    }
  }

  void score(int64_t page, float* scores) {
    const uint8_t *codes = key_codes(page), *ahead = value_codes(page);
    const int64_t groups = value_groups(dim_, keys_.cache.value_group);
    prefetch(value_ranges<T>(keys_.cache, index_, page, 0), groups * 2 * kPageTokens * sizeof(T));
    const T* ranges = key_ranges<T>(keys_.cache, index_, page);
    if (ranges != ranges_) {
      ranges_ = ranges;
      load_ranges(ranges, ranges + dim_, dim_, kCenter<kBits>, range_scale_, range_center_);
      if (keys_.frequencies == 0) fold_key_ranges();
    }
    if (keys_.frequencies > 0) return score_rotated(page, codes, scores);
    for (int64_t row = 0; row < rows_; row += kRowsAtOnce) {
      with_count<kRowsAtOnce>(rows_ - row, [&](auto n) {
        score_page<C, kBits, decltype(n)::value>(
            codes_, codes, ahead, dim_, folded_ + row * dim_ / 2 * C::kElements,
            dim_ / 2 * C::kElements, scores + row * kRun, kRun);
      });
    }
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t t = 0; t < kPageTokens; t += kWidth) {
        float* at = scores + row * kRun + t;
        store_floats(at, load_floats(at) + broadcast(constants_[row]));
      }
    }
  }

  // q scale as elements, and q . center
  void fold_key_ranges() {
    float row_scaled[kTiles.decode_dim];
    for (int64_t row = 0; row < rows_; ++row) {
      const float* q = queries_ + row * dim_;
      Floats constant{};
      for (int64_t c = 0; c < dim_; c += kWidth) {
        const Floats x = load_floats(q + c);
        store_floats(row_scaled + c, x * load_floats(range_scale_ + c));
        constant = fma(x, load_floats(range_center_ + c), constant);
      }
      constants_[row] = lane_sum(constant);
      for (int64_t c = dim_; c % (2 * kWidth); ++c) row_scaled[c] = 0.0f;
      Element padded[kTiles.decode_dim];
      C::convert(row_scaled, round_up(dim_, 2 * kWidth), padded);
      const int64_t elements = dim_ / 2 * C::kElements;
      memcpy(folded_ + row * elements, padded, elements * sizeof(Element));
    }
  }

  void score_rotated(int64_t page, const uint8_t* codes, float* scores) {
    const float* positions = keys_.positions + head_.b * keys_.position_stride + page * kPageTokens;
    const bool has_next = (page + 2) * kPageTokens <= keys_.tokens;
    const float origin = sines_.move_to(positions, has_next);
    for (int64_t row = 0; row < rows_; ++row) {
      turn_back(keys_, origin, queries_ + row * dim_, dim_, turned_ + row * dim_);
    }
    for (int64_t row = 0; row < rows_; row += kRowsAtOnce) {
      with_count<kRowsAtOnce>(rows_ - row, [&](auto n) {
        score_rotated_page<kBits, decltype(n)::value>(sines_, keys_.frequencies, codes, dim_,
                                                      turned_ + row * dim_, range_scale_,
                                                      range_center_, scores + row * kRun, kRun);
      });
    }
  }

  // sums += weights [rows, 64] values [64, D], a group of channels at a time
  void sum(int64_t page, const float* weights) {
    const KvCache& cache = keys_.cache;
    const int64_t next = least(page + kRunPages, last_page_);
    const uint8_t *codes = value_codes(page), *ahead = key_codes(next);
    prefetch(key_ranges<T>(cache, index_, next), 2 * dim_ * sizeof(T));
    const int64_t groups = value_groups(dim_, cache.value_group);
    for (int64_t g = 0; g < groups; ++g) {
      float scale[kPageTokens], center[kPageTokens];
      const T* ranges = value_ranges<T>(cache, index_, page, g);
      load_ranges(ranges, ranges + kPageTokens, kPageTokens, kCenter<kBits>, scale, center);
      const int64_t begin = g * cache.value_group, end = least(begin + cache.value_group, dim_);
      constexpr int64_t kElements = kPageTokens / 2 * C::kElements;
      for (int64_t row = 0; row < rows_; ++row) {
        float scaled[kPageTokens];
        Floats constant{};
        for (int64_t t = 0; t < kPageTokens; t += kWidth) {
          const Floats weight = load_floats(weights + row * kRun + t);
          store_floats(scaled + t, weight * load_floats(scale + t));
          constant = fma(weight, load_floats(center + t), constant);
        }
        C::convert(scaled, kPageTokens, folded_weights_ + row * kElements);
        const Floats shared = broadcast(lane_sum(constant));
        for (int64_t c = begin; c < end; c += kWidth) {
          float* at = partial_.sums + row * dim_ + c;
          store_floats(at, load_floats(at) + shared);
        }
      }
      for (int64_t cell = begin / kCellLanes; cell < end / kCellLanes;) {
        const int64_t columns = least(end / kCellLanes - cell, kWidth == 16 ? 4 : 2);
        for (int64_t row = 0; row < rows_; row += kRowsAtOnce) {
          with_count<kRowsAtOnce>(rows_ - row, [&](auto n) {
            with_count<kWidth == 16 ? 4 : 2>(columns, [&](auto m) {
              sum_page<C, kBits, decltype(n)::value, decltype(m)::value>(
                  codes_, codes, ahead, dim_ / kCellLanes, cell, folded_weights_ + row * kElements,
                  kElements, partial_.sums + row * dim_, dim_);
            });
          });
        }
        cell += columns;
      }
    }
  }

  const Head<T> head_;
  const PackedKeys& keys_;
  const int64_t index_, rows_, dim_;
  const Scale scale_;
  const Partial partial_;
  const C codes_{};
  PageSines sines_;
  int64_t last_page_ = 0;      // of the task
  const T* ranges_ = nullptr;  // of which the folded queries are
  alignas(64) float queries_[kTiles.decode_rows * kTiles.decode_dim];
  alignas(64) float turned_[kTiles.decode_rows * kTiles.decode_dim];
  alignas(64) float range_scale_[kTiles.decode_dim], range_center_[kTiles.decode_dim];
  alignas(64) Element folded_[kTiles.decode_rows * kTiles.decode_dim];
  alignas(64) Element folded_weights_[kTiles.decode_rows * kPageTokens];
  alignas(64) float scores_[kTiles.decode_rows * kRun];
  float constants_[kTiles.decode_rows];
};

}  // namespace

void attend_pages(const AttentionParams& p, int64_t head, int64_t split, float* partial) {
  with_type(p.type, [&](auto type) {
    with_bits(p.packed->cache.bits, [&](auto bits) {
      PackedDecode<decltype(type), decltype(bits)::value>(p, head, partial).run(split);
    });
  });
}

}  // namespace intp::cpu::INTP_CPU_LEVEL
