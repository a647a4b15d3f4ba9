#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/kv_page.h"
#include "common/rope.h"
#include "common/tiles.h"
#include "common/visibility.h"

namespace intp {

// The pages of a cache as attention reads them.
struct PackedKeys {
  KvCache cache;
  int64_t tokens;  // in pages: a multiple of key_group

  // Keys that are rotated while they are read, by position * inv_freq; no frequencies: as they are.
  const float* positions;  // [A, B, R], strides in elements, unit stride in R
  int64_t position_stride_a, position_stride_b;
  int axes;               // A: 1, or 3 for M-RoPE
  RopeSections sections;  // read when A = 3
  const float* inv_freq;  // [F]
  int64_t frequencies;    // F, even
  float scaling;          // on cos and sin
};

// Axis of positions by which packed keys are rotated at frequency f.
INTP_HD int key_axis(const PackedKeys& keys, int64_t f) {
  return keys.axes == 1 ? 0 : rope_axis(keys.sections, f);
}

// Of the tokens of batch row b.
INTP_HD const float* key_positions(const PackedKeys& keys, int64_t b, int axis) {
  return keys.positions + axis * keys.position_stride_a + b * keys.position_stride_b;
}

// [B, H, S, D], strides in elements, unit stride in D
template <class Data>
struct AttentionTensor {
  Data* data;
  int64_t stride_b, stride_h, stride_s;
};

// out[b, h, s] = sum over visible j of weight[j] * v[b, h / G, j], where weight is the softmax of
// scale * q[b, h, s] . k[b, h / G, j], which softcap and sinks may change
struct AttentionParams {
  AttentionTensor<const void> q;  // [B, Hq, Sq, D]
  AttentionTensor<const void> k;  // [B, Hkv, Skv, D]
  AttentionTensor<const void> v;  // [B, Hkv, Skv, Dv]
  AttentionTensor<void> out;      // [B, Hq, Sq, Dv]
  FloatType type;
  int64_t batch;      // B
  int64_t kv_heads;   // Hkv
  int64_t group;      // G = Hq / Hkv query heads share a key head
  int64_t queries;    // Sq
  int64_t keys;       // Skv
  int64_t head_dim;   // D
  int64_t value_dim;  // Dv <= D; D with pages

  // Not null: the first packed->tokens keys are packed, k and v hold those after them.
  const PackedKeys* packed;

  const RowBounds* bounds;  // [B]
  WindowParams window;
  const int32_t* first_key;    // [1 or B, Sq], with WindowKind::kFirstKeys
  int64_t first_key_stride_b;  // 0: the same for all batch rows
  float scale;
  float softcap;       // scores are softcap * tanh(score / softcap); 0: as they are
  const float* sinks;  // [Hq], not null: one more score, without a value
};

constexpr const char* kAttention = "attention_core";
constexpr const char* kPackedAttention = "kv_attention";

inline const char* operator_name(const AttentionParams& p) {
  return p.packed == nullptr ? kAttention : kPackedAttention;
}

// The heads of a group see the same keys: to the kernels, a key head has rows 0 <= r < G * Sq, and
// row r is query r / G of head r % G of the group.
INTP_HD int64_t attention_rows(const AttentionParams& p) { return p.group * p.queries; }

// Absolute indices of the queries in rows begin <= r < end.
INTP_HD QuerySpan query_indices(const AttentionParams& p, const RowBounds& row, int64_t begin,
                                int64_t end) {
  return {row.q_offset + begin / p.group, row.q_offset + (end - 1) / p.group};
}

// Where the first keys of those queries of batch row b lie.
INTP_HD const int32_t* first_key_of(const AttentionParams& p, int64_t b, int64_t begin) {
  return p.first_key + b * p.first_key_stride_b + begin / p.group;
}

// The queries in rows begin <= r < end of batch row b.
INTP_HD QuerySpan attention_queries(const AttentionParams& p, int64_t b, int64_t begin,
                                    int64_t end) {
  const RowBounds& row = p.bounds[b];
  QuerySpan queries = query_indices(p, row, begin, end);
  if (p.window.kind != WindowKind::kFirstKeys) return queries;
  const int32_t* keys = first_key_of(p, b, begin);
  const int64_t count = last_windowed(row, p.window, queries) - queries.first + 1;
  FirstKeys found{keys[0], keys[0]};
  for (int64_t n = 1; n < count; ++n) {
    found = {least(found.least, keys[n]), most(found.most, keys[n])};
  }
  queries.first_keys = found;
  return queries;
}

}  // namespace intp
