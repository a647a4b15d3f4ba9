#include "check.h"
#include "common/kv_page.h"

#include <set>
#include <utility>
#include <vector>

using namespace intp;

namespace {

// [B, H, pages, bytes], [B, H, groups, 2, D], [B, H, pages, value groups, 2, 64] and [B, H, R, D]
void check_offsets() {
  KvCache cache{};
  std::vector<uint8_t> codes(18 * page_bytes(3, 80));
  cache.k_codes = cache.v_codes = codes.data();
  cache.key_bits = 3;
  cache.value_bits = 2;
  cache.head_dim = 80;
  cache.key_group = 128;
  cache.value_group = 64;
  cache.page_capacity = 6;
  cache.row_capacity = 200;
  CHECK(group_pages(cache) == 2);
  CHECK(key_page(cache, 2, 5) - cache.k_codes == (2 * 6 + 5) * page_bytes(3, 80));
  CHECK(value_page(cache, 2, 5) - cache.v_codes == (2 * 6 + 5) * page_bytes(2, 80));
  CHECK(key_qparams_offset(cache, 2, 5) == (2 * 3 + 2) * 2 * 80);
  CHECK(key_qparams_offset(cache, 2, 4) == key_qparams_offset(cache, 2, 5));
  CHECK(value_qparams_offset(cache, 2, 5, 1) == ((2 * 6 + 5) * 2 + 1) * 2 * 64);
  CHECK(kv_row_offset(cache, 2, 7) == (2 * 200 + 7) * 80);
}

// A code of 3 bits: two of them in the byte, and one in the half of a byte that is the next row's.
void check_upper_bits() {
  constexpr int kDim = 32, kLower = kPageTokens * kDim / 4;
  const CodePlace at = key_code(3, kDim, 37, 6);  // row 3, slot 2, lane 5
  CHECK(at.stack.byte == 3 * 32 + 10 && at.shift == 6);
  CHECK(at.stack.upper == kLower + 32 + 10 && at.stack.upper_shift == 4);
  uint8_t page[page_bytes(3, kDim)] = {};
  page[at.stack.byte] = 0x7f;
  page[at.stack.upper] = 0x1f;
  CHECK(read_code(3, page, at) == 0b101);
  CHECK(read_code(3, page, key_code(3, kDim, 5, 6)) == 0b111);   // slot 0
  CHECK(read_code(3, page, key_code(3, kDim, 53, 6)) == 0b000);  // slot 3
  CHECK(value_code(3, kDim, 15, 17).stack.upper == kLower + 32 + 3);
  CHECK(value_code(3, kDim, 15, 17).stack.upper_shift == 4);
}

}  // namespace

// Every code of a page has bits of its own, and together they fill it.
int main() {
  check_offsets();
  for (int bits = 2; bits <= 8; ++bits) {
    if (!is_code_width(bits)) continue;
    for (int dim : {16, 80, 128}) {
      for (bool key : {true, false}) {
        std::set<std::pair<int, int>> places;  // byte and bit
        for (int t = 0; t < kPageTokens; ++t) {
          for (int c = 0; c < dim; ++c) {
            const CodePlace at = key ? key_code(bits, dim, t, c) : value_code(bits, dim, t, c);
            if (key) {  // a lane of a slot of a cell, and back
              const int slot = at.shift / bits, cell = at.stack.byte / kCellBytes;
              const int lane = at.stack.byte % kCellBytes / 2;
              CHECK(key_token(bits, cell % key_columns(bits), slot, lane) == t);
            }
            CHECK(at.shift % bits == 0 && at.shift + bits <= (bits == 3 ? 12 : 8));
            for (int bit = at.shift; bit < at.shift + bits; ++bit) {
              const bool is_upper = bit >= 8;
              const int byte = is_upper ? at.stack.upper : at.stack.byte;
              CHECK(0 <= byte && byte < page_bytes(bits, dim));
              places.insert({byte, is_upper ? bit - 8 + at.stack.upper_shift : bit});
            }
          }
        }
        CHECK(static_cast<int>(places.size()) == 8 * page_bytes(bits, dim));
      }
    }
  }
  CHECK(key_code(4, 64, 17, 5).stack.byte == 2 * 64 + 3 && key_code(4, 64, 17, 5).shift == 4);
  CHECK(value_code(2, 32, 7, 20).stack.byte == 32 + 9 && value_code(2, 32, 7, 20).shift == 6);
  check_upper_bits();
  CHECK(value_groups(80, 64) == 2 && largest_code(2) == 3);
}
