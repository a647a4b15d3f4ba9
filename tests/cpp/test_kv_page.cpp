#include "check.h"
#include "common/kv_page.h"

#include <set>
#include <utility>

using namespace intp;

// Every code of a page has bits of its own, and together they fill it.
int main() {
  for (int64_t bits : {2, 4, 8}) {
    for (int64_t dim : {16, 80, 128}) {
      for (bool key : {true, false}) {
        std::set<std::pair<int64_t, int>> places;
        for (int64_t t = 0; t < kPageTokens; ++t) {
          for (int64_t c = 0; c < dim; ++c) {
            const CodePlace at = key ? key_code(bits, t, c) : value_code(bits, dim, t, c);
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
  return 0;
}
