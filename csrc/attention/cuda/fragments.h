#pragma once

// Attention in the registers of a warp: products on the tensor cores and the running softmax
// between them. A warp has kM tiles of 16 rows; a thread holds, of each, rows lane / 4 and
// lane / 4 + 8 (see cuda/ptx.h).
//
//   scores [16 kM, keys] = q [16 kM, D] k^T      float s[kM][keys / 8][4]
//   weights = 2^(scores - running maximum)       the same registers
//   sums [16 kM, D] += weights v [keys, D]       float o[kM][D / 8][4]

#include <cfloat>

#include "attention/cuda/block.h"
#include "cuda/ptx.h"

namespace intp::cuda {

// A row of kDim 16-bit elements in shared memory is chunks of 16 bytes. They are permuted, within
// groups, so that the same chunk of 8 rows, what a warp reads at a time, lies in 8 different sets
// of banks: rows of 128 bytes begin in the same bank, of 64 (or 192) bytes every second row does.
template <int kDim>
struct Swizzle {
  static_assert(kDim % 32 == 0);
  static constexpr int kGroup = kDim % 64 == 0 ? 8 : 4;  // chunks

  // Elements from the beginning of the tile.
  INTP_DEVICE static int at(int row, int chunk) {
    const int key = kGroup == 8 ? row % 8 : row / 2 % 4;
    return row * kDim + (chunk ^ key) * 8;
  }

  // at(row, chunk + even) from at(row, chunk) of chunk 0 or 1: one instruction.
  INTP_DEVICE static int move(int at, int even) {
    return (at ^ (even % kGroup * 8)) + even / kGroup * kGroup * 8;
  }
};

// Begins to copy rows of head_dim elements into a tile, padded with zeros to kDim, by kThreads
// threads of which this is number `thread`. address(r) is that of row r; where reads(r) is false,
// nothing is read and the row is zeros.
template <class T, int kDim, int kRows, int kThreads, class Address, class Reads>
INTP_DEVICE void copy_rows(T* tile, int thread, int head_dim, const Address& address,
                           const Reads& reads) {
  constexpr int kLanes = Swizzle<kDim>::kGroup;  // threads side by side on a row
  static_assert(kRows % (kThreads / kLanes) == 0);
  const int lane = thread % kLanes;
#pragma unroll
  for (int i = 0; i < kRows * kLanes / kThreads; ++i) {
    const int row = i * (kThreads / kLanes) + thread / kLanes;
    const T* from = address(row);
    const bool read = reads(row);
#pragma unroll
    for (int j = 0; j < kDim / 8 / kLanes; ++j) {
      const int chunk = j * kLanes + lane;
      copy_async_16(tile + Swizzle<kDim>::at(row, chunk), from + chunk * 8,
                    read && chunk * 8 < head_dim);
    }
  }
}

// Where the row begins that a lane loads of the first 16 keys and channels of a tile of keys,
template <int kDim>
INTP_DEVICE int key_row() {
  const int lane = threadIdx.x % kWarp;
  return Swizzle<kDim>::at(lane % 8 + lane / 16 * 8, lane / 8 % 2);
}

// and of values, which are transposed.
template <int kDim>
INTP_DEVICE int value_row() {
  const int lane = threadIdx.x % kWarp;
  return Swizzle<kDim>::at(lane % 16, lane / 16);
}

// x, which then stays in a register: the compiler makes no shuffle twice, but most else wherever
// it is used. For all lanes of a warp.
INTP_DEVICE int keep(int x) { return __shfl_sync(0xffffffffu, x, threadIdx.x % kWarp); }

// s = q k^T; query(m, c, a) gives the fragment of rows 16 m ... and channels 16 c ... of q. What a
// step needs is loaded before the products of the step before.
template <class T, int kDim, int kM, int kKeys, class Query>
INTP_DEVICE void multiply_keys(float (&s)[kM][kKeys / 8][4], const T* keys, const Query& query,
                               int at = key_row<kDim>()) {
  constexpr int kC = kDim / 16, kJ = kKeys / 16;
  uint32_t a[2][kM][4];
  uint32_t b[2][4];  // keys 0-7 and channels 0-7, 8-15; keys 8-15 and the same
  const auto load_queries = [&](int c) {
#pragma unroll
    for (int m = 0; m < kM; ++m) query(m, c, a[c % 2][m]);
  };
  const auto load_keys = [&](int c, int j) {
    load_matrices(b[(c * kJ + j) % 2], keys + Swizzle<kDim>::move(at, 2 * c) + 16 * j * kDim);
  };
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[m][j][e] = 0.0f;
    }
  }
  load_queries(0);
  load_keys(0, 0);
#pragma unroll
  for (int c = 0; c < kC; ++c) {
#pragma unroll
    for (int j = 0; j < kJ; ++j) {
      if (j + 1 < kJ) {
        load_keys(c, j + 1);
      } else if (c + 1 < kC) {
        load_queries(c + 1);
        load_keys(c + 1, 0);
      }
      const uint32_t (&now)[4] = b[(c * kJ + j) % 2];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        multiply_matrices<T>(s[m][2 * j], a[c % 2][m], now[0], now[1]);
        multiply_matrices<T>(s[m][2 * j + 1], a[c % 2][m], now[2], now[3]);
      }
    }
  }
}

INTP_DEVICE uint32_t pack(__nv_bfloat16, float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

INTP_DEVICE uint32_t pack(__half, float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

// The reverse: both elements of a pair.
INTP_DEVICE float2 unpack(__nv_bfloat16, uint32_t pair) {
  const uint32_t bits[2] = {pair << 16, pair & 0xffff0000u};
  float2 values;
  memcpy(&values, bits, sizeof values);
  return values;
}

INTP_DEVICE float2 unpack(__half, uint32_t pair) {
  __half2 values;
  memcpy(static_cast<void*>(&values), &pair, sizeof pair);
  return __half22float2(values);
}

// o += weights v, loaded a step ahead; also(m, a) sees each fragment of the weights of rows 16 m
// ...
template <class T, int kDim, int kM, int kKeys, class Also>
INTP_DEVICE void multiply_values(float (&o)[kM][kDim / 8][4], const float (&s)[kM][kKeys / 8][4],
                                 const T* values, int at, const Also& also) {
  constexpr int kC = kKeys / 16, kD = kDim / 16;
  uint32_t b[2][4];  // channels 0-7 and keys 0-7, 8-15; channels 8-15 and the same
  const auto load_values = [&](int c, int d) {
    load_matrices_transposed(b[(c * kD + d) % 2],
                             values + Swizzle<kDim>::move(at, 2 * d) + 16 * c * kDim);
  };
  load_values(0, 0);
#pragma unroll
  for (int c = 0; c < kC; ++c) {
    // two 16 x 8 results side by side are, in the same threads, one 16 x 16 operand
    uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float (&from)[4] = s[m][2 * c + i / 2];
        a[m][i] = pack(T{}, from[i % 2 * 2], from[i % 2 * 2 + 1]);
      }
      also(m, a[m]);
    }
#pragma unroll
    for (int d = 0; d < kD; ++d) {
      if (d + 1 < kD) {
        load_values(c, d + 1);
      } else if (c + 1 < kC) {
        load_values(c + 1, 0);
      }
      const uint32_t (&now)[4] = b[(c * kD + d) % 2];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        multiply_matrices<T>(o[m][2 * d], a[m], now[0], now[1]);
        multiply_matrices<T>(o[m][2 * d + 1], a[m], now[2], now[3]);
      }
    }
  }
}

template <class T, int kDim, int kM, int kKeys>
INTP_DEVICE void multiply_values(float (&o)[kM][kDim / 8][4], const float (&s)[kM][kKeys / 8][4],
                                 const T* values, int at = value_row<kDim>()) {
  multiply_values<T, kDim, kM, kKeys>(o, s, values, at, [](int, const uint32_t (&)[4]) {});
}

// A bit for each of the 32 keys from `begin` on: does the row see it?
INTP_DEVICE uint32_t seen_keys(const KeySpans32& row, int begin) {
  const auto bits = [begin](const KeySpan32& span) {
    return low_bits(span.end - begin) & ~low_bits(span.begin - begin);
  };
  return bits(row.sink) | bits(row.recent);
}

// visible: of the warp's rows; begin: first key of the tile. A lane finds what one row sees, and
// gets the bits of its own rows from others.
template <int kM, int kKeys>
INTP_DEVICE void mask_scores(float (&s)[kM][kKeys / 8][4], const KeySpans32* visible, int begin) {
  constexpr int kWords = (kKeys + 31) / 32, kTiles = kKeys / 8 / kWords;  // of 8 keys, a word
  const int lane = threadIdx.x % kWarp;
  const KeySpans32 row = visible[lane % (16 * kM)];
#pragma unroll
  for (int w = 0; w < kWords; ++w) {
    const uint32_t seen = seen_keys(row, begin + 32 * w);
#pragma unroll
    for (int i = 0; i < 2 * kM; ++i) {
      const uint32_t bits = __shfl_sync(0xffffffffu, seen, 8 * i + lane / 4) >> lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if ((bits >> (8 * j + e) & 1) == 0) {
            s[i / 2][kTiles * w + j][i % 2 * 2 + e] = kMasked;
          }
        }
      }
    }
  }
}

// Scores to softcap * tanh(|s| * score / softcap), before they are masked.
template <int kM, int kKeys8>
INTP_DEVICE void cap_scores(float (&s)[kM][kKeys8][4], const ScoreScale& scale) {
  if (scale.softcap == 0.0f) return;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int j = 0; j < kKeys8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        // tanh(x) = 1 - 2 / (1 + e^2x): to 2^-22, where 16 bits resolve 2^-11
        const float power = fast_exp2(s[m][j][e] * scale.capped);
        s[m][j][e] = fmaf(-2.0f * scale.softcap, fast_inverse(1.0f + power), scale.softcap);
      }
    }
  }
}

// Over the four threads that share a row.
INTP_DEVICE float row_maximum(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

INTP_DEVICE float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// What the rows of a thread have come to. Weights are relative to a base, and may be many powers of
// two: then sums are seldom brought to a new base, and no thread asks the others that share its
// rows for their scores.
//
// With kSumByProduct the weights of a row are summed by products with ones, rounded as for the
// products with values; else each thread adds up its own.
template <int kM, int kDim, bool kSumByProduct = false>
class RunningSums {
  static constexpr float kSlack = 8.0f;  // the powers of two: 2^8 is exact in any of our types
  static constexpr float kNothing = -FLT_MAX;  // base of a row that has seen no key
  static constexpr int kTotals = kSumByProduct ? 4 : 2;

 public:
  float o[kM][kDim / 8][4];

  INTP_DEVICE void clear() {
    is_large_ = false;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) base_[m][half] = kNothing;
#pragma unroll
      for (int i = 0; i < kTotals; ++i) total_[m][i] = 0.0f;
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) o[m][d][e] = 0.0f;
      }
    }
  }

  // What the sums of a row are relative to: a score times scale, as a power of two, at most kSlack
  // below the largest. kMasked for a row that has seen no key.
  INTP_DEVICE float base(int m, int half) const {
    return base_[m][half] == kNothing ? kMasked : base_[m][half];
  }

  // Of the weights of a row, in all of its threads.
  INTP_DEVICE float total(int m, int half) const {
    if constexpr (kSumByProduct) {
      return total_[m][2 * half];
    } else {
      return row_sum(total_[m][half]);
    }
  }

  // Scores to weights.
  template <int kKeys8>
  INTP_DEVICE void weigh(float (&s)[kM][kKeys8][4], float factor) {
    rebase(s, factor);
    if (is_large_) {
      weigh_large(s, factor);
    } else {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int j = 0; j < kKeys8; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            s[m][j][e] = fast_exp2(fmaf(s[m][j][e], factor, -base_[m][e / 2]));
          }
        }
      }
    }
    if constexpr (!kSumByProduct) {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int j = 0; j < kKeys8; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) total_[m][e / 2] += s[m][j][e];
        }
      }
    }
  }

  // Sums += weights v; at: value_row(). `ones` are what kSumByProduct multiplies by.
  template <class T, int kKeys>
  INTP_DEVICE void add(const float (&s)[kM][kKeys / 8][4], const T* values, int at,
                       const uint2& ones) {
    if constexpr (kSumByProduct) {
      multiply_values<T, kDim, kM, kKeys>(o, s, values, at, [&](int m, const uint32_t (&a)[4]) {
        multiply_matrices<T>(total_[m], a, ones.x, ones.y);
      });
    } else {
      multiply_values<T, kDim, kM, kKeys>(o, s, values, at);
    }
  }

 private:
  INTP_DEVICE static bool is_large(float base) {
    return fabsf(base) >= 0x1p23f && base != kNothing;
  }

  // Where a score of the warp is too far above its base, what was summed is brought to the largest.
  template <int kKeys8>
  INTP_DEVICE void rebase(const float (&s)[kM][kKeys8][4], float factor) {
    float found[kM][2];
    bool rises = false;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = s[m][0][2 * half];
#pragma unroll
        for (int j = 0; j < kKeys8; ++j) {
          largest = fmaxf(largest, fmaxf(s[m][j][2 * half], s[m][j][2 * half + 1]));
        }
        found[m][half] = largest;
        rises = rises || fmaf(largest, factor, -kSlack) > base_[m][half];
      }
    }
    if (__any_sync(0xffffffffu, rises)) bring_to_largest(found, factor);
  }

  // found: the largest scores that this thread has of its rows.
  INTP_DEVICE void bring_to_largest(const float (&found)[kM][2], float factor) {
    is_large_ = false;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float before = base_[m][half];
        const float now = fmaxf(before, row_maximum(found[m][half]) * factor);
        const float rescale = fast_exp2(before - now);
        base_[m][half] = now;
        is_large_ = is_large_ || is_large(now);
#pragma unroll
        for (int i = 0; i < kTotals / 2; ++i) total_[m][kTotals / 2 * half + i] *= rescale;
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          o[m][d][2 * half] *= rescale;
          o[m][d][2 * half + 1] *= rescale;
        }
      }
    }
  }

  // Of a row whose base, a product that was rounded, is so large that half of its last digit is an
  // exponent that counts, the scores are scaled and rounded as it was.
  template <int kKeys8>
  INTP_DEVICE void weigh_large(float (&s)[kM][kKeys8][4], float factor) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float base = base_[m][half];
        const bool rounds = is_large(base);
#pragma unroll
        for (int j = 0; j < kKeys8; ++j) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& x = s[m][j][2 * half + e];
            x = fast_exp2(rounds ? multiply_rounded(x, factor) - base : fmaf(x, factor, -base));
          }
        }
      }
    }
  }

  float base_[kM][2];
  float total_[kM][kTotals];  // a product's result, all columns alike; or this thread's part
  bool is_large_;             // is the base of a row of this thread?
};

}  // namespace intp::cuda
