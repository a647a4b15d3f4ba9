#pragma once

// Attention over packed keys on the tensor cores: 16 rows of a key head (one query of every head of
// its group; of more rows, several blocks) against a share of the pages. Bound by reading codes,
// each once for 16 rows.
//
// Every warp takes pages of its own through a ring of stages, keys and values in turn, as the bytes
// lie in the cache. A word of them is unpacked in registers into fragments of mma:
//
//   2 stacks of 4, 2 or 1 codes -> those of a slot as a pair of T -> zero + scale * code
//
// which is, up to one rounding, what KVCache.dequantize() gives. A pair of codes is two channels
// of a key, or two tokens of a value: what a fragment of B is made of. In which order products go
// through channels and keys is free as long as both operands agree, so tokens go as the cells of a
// page have them (kv_page.h), 64 tokens being 8 tiles j = slot * kWords + word of 8 columns:
//
//   column 2 h + e of tile (slot, word)    lane 2 (kWords h + word) + e of the row's cells, that
//   slot
//
// For keys rotated while they are read, one thread's fragment has both channels of a rotation.
//
// Sinks are masked in their pages, and come once more as rows, by the blocks of the first split.

#include "attention/cuda/block.h"
#include "attention/cuda/fragments.h"
#include "attention/cuda/results.h"
#include "common/rope.h"
#include "cuda/launch.h"

namespace intp::cuda {

// Codes at `shift` of the stacks in the halves of x, as a pair of T: exact.
template <class T, int kBits>
INTP_DEVICE uint32_t code_pair(uint32_t x, int shift) {
  constexpr bool kBrain = std::is_same_v<T, __nv_bfloat16>;
  // 2^7 or 2^10, where the last bit of the mantissa is 1: a code is or-ed in, and the 2^n taken off
  constexpr uint32_t kMagic = kBrain ? 0x43004300 : 0x64006400, kSign = 0x80008000;
  constexpr uint32_t kOne = kBrain ? 0x3f803f80 : 0x3c003c00;
  if constexpr (kBrain && kBits == 8) {
    // 7 bits of mantissa hold the low bits; the highest says whether 2^8 or 2^7 goes: code - 128
    constexpr uint32_t kMinusOne = kOne | kSign;
    const uint32_t low = (x & 0x007f007f) | kMagic, high = (x & 0x00800080) ^ 0x43804380;
    return multiply_add_pairs<T>(multiply_add_pairs<T>(high, kMinusOne, low), kOne, kMagic);
  } else {
    constexpr uint32_t kMask = ((1u << kBits) - 1) * 0x10001;
    return multiply_add_pairs<T>((x >> shift & kMask) | kMagic, kOne, kMagic | kSign);
  }
}

// Stacks of 8 bits in the halves of x, with the upper bits of those of such a row.
INTP_DEVICE uint32_t join_stacks(uint32_t x, uint32_t upper, int row) {
  return x | (upper << (8 - row % 2 * 4) & 0x0f000f00);
}

template <class T, int kKeyBits, int kValueBits>
struct PackedShared {
  static constexpr AttentionTile kTile = packed_tile(kKeyBits);

  static_assert(kKeyBits >= kValueBits);  // a stage takes either

  // Of a page's values, in groups of one cell: more than its keys have.
  static constexpr int kQParams = value_groups(kPackedDim, kCellLanes) * 2 * kPageTokens;

  struct Stage {
    uint4 codes[page_bytes(kKeyBits, kPackedDim) / 16];
    uint4 qparams[kQParams * sizeof(T) / 16];
  };
  struct Rows {  // after the pages, swizzled
    T k[16 * kPackedDim];
    T v[16 * kPackedDim];
  };
  union {
    Stage stages[kTile.warps][kTile.stages];
    Rows rows[kTile.warps];
    WarpResults<kPackedDim, kTile.rows, kTile.warps> results;
  };
  SinCos sines[kTile.warps][2 * cell_slots(kKeyBits)][kWarp];
  T q[kTile.rows * kPackedDim];  // swizzled
  VisibleKeys<kTile.rows> visible;
  KeySpan32 sinks;  // those in pages
};

template <class T, int kKeyBits, int kValueBits>
class PackedBlock {
  using Shared = PackedShared<T, kKeyBits, kValueBits>;
  using Stage = typename Shared::Stage;
  static constexpr AttentionTile kTile = Shared::kTile;
  static constexpr int kThreads = kTile.warps * kWarp;
  static constexpr int kKeySlots = cell_slots(kKeyBits);
  static constexpr int kValueSlots = cell_slots(kValueBits);
  static constexpr int kWords = 8 / kKeySlots;  // of a thread's part of a row of cells of keys
  static constexpr int kLoad = kWords < 4 ? kWords : 4;  // words that are loaded at once
  static constexpr int kChunk = 16 / sizeof(T);          // elements
  static constexpr int kRowChunks = kPackedDim / 8;      // of a row of value cells, 16 bytes each

 public:
  INTP_DEVICE explicit PackedBlock(const PackedLaunch& launch)
      : launch_(launch.attention),
        p_(launch.attention.params),
        packed_(launch.packed),
        shared_(*static_cast<Shared*>(dynamic_shared())),
        task_(block_task(launch.attention, 1, kTile.rows)),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        warp_(static_cast<int>(threadIdx.x) / kWarp) {}

  INTP_DEVICE void run() {
    shared_.visible.fill(p_, task_);
    if (threadIdx.x == 0) shared_.sinks = packed_sinks();
    load_queries();
    sums_.clear();
    __syncthreads();
    const TileShare share = share_tiles(launch_, shared_.visible.any, task_.split, kPageTokens);
    const int pages = tiles_before(share.list, static_cast<int>(packed_.tokens) / kPageTokens);
    attend_pages(share, min(pages, share.end));
    __syncthreads();  // stages become rows
    const Rows tail{p_.k, p_.v, static_cast<int>(packed_.tokens), static_cast<int>(p_.keys)};
    for (int n = max(pages, share.begin); n < share.end; ++n) {
      attend_rows(tail, tile_at(share.list, n) * kPageTokens + 16 * warp_);
    }
    if (task_.split == 0) attend_sinks();
    __syncthreads();  // stages and rows become results
    shared_.results.write(sums_);
    __syncthreads();
    shared_.results.template combine<T>(launch_, task_, shared_.visible.rows);
  }

 private:
  INTP_DEVICE int head_dim() const { return static_cast<int>(p_.head_dim); }

  INTP_DEVICE KeySpan32 packed_sinks() const {
    const KvCache& cache = packed_.cache;
    if (cache.sinks == 0) return {};
    const int64_t first = cache.first[task_.b];
    const int64_t end = least(first + cache.sinks, packed_.tokens);
    if (end <= first) return {};
    return {static_cast<int>(first), static_cast<int>(end)};
  }

  // Rows of cells, and those of their upper bits, which follow.
  INTP_DEVICE static constexpr int with_upper(int bits, int rows) {
    return bits == 3 ? upper_row(rows, rows) : rows;
  }
  INTP_DEVICE static constexpr int upper_row(int rows, int row) { return rows + row / 2; }

  // Zeros beyond the last row and channel.
  INTP_DEVICE void load_queries() {
    const T* q = static_cast<const T*>(p_.q.data);
    const int rows = static_cast<int>(least(kTile.rows, attention_rows(p_) - task_.row));
    for (int i = threadIdx.x; i < kTile.rows * kRowChunks; i += kThreads) {
      const int row = i / kRowChunks, chunk = i % kRowChunks;
      uint4 x{};
      if (row < rows && chunk * 8 < head_dim()) {
        x = *reinterpret_cast<const uint4*>(q + row_offset(p_, p_.q, task_, task_.row + row) +
                                            chunk * 8);
      }
      x = {signed_query(x.x, p_.scale), signed_query(x.y, p_.scale), signed_query(x.z, p_.scale),
           signed_query(x.w, p_.scale)};
      *reinterpret_cast<uint4*>(shared_.q + Swizzle<kPackedDim>::at(row, chunk)) = x;
    }
  }

  // The fragment of channels 8 low ... and 8 high ...
  INTP_DEVICE void load_query(int low, int high, uint32_t (&a)[4]) const {
    const int chunk = lane_ / 16 == 0 ? low : high;
    load_matrices(a, shared_.q + Swizzle<kPackedDim>::at(lane_ % 16, chunk));
  }

  // --- a page into a stage -----------------------------------------------------------------------

  // Within a row, so that what a warp reads at a time lies in different banks.
  INTP_DEVICE static int key_swizzle(int row) {
    return kKeyBits == 8 ? row % 4 * 2 : kKeyBits == 4 ? row / 2 % 4 : 0;
  }
  INTP_DEVICE static int value_swizzle(int row) {
    return kValueBits == 8   ? row / 8 % 4
           : kValueBits == 4 ? row / 2 % 2 + row / 8 % 2 * 2
                             : row % 2;
  }

  INTP_DEVICE void copy_chunks(uint4* to, const void* from, int chunks) const {
    for (int i = lane_; i < chunks; i += kWarp) {
      copy_async_16(to + i, static_cast<const uint4*>(from) + i, true);
    }
  }

  INTP_DEVICE void copy_keys(Stage& stage, int page) const {
    const KvCache& cache = packed_.cache;
    const auto* from = reinterpret_cast<const uint4*>(key_page(cache, task_.head, page));
    for (int i = lane_; i < with_upper(kKeyBits, head_dim() / 2) * kWords; i += kWarp) {
      const int row = i / kWords, chunk = i % kWords;  // a row: kWords chunks
      copy_async_16(stage.codes + row * kWords + (chunk ^ key_swizzle(row)), from + i, true);
    }
    copy_chunks(
        stage.qparams,
        static_cast<const T*>(cache.k_qparams) + key_qparams_offset(cache, task_.head, page),
        2 * head_dim() / kChunk);
  }

  INTP_DEVICE void copy_values(Stage& stage, int page) const {
    const KvCache& cache = packed_.cache;
    const auto* from = reinterpret_cast<const uint4*>(value_page(cache, task_.head, page));
    const int chunks = head_dim() / 8, chunk = lane_ % kRowChunks;
    for (int row = lane_ / kRowChunks; row < with_upper(kValueBits, 32 / kValueSlots);
         row += kWarp / kRowChunks) {
      if (chunk >= chunks) continue;
      copy_async_16(stage.codes + row * kRowChunks + (chunk ^ value_swizzle(row)),
                    from + row * chunks + chunk, true);
    }
    copy_chunks(
        stage.qparams,
        static_cast<const T*>(cache.v_qparams) + value_qparams_offset(cache, task_.head, page, 0),
        value_groups(cache.head_dim, cache.value_group) * 2 * kPageTokens / kChunk);
  }

  // --- pages -------------------------------------------------------------------------------------

  INTP_DEVICE void attend_pages(const TileShare& share, int end) {
    const ScoreScale scale = score_scale(p_);
    int ahead = share.begin + warp_;  // next to be copied
    bool values_ahead = false;
    int slot_ahead = 0, slot = 0;
    const auto copy_next = [&] {
      Stage& stage = shared_.stages[warp_][slot_ahead];
      if (ahead < end && values_ahead) copy_values(stage, tile_at(share.list, ahead));
      if (ahead < end && !values_ahead) copy_keys(stage, tile_at(share.list, ahead));
      commit_copies();
      if (values_ahead) ahead += kTile.warps;
      values_ahead = !values_ahead;
      slot_ahead = slot_ahead + 1 == kTile.stages ? 0 : slot_ahead + 1;
    };
    const auto next_stage = [&]() -> const Stage& {
      wait_copies<kTile.stages - 2>();
      __syncwarp();  // the stage has arrived, the one before has been used
      copy_next();
      const Stage& stage = shared_.stages[warp_][slot];
      slot = slot + 1 == kTile.stages ? 0 : slot + 1;
      return stage;
    };
#pragma unroll
    for (int i = 0; i < kTile.stages - 1; ++i) copy_next();
    for (int n = share.begin + warp_; n < end; n += kTile.warps) {
      const int begin = tile_at(share.list, n) * kPageTokens;
      float scores[1][8][4];
      score_page(scores, next_stage(), begin);
      cap_scores(scores, scale);
      const KeySpan32 page{begin, begin + kPageTokens}, sinks = shared_.sinks;
      const bool has_sinks = sinks.begin < page.end && page.begin < sinks.end;
      if (has_sinks || !shared_.visible.is_full(page)) mask_page(scores, begin);
      sums_.weigh(scores, scale.factor);
      sum_page(scores, next_stage());
    }
    wait_copies<0>();
  }

  // The token of a lane and slot of the cells of a row of keys.
  INTP_DEVICE static int token_of(int lane, int slot) {
    return key_token(kKeyBits, lane / kCellLanes, slot, lane % kCellLanes);
  }

  INTP_DEVICE void score_page(float (&s)[1][8][4], const Stage& stage, int begin) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[0][j][e] = 0.0f;
    }
    // 8 channels and those that they rotate with, then 16 channels at a time
    const int rotated = static_cast<int>(packed_.frequencies) / 8;
#pragma unroll 1
    for (int c = 0; c < rotated; ++c) multiply_step<true>(s, stage, c, rotated + c, begin);
#pragma unroll 1
    for (int c = 2 * rotated; c < head_dim() / 8; c += 2) {
      multiply_step<false>(s, stage, c, c + 1, begin);
    }
  }

  // Scores += of channels 8 low ... and 8 high ...
  template <bool kRotate>
  INTP_DEVICE void multiply_step(float (&s)[1][8][4], const Stage& stage, int low, int high,
                                 int begin) const {
    uint32_t a[4];
    load_query(low, high, a);
    const int rows[2] = {4 * low + lane_ % 4, 4 * high + lane_ % 4};  // of cells: two channels each
    const auto* qparams = reinterpret_cast<const uint32_t*>(stage.qparams);
    uint32_t scale[2], zero[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      scale[i] = qparams[rows[i]];
      zero[i] = qparams[head_dim() / 2 + rows[i]];
    }
    const bool upper = lane_ / 4 % 2 == 1;
#pragma unroll
    for (int first = 0; first < kWords; first += kLoad) {
      uint32_t words[2][kLoad], upper_words[2][kLoad];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_words(stage, rows[i], first / kLoad, words[i]);
        if constexpr (kKeyBits == 3) {
          load_words(stage, upper_row(head_dim() / 2, rows[i]), first / kLoad, upper_words[i]);
        }
      }
#pragma unroll
      for (int w = 0; w < kLoad; ++w) {
        const int lane = 2 * (kWords * (lane_ / 8) + first + w) + upper;
        if constexpr (kRotate) fill_sines(2 * rows[0], begin, lane);
        uint32_t x[2] = {spread_bytes(words[0][w], upper), spread_bytes(words[1][w], upper)};
        if constexpr (kKeyBits == 3) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            x[i] = join_stacks(x[i], spread_bytes(upper_words[i][w], upper), rows[i]);
          }
        }
#pragma unroll
        for (int slot = 0; slot < kKeySlots; ++slot) {
          uint32_t b[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            b[i] = multiply_add_pairs<T>(code_pair<T, kKeyBits>(x[i], slot * kKeyBits), scale[i],
                                         zero[i]);
          }
          if constexpr (kRotate) rotate_pairs(b, slot);
          multiply_matrices<T>(s[0][slot * kWords + first + w], a, b[0], b[1]);
        }
      }
    }
  }

  // Words part * kLoad ... of this thread's of a row of keys.
  INTP_DEVICE void load_words(const Stage& stage, int row, int part,
                              uint32_t (&words)[kLoad]) const {
    const auto* chunks = stage.codes + row * kWords;
    const int quarter = lane_ / 8;
    if constexpr (kLoad == 2) {
      const uint2 x = reinterpret_cast<const uint2*>(chunks)[quarter];
      words[0] = x.x;
      words[1] = x.y;
    } else {
      const uint4 x = chunks[(kWords / kLoad * quarter + part) ^ key_swizzle(row)];
      words[0] = x.x;
      words[1] = x.y;
      words[2] = x.z;
      words[3] = x.w;
    }
  }

  // Of channels f and f + 1 of the tokens of all slots of a lane; each thread for itself, in shared
  // memory, by a loop: so many sines side by side would take more registers than there are.
  INTP_DEVICE void fill_sines(int f, int begin, int lane) const {
    auto& sines = shared_.sines[warp_];
#pragma unroll 1
    for (int i = 0; i < 2 * kKeySlots; ++i) {
      const int key = begin + token_of(lane, i / 2);
      const int at = f + i % 2;
      const float position = key_positions(packed_, task_.b, key_axis(packed_, at))[key];
      sines[i][lane_] = sincos(rope_angle(position, packed_.inv_freq[at])) * packed_.scaling;
    }
  }

  // b[0] holds channels f and f + 1 of a key, b[1] those that they rotate with.
  INTP_DEVICE void rotate_pairs(uint32_t (&b)[2], int slot) const {
    const SinCos even_at = shared_.sines[warp_][2 * slot][lane_];
    const SinCos odd_at = shared_.sines[warp_][2 * slot + 1][lane_];
    const float2 low = unpack(T{}, b[0]), high = unpack(T{}, b[1]);
    const auto even = rotate(low.x, high.x, even_at.cos, even_at.sin);
    const auto odd = rotate(low.y, high.y, odd_at.cos, odd_at.sin);
    b[0] = pack(T{}, even.first, odd.first);
    b[1] = pack(T{}, even.second, odd.second);
  }

  INTP_DEVICE void mask_page(float (&s)[1][8][4], int begin) const {
    const KeySpan32 sinks = shared_.sinks;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const KeySpans32 visible = shared_.visible.rows[8 * half + lane_ / 4];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int lane = 2 * (kWords * (lane_ % 4) + j % kWords) + e;
          const int key = begin + token_of(lane, j / kWords);
          const bool is_sink = sinks.begin <= key && key < sinks.end;
          if (is_sink || !contains(visible, key)) s[0][j][2 * half + e] = kMasked;
        }
      }
    }
  }

  // sums += weights v: tiles 2 c and 2 c + 1 of the weights are of tokens 2 r ... 2 r + 3.
  INTP_DEVICE void sum_page(const float (&s)[1][8][4], const Stage& stage) {
    const int width = packed_.cache.value_group;
    const bool upper = lane_ / 4 % 2 == 1;
    uint32_t weights[4][4];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float (&from)[4] = s[0][i / 2];
      weights[i / 4][i % 4] = pack(T{}, from[i % 2 * 2], from[i % 2 * 2 + 1]);
    }
#pragma unroll 1  // all at once would take more registers than there are
    for (int c = 0; c < 4; ++c) {
      uint32_t a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[i] = c < 2 ? (c == 0 ? weights[0][i] : weights[1][i])
                     : (c == 2 ? weights[2][i] : weights[3][i]);
      }
      const int slot = 2 * c / kWords, w = 2 * c % kWords;
      const int token = token_of(2 * (kWords * (lane_ % 4) + w), slot), pair = token / 2;
      const int row = pair / kValueSlots;
      const int shift = kValueSlots == 4 ? pair % kValueSlots * kValueBits : 0;
      const auto* qparams = reinterpret_cast<const uint32_t*>(stage.qparams) + pair;
      uint2 scale{}, zero{};
      int next = 0;
#pragma unroll
      for (int d = 0; d < kPackedDim / 8; ++d) {
        if (8 * d >= head_dim()) continue;
        if (8 * d == next) {  // a group of channels begins
          scale = *reinterpret_cast<const uint2*>(qparams);
          zero = *reinterpret_cast<const uint2*>(qparams + kPageTokens / 2);
          qparams += kPageTokens;
          next += width;
        }
        const auto load = [&](int r) {
          const auto* chunk = stage.codes + r * kRowChunks + (d ^ value_swizzle(r));
          return spread_bytes(reinterpret_cast<const uint32_t*>(chunk)[lane_ / 8], upper);
        };
        uint32_t x = load(row);
        if constexpr (kValueBits == 3) {
          x = join_stacks(x, load(upper_row(32 / kValueSlots, row)), row);
        }
        const uint32_t y = kValueBits == 8 ? load(row + 1) : x;
        const uint32_t first = code_pair<T, kValueBits>(x, shift);
        const uint32_t second =
            code_pair<T, kValueBits>(y, kValueBits == 8 ? 0 : shift + kValueBits);
        multiply_matrices<T>(sums_.o[0][d], a, multiply_add_pairs<T>(first, scale.x, zero.x),
                             multiply_add_pairs<T>(second, scale.y, zero.y));
      }
    }
  }

  // --- rows: those after the pages, and sinks ----------------------------------------------------

  struct Rows {  // keys first <= key < end
    AttentionTensor<const void> k, v;
    int first, end;
  };

  INTP_DEVICE void attend_sinks() {
    const KeySpan32 sinks = shared_.sinks;
    const KvCache& cache = packed_.cache;
    const int64_t head = int64_t{cache.sinks} * head_dim();
    const auto rows_of = [&](const void* x) -> AttentionTensor<const void> {
      return {x, cache.heads * head, head, head_dim()};
    };
    const Rows rows{rows_of(cache.k_sinks), rows_of(cache.v_sinks), sinks.begin, sinks.end};
    for (int begin = sinks.begin + 16 * warp_; begin < sinks.end; begin += 16 * kTile.warps) {
      attend_rows(rows, begin);
    }
  }

  // Keys begin ... begin + 15, by this warp.
  INTP_DEVICE void attend_rows(const Rows& from, int begin) {
    auto& rows = shared_.rows[warp_];
    const KeySpans32 visible = shared_.visible.any;
    __syncwarp();  // the rows before have been used
    const auto copy = [&](const AttentionTensor<const void>& x, T* tile) {
      const T* first = head_data<T>(x, task_) + (begin - from.first) * x.stride_s;
      copy_rows<T, kPackedDim, 16, kWarp>(
          tile, lane_, head_dim(), [&](int r) { return first + r * x.stride_s; },
          [&](int r) { return begin + r < from.end && contains(visible, begin + r); });
    };
    copy(from.k, rows.k);
    copy(from.v, rows.v);
    commit_copies();
    wait_copies<0>();
    __syncwarp();
    float scores[1][2][4];
    multiply_keys<T, kPackedDim, 1, 16>(
        scores, rows.k, [&](int, int c, uint32_t (&a)[4]) { load_query(2 * c, 2 * c + 1, a); });
    const ScoreScale scale = score_scale(p_);
    cap_scores(scores, scale);
    mask_scores<1, 16>(scores, shared_.visible.rows, begin);
    mask_beyond(scores, from.end - begin);
    sums_.weigh(scores, scale.factor);
    multiply_values<T, kPackedDim, 1, 16>(sums_.o, scores, rows.v);
  }

  // Of the tile, keys from `count` on.
  INTP_DEVICE void mask_beyond(float (&s)[1][2][4], int count) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (8 * j + lane_ % 4 * 2 + e % 2 >= count) s[0][j][e] = kMasked;
      }
    }
  }

  const AttentionLaunch& launch_;
  const AttentionParams& p_;
  const PackedKeys& packed_;
  Shared& shared_;
  const BlockTask task_;
  const int lane_, warp_;
  RunningSums<1, kPackedDim> sums_;
};

template <class T, int kKeyBits, int kValueBits>
__global__ void __launch_bounds__(packed_tile(kKeyBits).warps* kWarp, packed_tile(kKeyBits).blocks)
    packed_kernel(const __grid_constant__ PackedLaunch launch) {
  PackedBlock<T, kKeyBits, kValueBits>(launch).run();
}

template <class T, int kKeyBits, int kValueBits>
void launch_packed_of(const PackedLaunch& launch, int blocks, cudaStream_t stream) {
  using Shared = PackedShared<T, kKeyBits, kValueBits>;
  static_assert(sizeof(Shared) <= kMostShared);
  launch_kernel(packed_kernel<T, kKeyBits, kValueBits>, dim3(blocks), Shared::kTile.warps * kWarp,
                sizeof(Shared), stream, launch);
}

template <class T>
void launch_packed_decode(const PackedLaunch& launch, int blocks, cudaStream_t stream) {
  const KvCache& cache = launch.packed.cache;
  with_widths(cache.key_bits, cache.value_bits, [&](auto keys, auto values) {
    launch_packed_of<T, decltype(keys)::value, decltype(values)::value>(launch, blocks, stream);
  });
}

}  // namespace intp::cuda
