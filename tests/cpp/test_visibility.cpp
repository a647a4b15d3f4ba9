#include <cmath>
#include <initializer_list>

#include "check.h"
#include "common/visibility.h"

using intp::RowBounds;
using intp::visible;
using intp::WindowParams;

namespace {

// DESIGN's rule, in other words: blocks are counted by walking from block to block.
bool by_definition(const RowBounds& row, const WindowParams& w, int64_t i, int64_t j) {
  if (!(row.lo <= j && j < row.hi && j <= i)) return false;
  if (!w.enabled) return true;
  const auto block = [&](int64_t x) {
    return std::floor(static_cast<double>(x - row.block_start) / static_cast<double>(w.block));
  };
  return block(j) > block(i) - static_cast<double>(w.size) || j - row.lo < w.sink ||
         i >= row.dense_from;
}

}  // namespace

int main() {
  for (int lo : {0, 3}) {
    for (int block_start : {0, 5, 8}) {
      for (int block : {1, 3, 4}) {
        for (int size : {1, 2, 5}) {
          for (int sink : {0, 2}) {
            for (bool enabled : {true, false}) {
              const RowBounds row{lo, 18, 0, block_start, 15};
              const WindowParams window{enabled, size, block, sink};
              for (int i = 0; i < 20; ++i) {
                for (int j = 0; j < 20; ++j) {
                  CHECK(visible(row, window, i, j) == by_definition(row, window, i, j));
                }
              }
            }
          }
        }
      }
    }
  }
  // block = 1 is the usual sliding window: i - j < size
  const RowBounds row{0, 100, 0, 0, 1000};
  const WindowParams sliding{true, 7, 1, 0};
  for (int i = 0; i < 100; ++i) {
    for (int j = 0; j < 100; ++j) CHECK(visible(row, sliding, i, j) == (j <= i && i - j < 7));
  }
  // floor, not truncation, before block_start
  CHECK(intp::floor_div(-1, 4) == -1 && intp::floor_div(-4, 4) == -1 && intp::floor_div(7, 4) == 1);
}
