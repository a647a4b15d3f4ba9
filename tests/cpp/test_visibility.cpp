#include <cmath>
#include <initializer_list>

#include "check.h"
#include "common/visibility.h"

using intp::RowBounds;
using intp::visible;
using intp::WindowKind;
using intp::WindowParams;

namespace {

// DESIGN's rule, in other words: blocks are counted by walking from block to block.
bool by_definition(const RowBounds& row, const WindowParams& w, int64_t i, int64_t j,
                   int64_t first_key) {
  if (!(row.lo <= j && j < row.hi && j <= i)) return false;
  if (w.kind == WindowKind::kNone) return true;
  const bool always = j - row.lo < w.sink || i >= row.dense_from;
  if (w.kind == WindowKind::kFirstKeys) return always || j >= first_key;
  const auto block = [&](int64_t x) {
    return std::floor(static_cast<double>(x - row.block_start) / static_cast<double>(w.block));
  };
  return always || block(j) > block(i) - static_cast<double>(w.size);
}

}  // namespace

int main() {
  for (int lo : {0, 3}) {
    for (int block_start : {0, 5, 8}) {
      for (int block : {1, 3, 4}) {
        for (int size : {1, 2, 5}) {
          for (int sink : {0, 2}) {
            for (auto kind : {WindowKind::kNone, WindowKind::kBlocks, WindowKind::kFirstKeys}) {
              const RowBounds row{lo, 18, 0, block_start, 15};
              const WindowParams window{kind, size, block, sink};
              for (int i = 0; i < 20; ++i) {
                for (int j = 0; j < 20; ++j) {
                  for (int key : {-3, 0, 7, 25}) {
                    CHECK(visible(row, window, i, j, key) == by_definition(row, window, i, j, key));
                  }
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
  const WindowParams sliding{WindowKind::kBlocks, 7, 1, 0}, keys{WindowKind::kFirstKeys, 0, 1, 0};
  for (int i = 0; i < 100; ++i) {
    for (int j = 0; j < 100; ++j) {
      CHECK(visible(row, sliding, i, j) == (j <= i && i - j < 7));
      CHECK(visible(row, keys, i, j, i - 6) == visible(row, sliding, i, j));
    }
  }
  // floor, not truncation, before block_start
  CHECK(intp::floor_div(-1, 4) == -1 && intp::floor_div(-4, 4) == -1 && intp::floor_div(7, 4) == 1);
}
