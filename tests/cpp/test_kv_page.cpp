#include "check.h"
#include "common/kv_page.h"

#include <set>
#include <utility>

using namespace intp;

namespace {

// [B, H, pages, bytes], [B, H, groups, 2, D], [B, H, pages, value groups, 2, 64] and [B, H, R, D]
void check_offsets() {
  KvCache cache{};
  cache.bits = 4;
  cache.head_dim = 80;
  cache.key_group = 128;
  cache.value_group = 64;
  cache.page_capacity = 6;
  cache.row_capacity = 200;
  CHECK(group_pages(cache) == 2 && packed_tokens(cache, 300) == 256);
  CHECK(page_offset(cache, 2, 5) == (2 * 6 + 5) * page_bytes(4, 80));
  CHECK(key_qparams_offset(cache, 2, 5) == (2 * 3 + 2) * 2 * 80);
  CHECK(key_qparams_offset(cache, 2, 4) == key_qparams_offset(cache, 2, 5));
  CHECK(value_qparams_offset(cache, 2, 5, 1) == ((2 * 6 + 5) * 2 + 1) * 2 * 64);
  CHECK(kv_row_offset(cache, 2, 7) == (2 * 200 + 7) * 80);
  cache.bits = 16;
  CHECK(packed_tokens(cache, 300) == 0);
}

}  // namespace

// Every code of a page has bits of its own, and together they fill it.
int main() {
  check_offsets();
  for (int bits : {2, 4, 8}) {
    for (int dim : {16, 80, 128}) {
      for (bool key : {true, false}) {
        std::set<std::pair<int64_t, int>> places;
        for (int t = 0; t < kPageTokens; ++t) {
          for (int c = 0; c < dim; ++c) {
            const CodePlace at = key ? key_code(bits, t, c) : value_code(bits, dim, t, c);
            if (key) {  // a lane of a slot of a cell, and back
              const int slot = at.shift / bits, cell = at.byte / kCellBytes;
              const int lane = at.byte % kCellBytes / 2;
              CHECK(key_token(bits, cell % key_columns(bits), slot, lane) == t);
            }
            CHECK(0 <= at.byte && at.byte < page_bytes(bits, dim));
            CHECK(at.shift % bits == 0 && at.shift + bits <= 8);
            places.insert({at.byte, at.shift});
          }
        }
        CHECK(static_cast<int64_t>(places.size()) == kPageTokens * dim);
      }
    }
  }
  CHECK(key_code(4, 17, 5).byte == 2 * 64 + 3 && key_code(4, 17, 5).shift == 4);
  CHECK(value_code(2, 32, 7, 20).byte == 32 + 9 && value_code(2, 32, 7, 20).shift == 6);
  CHECK(value_groups(80, 64) == 2 && largest_code(2) == 3);
}
