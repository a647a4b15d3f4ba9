#pragma once

// How one call of attention is computed on a GPU: the kernel, the size of its tiles, the number of
// its blocks. The kernels, the operator and attention_plan() all read it from here.
//
// The fewest bytes and flops of each kernel are in docs/cuda.md.
//
// Everything here depends on shapes alone, never on what device memory holds: a captured CUDA graph
// stays right when bounds and offsets change.

#include <cstdint>

#include "attention/params.h"
#include "cuda/limits.h"

namespace intp::cuda {

enum class AttentionKernel { kPrefill, kDecode, kPackedDecode, kSimt };

// Why not another one.
enum class AttentionChoice {
  kFloat32,
  kUnaligned,
  kWideHead,
  kFewRows,
  kFewWideRows,
  kManyRows,
  kPages,
  kUnevenRotation,  // of packed keys
};

struct AttentionTile {
  int rows;
  int keys;
  int warps;
  int blocks;  // of a multiprocessor: what registers and shared memory are shared by
  int stages;  // tiles of keys in shared memory at a time
};

// Head dims that prefill is compiled for; others are padded with zeros in shared memory.
INTP_HD constexpr int prefill_dim(int64_t head_dim) {
  if (head_dim <= 64) return 64;
  if (head_dim <= 96) return 96;
  if (head_dim <= 128) return 128;
  return head_dim <= 192 ? 192 : 256;
}

// Padding is not read from memory, the bound of decode: two sizes do. Beyond them, its 16 queries
// and their sums would not fit into registers.
INTP_HD constexpr int decode_dim(int64_t head_dim) { return head_dim <= 64 ? 64 : 128; }

// The one place that chooses tile sizes.
INTP_HD constexpr AttentionTile attention_tile(AttentionKernel kernel, int dim) {
  switch (kernel) {
    case AttentionKernel::kPrefill:
      // 32 rows a warp: each key fragment read from shared memory serves two products, without
      // which shared memory, not the tensor cores, is the bound. D = 128: 128 registers of sums and
      // 64 of scores, so that two blocks share a multiprocessor and one computes while the other
      // waits. From D = 192 the sums leave room for 16 rows a warp. (As FlashAttention-2 has it.)
      return {dim <= 128 ? 128 : 64, 64, 4, dim <= 128 ? 2 : 1, 1};
    case AttentionKernel::kDecode:
      // 16 rows, the least of a tensor core product, and every warp on keys of its own, 16 at a
      // time: no barrier, and two of three stages always on their way. At D = 128 that is 64 KiB a
      // block in flight, 128 a multiprocessor; latency times bandwidth is about 30 KiB on an H200.
      return {16, 16, 4, 2, 3};
    case AttentionKernel::kSimt:
      // 16 x 16 threads with 4 x 4 scores each: 8 loads for 16 multiply-adds.
      return {64, 64, 8, 2, 1};
    case AttentionKernel::kPackedDecode:
      break;  // by the width of keys: packed_tile()
  }
  return {};
}

constexpr int64_t kDecodeRows = attention_tile(AttentionKernel::kDecode, 128).rows;
constexpr int64_t kDecodeDim = 128, kPrefillDim = 256;  // the widest heads
constexpr int64_t kSimtChannels = 128;                  // of the output, a block of the SIMT kernel
constexpr int64_t kLeastKeysPerSplit = 256;

// Over packed keys, by tensor cores: 16 rows, as in decode, and every warp on pages of its own. A
// page's keys are a stage, and its values: 8 to 2 KiB of codes at D = 128, with their scales and
// zero points. Where two blocks share a multiprocessor, 48 KiB of codes or more stay in flight.
constexpr int kPackedDim = 128;  // the widest head

INTP_HD constexpr AttentionTile packed_tile(int key_bits) {
  return {16, kPageTokens, 4, 2, key_bits == 8 ? 2 : key_bits == 2 ? 4 : 3};
}

struct AttentionPlan {
  AttentionKernel kernel;
  AttentionChoice choice;
  AttentionTile tile;
  int64_t row_tiles;  // of a key head
  int64_t slices;     // of the channels of the output: SIMT kernel
  int64_t splits;     // blocks that share the keys of a row tile; their results are then combined
  int64_t blocks;
  int64_t unpacked;   // float elements: keys and values as rows, where pages become rows; else 0
  int64_t workspace;  // float elements: those, and then partial results, none without splits
};

// Are base and strides of x on 16 bytes?
template <class Data>
INTP_HD bool is_aligned(const AttentionTensor<Data>& x) {
  constexpr int64_t kElements = 8;  // of 16 bits
  return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride_b % kElements == 0 &&
         x.stride_h % kElements == 0 && x.stride_s % kElements == 0;
}

// Are the pages on 16 bytes?
INTP_HD bool has_aligned_pages(const KvCache& cache) {
  uintptr_t addresses = 0;
  for (const void* x :
       {static_cast<const void*>(cache.k_codes), static_cast<const void*>(cache.v_codes),
        static_cast<const void*>(cache.k_qparams), static_cast<const void*>(cache.v_qparams),
        static_cast<const void*>(cache.k_sinks), static_cast<const void*>(cache.v_sinks)}) {
    addresses |= reinterpret_cast<uintptr_t>(x);
  }
  return addresses % 16 == 0;
}

INTP_HD AttentionChoice choose_packed(const AttentionParams& p) {
  const PackedKeys& packed = *p.packed;
  if (p.type == FloatType::kFloat32) return AttentionChoice::kFloat32;
  if (p.head_dim > kPackedDim) return AttentionChoice::kWideHead;
  // both channels of a rotation are in one fragment
  if (packed.frequencies % 8 != 0) return AttentionChoice::kUnevenRotation;
  const bool rows = p.keys == packed.tokens || (is_aligned(p.k) && is_aligned(p.v));
  const bool aligned =
      has_aligned_pages(packed.cache) && rows && is_aligned(p.q) && is_aligned(p.out);
  return aligned ? AttentionChoice::kPages : AttentionChoice::kUnaligned;
}

INTP_HD AttentionChoice choose_attention(const AttentionParams& p) {
  if (p.packed != nullptr) return choose_packed(p);
  if (p.type == FloatType::kFloat32) return AttentionChoice::kFloat32;
  if (p.head_dim > kPrefillDim) return AttentionChoice::kWideHead;
  const bool aligned = p.head_dim % 8 == 0 && p.value_dim % 8 == 0 && is_aligned(p.q) &&
                       is_aligned(p.k) && is_aligned(p.v) && is_aligned(p.out);
  if (!aligned) return AttentionChoice::kUnaligned;
  if (attention_rows(p) > kDecodeRows) return AttentionChoice::kManyRows;
  return p.head_dim > kDecodeDim ? AttentionChoice::kFewWideRows : AttentionChoice::kFewRows;
}

// Rows, slices and keys among blocks, of a plan with kernel, tile and slices.
INTP_HD void divide_work(const AttentionParams& p, int64_t multiprocessors, AttentionPlan& plan) {
  const int64_t rows = attention_rows(p);
  plan.row_tiles = divide_up(rows, plan.tile.rows);
  // Where there are too few row tiles to occupy the GPU: as many splits as still run all at once.
  const int64_t whole = p.batch * p.kv_heads * plan.row_tiles * plan.slices;
  const int64_t room = plan.tile.blocks * multiprocessors / most(whole, 1);
  plan.splits = most(1, least(room, divide_up(p.keys, kLeastKeysPerSplit)));
  plan.blocks = whole * plan.splits;
  // maximum, total and Dv sums of each row
  if (plan.splits > 1) {
    plan.workspace += p.batch * p.kv_heads * plan.splits * rows * (p.value_dim + 2);
  }
}

// Rows of a key head up to which pages are read as they lie, and unpacked for every 16 of them.
// Beyond, they become rows once: writing and reading 4 bytes of a channel then costs less than
// unpacking it once more for each 16 rows, and the kernels are those of 16 bits.
constexpr int64_t kMostRowsOverPages = 64;

INTP_HD bool unpacks(const AttentionParams& p) {
  return p.packed != nullptr && p.packed->tokens > 0 && attention_rows(p) > kMostRowsOverPages &&
         has_aligned_pages(p.packed->cache);
}

// Of keys, and of values, as rows.
INTP_HD int64_t unpacked_elements(const AttentionParams& p) {
  return p.batch * p.kv_heads * p.keys * p.head_dim;
}

// The same attention over rows [B, Hkv, Skv, D], on 16 bytes.
INTP_HD AttentionParams over_rows(AttentionParams p, const void* k, const void* v) {
  const int64_t head = p.keys * p.head_dim;
  p.k = {k, p.kv_heads * head, head, p.head_dim};
  p.v = {v, p.kv_heads * head, head, p.head_dim};
  p.packed = nullptr;
  return p;
}

// Keys as they lie, in pages or as rows.
INTP_HD AttentionPlan plan_in_place(const AttentionParams& p, int64_t multiprocessors) {
  AttentionPlan plan{};
  plan.choice = choose_attention(p);
  plan.slices = 1;
  switch (plan.choice) {
    case AttentionChoice::kManyRows:
    case AttentionChoice::kFewWideRows:
      plan.kernel = AttentionKernel::kPrefill;
      plan.tile = attention_tile(plan.kernel, prefill_dim(p.head_dim));
      break;
    case AttentionChoice::kFewRows:
      plan.kernel = AttentionKernel::kDecode;
      plan.tile = attention_tile(plan.kernel, decode_dim(p.head_dim));
      break;
    case AttentionChoice::kPages:
      plan.kernel = AttentionKernel::kPackedDecode;
      plan.tile = packed_tile(p.packed->cache.key_bits);
      break;
    default:
      plan.kernel = AttentionKernel::kSimt;
      plan.tile = attention_tile(plan.kernel, static_cast<int>(kSimtChannels));
      plan.slices = divide_up(p.value_dim, kSimtChannels);
  }
  divide_work(p, multiprocessors, plan);
  return plan;
}

INTP_HD AttentionPlan plan_attention(const AttentionParams& p, int64_t multiprocessors) {
  if (!unpacks(p)) return plan_in_place(p, multiprocessors);
  AttentionPlan plan = plan_in_place(over_rows(p, nullptr, nullptr), multiprocessors);
  plan.unpacked = unpacked_elements(p) * (p.type == FloatType::kFloat32 ? 2 : 1);
  plan.workspace += plan.unpacked;
  return plan;
}

}  // namespace intp::cuda
