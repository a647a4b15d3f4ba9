#pragma once

// The memory of a KV cache, the packed format of its pages, and every address in it.
// intp_ext/reference_kv.py has the same in PyTorch.
//
// A page is 64 tokens of one key head: 64 * D codes, in cells of 16 lanes of 2 stacks. A stack has
// one code of every slot, side by side. Stack (lane, half) is byte 2 * lane + half of a cell, so a
// slot becomes one vector of 16 pairs by one shift: what a product of pairs wants, at no cost.
//
//            lanes                 halves                  slots              cells [rows, columns]
//   keys     tokens 16 x + lane    channels 2 r, 2 r + 1   x, x + 1, ...      [D / 2, 4 / slots]
//   values   channels 16 x + lane  tokens 2 r, 2 r + 1     r, r + 1, ...      [32 / slots, D / 16]
//
//   bits   slots   bits of a stack
//   8      1       8
//   4      2       8
//   3      4       12: the byte has the lower 8
//   2      4       8
//
// The upper 4 bits of two stacks, in rows 2 i and 2 i + 1 of a column, share a byte; such bytes lie
// as the lower ones do, [rows / 2, columns] cells, behind all of those.
//
// The sink of a row of the batch, its first real tokens, lies beside the pages as it is. In a page
// it stands as padding does, outside of every range, and readers use none of its codes.
//
// x = zero point + scale * code. Keys have a scale and a zero point for each channel over
// `key_group` tokens, values for each token over `value_group` channels (KIVI, arXiv 2402.02750).

#include <cstdint>
#include <type_traits>

#include "common/dtype.h"
#include "common/macros.h"

namespace intp {

constexpr int kPageTokens = 64;
constexpr int kCellLanes = 16;
constexpr int kCellBytes = 2 * kCellLanes;

// --- widths ---

INTP_HD constexpr bool is_code_width(int64_t bits) {
  return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

// Of keys and of values: one width, or 3 and 2, "2.5 bits". An error of a key changes which values
// are summed, so where a bit is left, it is the keys'.
INTP_HD constexpr bool are_code_widths(int64_t key_bits, int64_t value_bits) {
  return is_code_width(key_bits) && (value_bits == key_bits || (key_bits == 3 && value_bits == 2));
}

// f(std::integral_constant) for one of them.
template <class F>
static inline void with_bits(int bits, F f) {
  if (bits == 2) return f(std::integral_constant<int, 2>());
  if (bits == 3) return f(std::integral_constant<int, 3>());
  if (bits == 4) return f(std::integral_constant<int, 4>());
  f(std::integral_constant<int, 8>());
}

// f(width of keys, width of values), as std::integral_constant.
template <class F>
static inline void with_widths(int key_bits, int value_bits, F f) {
  with_bits(key_bits, [&](auto keys) {
    if constexpr (decltype(keys)::value == 3) {
      if (value_bits == 2) return f(keys, std::integral_constant<int, 2>());
    }
    f(keys, keys);
  });
}

// --- the cache ---

// The memory of one cache: tokens 0 ... packed - 1 in pages, whole key groups, the rest as rows.
// What is packed when, reference_kv.packed_tokens says. All contiguous. What a GPU divides by is
// int32.
struct KvCache {
  FloatType type;                // of rows, scales and zero points
  int32_t key_bits, value_bits;  // 16, both: nothing is packed
  int32_t head_dim;              // D
  int32_t key_group;             // tokens, whole pages
  int32_t value_group;           // channels
  int64_t batch, heads;
  int32_t page_capacity;  // of a head, whole key groups
  int64_t row_capacity;
  uint8_t* k_codes;  // [B, H, pages, page_bytes of its width]
  uint8_t* v_codes;
  void* k_qparams;  // [B, H, key groups, 2, D]              scales, then zero points
  void* v_qparams;  // [B, H, pages, value groups, 2, 64]
  void* k_rows;     // [B, H, row_capacity, D]
  void* v_rows;
  int32_t sinks;  // tokens of a row of the batch; with 0 the following are not read
  void* k_sinks;  // [B, H, sinks, D]
  void* v_sinks;
  const int32_t* first;  // [B]: first real token, 2^31 - 1 where there is none
};

// --- sizes ---

INTP_HD constexpr int page_bytes(int bits, int head_dim) {
  return kPageTokens * head_dim * bits / 8;
}

// The last group may be narrower.
INTP_HD constexpr int value_groups(int head_dim, int value_group) {
  return (head_dim + value_group - 1) / value_group;
}

INTP_HD constexpr int largest_code(int bits) { return (1 << bits) - 1; }

INTP_HD int group_pages(const KvCache& cache) { return cache.key_group / kPageTokens; }

// --- where a page, its scales and zero points, and a row begin
// -------------------------------------
//
// Pages by their address, others in elements of the buffer. head: b * H + h.

INTP_HD int64_t page_offset(const KvCache& cache, int bits, int64_t head, int page) {
  return (head * cache.page_capacity + page) * page_bytes(bits, cache.head_dim);
}

INTP_HD uint8_t* key_page(const KvCache& cache, int64_t head, int page) {
  return cache.k_codes + page_offset(cache, cache.key_bits, head, page);
}

INTP_HD uint8_t* value_page(const KvCache& cache, int64_t head, int page) {
  return cache.v_codes + page_offset(cache, cache.value_bits, head, page);
}

// Scales [D], then zero points [D].
INTP_HD int64_t key_qparams_offset(const KvCache& cache, int64_t head, int page) {
  const int pages = group_pages(cache);
  return (head * (cache.page_capacity / pages) + page / pages) * 2 * cache.head_dim;
}

// Scales [64], then zero points [64].
INTP_HD int64_t value_qparams_offset(const KvCache& cache, int64_t head, int page, int group) {
  const int groups = value_groups(cache.head_dim, cache.value_group);
  return ((head * cache.page_capacity + page) * groups + group) * 2 * kPageTokens;
}

INTP_HD int64_t kv_row_offset(const KvCache& cache, int64_t head, int64_t row) {
  return (head * cache.row_capacity + row) * cache.head_dim;
}

// --- sinks ---

// Token t of row b of the batch is a sink if that is 0 <= slot < sinks.
INTP_HD int64_t sink_slot(const KvCache& cache, int64_t b, int64_t t) { return t - cache.first[b]; }

INTP_HD bool is_sink(const KvCache& cache, int64_t b, int64_t t) {
  if (cache.sinks == 0) return false;
  const int64_t slot = sink_slot(cache, b, t);
  return 0 <= slot && slot < cache.sinks;
}

INTP_HD int64_t sink_offset(const KvCache& cache, int64_t head, int64_t slot) {
  return (head * cache.sinks + slot) * cache.head_dim;
}

// --- where a code lies within its page ---

INTP_HD constexpr int cell_slots(int bits) { return bits == 8 ? 1 : bits == 4 ? 2 : 4; }

// Rows of cells whose stacks share bytes.
INTP_HD constexpr int shared_rows(int bits) { return bits == 3 ? 2 : 1; }

// Cells of a row of keys.
INTP_HD constexpr int key_columns(int bits) { return kPageTokens / kCellLanes / cell_slots(bits); }

// The bytes of a page before those of upper bits.
INTP_HD constexpr int lower_bytes(int bits, int head_dim) {
  return kPageTokens * head_dim / cell_slots(bits);
}

// Where the bytes of a cell begin, and of 3 bits those of the upper bits and their shift in them.
struct CellPlace {
  int byte;
  int upper, upper_shift;
};

INTP_HD constexpr CellPlace cell_place(int bits, int head_dim, int columns, int row, int column) {
  const int shared = shared_rows(bits);
  return {(row * columns + column) * kCellBytes,
          lower_bytes(bits, head_dim) + (row / shared * columns + column) * kCellBytes,
          row % shared * 4};
}

INTP_HD constexpr CellPlace key_cell(int bits, int head_dim, int row, int column) {
  return cell_place(bits, head_dim, key_columns(bits), row, column);
}

INTP_HD constexpr CellPlace value_cell(int bits, int head_dim, int row, int column) {
  return cell_place(bits, head_dim, head_dim / kCellLanes, row, column);
}

// The token of a lane of a slot of a cell of keys.
INTP_HD constexpr int key_token(int bits, int column, int slot, int lane) {
  return (column * cell_slots(bits) + slot) * kCellLanes + lane;
}

struct CodePlace {
  CellPlace stack;
  int shift;
};

INTP_HD CodePlace code_place(int bits, const CellPlace& cell, int lane, int half, int slot) {
  const int at = 2 * lane + half;
  return {{cell.byte + at, cell.upper + at, cell.upper_shift}, slot * bits};
}

INTP_HD CodePlace key_code(int bits, int head_dim, int token, int channel) {
  const int slots = cell_slots(bits), run = token / kCellLanes;
  return code_place(bits, key_cell(bits, head_dim, channel / 2, run / slots), token % kCellLanes,
                    channel % 2, run % slots);
}

INTP_HD CodePlace value_code(int bits, int head_dim, int token, int channel) {
  const int slots = cell_slots(bits), pair = token / 2;
  return code_place(bits, value_cell(bits, head_dim, pair / slots, channel / kCellLanes),
                    channel % kCellLanes, token % 2, pair % slots);
}

INTP_HD int read_code(int bits, const uint8_t* page, const CodePlace& at) {
  int stack = page[at.stack.byte];
  if (bits == 3) stack |= page[at.stack.upper] >> at.stack.upper_shift << 8;
  return stack >> at.shift & largest_code(bits);
}

}  // namespace intp
