#pragma once

// The packed format of cached keys and values. intp_ext/reference_kv.py has the same in PyTorch.
//
// A page is 64 tokens of one key head: 64 * D codes of 2, 4 or 8 bits, in cells of 32 bytes. A cell
// has 8 / bits slots of 16 lanes of 2 codes; code (lane, half) of a slot lies in byte 2 * lane +
// half, so a slot becomes one vector of 16 pairs: what a product of pairs wants, at no cost.
//
//            lanes                 halves                  slots
//   keys     tokens 16 x + lane    channels 2 r, 2 r + 1   x, x + 1, ...   rows r of cells: D / 2
//   values   channels 16 x + lane  tokens 2 r, 2 r + 1     r, r + 1, ...   columns x of cells: D /
//   16
//
// x = zero + scale * code. Keys have a scale and a zero for each channel over `key_group` tokens,
// values for each token over `value_group` channels (KIVI, arXiv 2402.02750).

#include <cstdint>

#include "common/macros.h"

namespace intp {

constexpr int64_t kPageTokens = 64;
constexpr int64_t kCellLanes = 16;
constexpr int64_t kCellBytes = 2 * kCellLanes;

INTP_HD int64_t page_bytes(int64_t bits, int64_t head_dim) {
  return kPageTokens * head_dim * bits / 8;
}

// Scales and zeros of one page's values: [groups, 2, 64], the last group may be narrower.
INTP_HD int64_t value_groups(int64_t head_dim, int64_t value_group) {
  return (head_dim + value_group - 1) / value_group;
}

INTP_HD int64_t largest_code(int64_t bits) { return (int64_t{1} << bits) - 1; }

// Where a code lies within its page.
struct CodePlace {
  int byte;
  int shift;
};

INTP_HD CodePlace key_code(int bits, int token, int channel) {
  const int lanes = static_cast<int>(kCellLanes), slots = 8 / bits, x = token / lanes;
  const int cell = channel / 2 * (static_cast<int>(kPageTokens) / lanes / slots) + x / slots;
  return {cell * 2 * lanes + token % lanes * 2 + channel % 2, x % slots * bits};
}

INTP_HD CodePlace value_code(int bits, int head_dim, int token, int channel) {
  const int lanes = static_cast<int>(kCellLanes), slots = 8 / bits, r = token / 2;
  const int cell = r / slots * (head_dim / lanes) + channel / lanes;
  return {cell * 2 * lanes + channel % lanes * 2 + token % 2, r % slots * bits};
}

}  // namespace intp
