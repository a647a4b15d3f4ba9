#include <vector>

#include "check.h"
#include "common/token_order.h"

using intp::Grouping;
using intp::storage_row;

int main() {
  // frames 0 2 4 | 1 3 5, two tokens each
  const Grouping by_hand{2, 3, 2, true};
  const int expected[] = {0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11};
  for (int t = 0; t < 12; ++t) CHECK(storage_row(by_hand, t) == expected[t]);

  for (bool interleaved : {true, false}) {
    const Grouping grouping{7, 4, 3, interleaved};
    std::vector<bool> seen(7 * 4 * 3);
    for (int64_t t = 0; t < 84; ++t) {
      const int64_t row = storage_row(grouping, t);
      CHECK(0 <= row && row < 84 && !seen[row]);
      seen[row] = true;
      if (!interleaved) CHECK(row == t);
    }
  }

  // beyond 32 bits
  const Grouping large{1 << 20, 1 << 10, 1 << 10, true};
  CHECK(storage_row(large, (int64_t{1} << 40) - 1) == (int64_t{1} << 40) - 1);
}
