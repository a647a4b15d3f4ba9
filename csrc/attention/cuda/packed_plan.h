#pragma once

// How one call of attention over a packed cache is computed on a GPU, as plan.h has
// it for keys and values as they are. From shapes alone.

#include "attention/cuda/plan.h"
#include "attention/packed_keys.h"

namespace intp::cuda {

constexpr int kPackedPage = static_cast<int>(kPageTokens);
constexpr int kPackedDim = 128;  // widest head of the tensor core kernel

// 16 rows, as in decode, and every warp on pages of its own. A page's keys are a stage, and its
// values: 8, 4 or 2 KiB of codes at D = 128, with their ranges. Where two blocks share a
// multiprocessor, 48 KiB of codes and more are always on their way.
INTP_HD constexpr AttentionTile packed_tile(int bits) {
  return {16, kPackedPage, 4, 2, bits == 8 ? 2 : bits == 4 ? 3 : 4};
}

// Codes of a stage, and the ranges of a page's values in groups of 16 channels, which are longer
// than those of its keys.
INTP_HD constexpr int packed_codes_bytes(int bits) { return kPackedPage * kPackedDim * bits / 8; }
constexpr int kPackedRangeBytes = kPackedDim / 16 * 2 * kPackedPage * 2;

// Can the tensor core kernel take it?
INTP_HD bool packed_on_tensor_cores(const AttentionParams& p, const PackedKeys& keys) {
  if (p.type == FloatType::kFloat32 || p.head_dim > kPackedDim) return false;
  // both channels of a turn in one fragment
  if (keys.frequencies % 8 != 0) return false;
  const KvCache& cache = keys.cache;
  uintptr_t addresses = 0;
  for (const void* x :
       {static_cast<const void*>(cache.k_codes), static_cast<const void*>(cache.v_codes),
        static_cast<const void*>(cache.k_ranges), static_cast<const void*>(cache.v_ranges)}) {
    addresses |= reinterpret_cast<uintptr_t>(x);
  }
  const bool rows = p.keys == keys.tokens || (is_aligned(p.k) && is_aligned(p.v));
  return addresses % 16 == 0 && rows && is_aligned(p.q) && is_aligned(p.out);
}

INTP_HD AttentionPlan plan_packed_attention(const AttentionParams& p, const PackedKeys& keys,
                                            int64_t multiprocessors) {
  AttentionPlan plan{};
  plan.slices = 1;
  if (packed_on_tensor_cores(p, keys)) {
    plan.kernel = AttentionKernel::kDecode;
    plan.tile = packed_tile(static_cast<int>(keys.cache.bits));
  } else {
    plan.kernel = AttentionKernel::kPlain;
    plan.tile = attention_tile(plan.kernel, static_cast<int>(kPlainChannels));
    plan.slices = divide_up(p.head_dim, kPlainChannels);
  }
  divide_work(p, multiprocessors, plan);
  return plan;
}

}  // namespace intp::cuda
