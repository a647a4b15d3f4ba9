#pragma once

// Attention in the registers of a warp: products on the tensor cores and the running softmax
// between them. A warp has kM tiles of 16 rows; a thread holds, of each, rows lane / 4 and
// lane / 4 + 8 (see cuda/ptx.h).
//
//   scores [16 kM, keys] = q [16 kM, D] k^T      float s[kM][keys / 8][4]
//   weights = 2^(scores - running maximum)       the same registers
//   sums [16 kM, D] += weights v [keys, D]       float o[kM][D / 8][4]

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

// s = q k^T; query(m, c, a) gives the fragment of rows 16 m ... and channels 16 c ... of q.
template <class T, int kDim, int kM, int kKeys, class Query>
INTP_DEVICE void multiply_keys(float (&s)[kM][kKeys / 8][4], const T* keys, const Query& query) {
  const int lane = threadIdx.x % kWarp;
  const int at = Swizzle<kDim>::at(lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[m][j][e] = 0.0f;
    }
  }
// with 32 rows of 128 channels a warp has no register left to look ahead
#pragma unroll(kM == 2 && kDim == 128 ? 1 : kDim / 16)
  for (int c = 0; c < kDim / 16; ++c) {
    uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) query(m, c, a[m]);
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) {
      uint32_t b[4];  // keys 0-7 and channels 0-7, 8-15; keys 8-15 and the same
      load_matrices(b, keys + Swizzle<kDim>::move(at, 2 * c) + 16 * j * kDim);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        multiply_matrices<T>(s[m][2 * j], a[m], b[0], b[1]);
        multiply_matrices<T>(s[m][2 * j + 1], a[m], b[2], b[3]);
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

// o += weights v
template <class T, int kDim, int kM, int kKeys>
INTP_DEVICE void multiply_values(float (&o)[kM][kDim / 8][4], const float (&s)[kM][kKeys / 8][4],
                                 const T* values) {
  const int lane = threadIdx.x % kWarp;
  const int at = Swizzle<kDim>::at(lane % 16, lane / 16);
#pragma unroll
  for (int c = 0; c < kKeys / 16; ++c) {
    // two 16 x 8 results side by side are, in the same threads, one 16 x 16 operand
    uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float (&from)[4] = s[m][2 * c + i / 2];
        a[m][i] = pack(T{}, from[i % 2 * 2], from[i % 2 * 2 + 1]);
      }
    }
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      uint32_t b[4];  // channels 0-7 and keys 0-7, 8-15; channels 8-15 and the same
      load_matrices_transposed(b, values + Swizzle<kDim>::move(at, 2 * d) + 16 * c * kDim);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        multiply_matrices<T>(o[m][2 * d], a[m], b[0], b[1]);
        multiply_matrices<T>(o[m][2 * d + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// visible: of the warp's rows; begin: first key of the tile.
template <int kM, int kKeys>
INTP_DEVICE void mask_scores(float (&s)[kM][kKeys / 8][4], const KeySpans32* visible, int begin) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const KeySpans32 row = visible[16 * m + 8 * half + lane / 4];
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int key = begin + 8 * j + lane % 4 * 2 + e;
          if (!contains(row, key)) s[m][j][2 * half + e] = kMasked;
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

// What the rows of a thread have come to.
template <int kM, int kDim>
struct RunningSums {
  float o[kM][kDim / 8][4];
  float maximum[kM][2];  // of the scores, times scale, as a power of two
  float total[kM][2];    // this thread's part of the sum of weights

  INTP_DEVICE void clear() {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        maximum[m][half] = kMasked;
        total[m][half] = 0.0f;
      }
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) o[m][d][e] = 0.0f;
      }
    }
  }

  // Are the scores of this row so large that half a digit of `base`, a product that was rounded, is
  // an exponent that counts? Then they are scaled and rounded as it was: the largest is `base`.
  template <int kKeys8>
  INTP_DEVICE static bool round_large(float (&s)[kKeys8][4], int half, float base, float factor) {
    if (fabsf(base) < 0x1p23f) return false;
#pragma unroll
    for (int j = 0; j < kKeys8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        s[j][2 * half + e] = multiply_rounded(s[j][2 * half + e], factor);
      }
    }
    return true;
  }

  // Scores to weights; what was summed before is brought to the new maximum.
  template <int kKeys8>
  INTP_DEVICE void weigh(float (&s)[kM][kKeys8][4], float factor) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float found = s[m][0][2 * half];
#pragma unroll
        for (int j = 0; j < kKeys8; ++j) {
          found = fmaxf(found, fmaxf(s[m][j][2 * half], s[m][j][2 * half + 1]));
        }
        const float before = maximum[m][half];
        const float now = fmaxf(before, row_maximum(found) * factor);
        const float base = score_base(now);
        const float scale = round_large<kKeys8>(s[m], half, base, factor) ? 1.0f : factor;
        float sum = 0.0f;
#pragma unroll
        for (int j = 0; j < kKeys8; ++j) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& x = s[m][j][2 * half + e];
            x = fast_exp2(fmaf(x, scale, -base));
            sum += x;
          }
        }
        // here, not above: at D = 128 there is no register for it before
        const float rescale = fast_exp2(before - base);
        maximum[m][half] = now;
        total[m][half] = total[m][half] * rescale + sum;
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          o[m][d][2 * half] *= rescale;
          o[m][d][2 * half + 1] *= rescale;
        }
      }
    }
  }
};

}  // namespace intp::cuda
