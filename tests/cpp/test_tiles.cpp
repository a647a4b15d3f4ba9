// The ranges and kinds of common/tiles.h against visible(), pair by pair.

#include <initializer_list>

#include "check.h"
#include "common/tiles.h"

using namespace intp;

namespace {

// tight: no first key comes after its query, so that the spans hold no key that nobody sees
void check_queries(const RowBounds& row, const WindowParams& window, int64_t keys,
                   const QuerySpan& queries, const int64_t* first_keys = nullptr,
                   bool tight = true) {
  const KeySpans spans = visible_keys(row, window, keys, queries);
  CHECK(0 <= spans.sink.begin && spans.sink.begin <= spans.sink.end);
  CHECK(spans.sink.end <= spans.recent.begin && spans.recent.begin <= spans.recent.end);
  CHECK(is_empty(spans.recent) || spans.recent.end <= keys);
  const auto seen_by = [&](int64_t j) {
    int64_t count = 0;
    for (int64_t i = queries.first; i <= queries.last; ++i) {
      count += visible(row, window, i, j, first_keys ? first_keys[i - queries.first] : 0);
    }
    return count;
  };
  const int64_t queries_count = queries.last - queries.first + 1;
  const KeySpans common = common_keys(row, window, keys, queries);
  for (int64_t j = 0; j < keys; ++j) {
    CHECK(contains(spans, j) || seen_by(j) == 0);
    CHECK(!tight || !contains(spans, j) || seen_by(j) > 0);
    CHECK(contains(common, j) == (seen_by(j) == queries_count));
  }

  for (int64_t size : {1, 4, 7}) {
    for (int64_t begin = 0; begin < keys; begin += size) {
      const KeySpan tile{begin, begin + size};
      int64_t seen = 0, first = begin + size, last = begin;
      for (int64_t j = begin; j < least(begin + size, keys); ++j) {
        const int64_t count = seen_by(j);
        seen += count;
        if (count > 0) first = least(first, j), last = j + 1;
      }
      const int64_t all = size * queries_count;
      const TileKind kind = classify_tile(row, window, keys, queries, tile);
      CHECK(kind != TileKind::kSkipped || seen == 0);
      CHECK((kind == TileKind::kFull) == (seen == all));
      const KeySpan used = hull(spans, tile);
      CHECK(!is_empty(used) || seen == 0);
      if (!tight) continue;
      CHECK((kind == TileKind::kSkipped) == (seen == 0));
      CHECK(is_empty(used) == (seen == 0));
      if (seen > 0) CHECK(used.begin == first && used.end == last);
    }

    // the list holds the visited tiles, in order, and no other
    const TileList list = list_tiles(narrow(spans), static_cast<int32_t>(size));
    int32_t n = 0;
    for (int64_t begin = 0; begin < keys; begin += size) {
      CHECK(tiles_before(list, static_cast<int32_t>(begin / size)) == n);
      const bool visited = !is_empty(hull(spans, {begin, begin + size}));
      if (visited) CHECK(n < list.count && tile_at(list, n) == begin / size);
      n += visited;
    }
    CHECK(n == list.count && tiles_before(list, INT32_MAX) == n);
  }
}

// First keys up and down, below 0, and with `tight` false also beyond their queries.
void check_first_keys(const RowBounds& row, int64_t sink, bool tight) {
  const WindowParams window{WindowKind::kFirstKeys, 0, 1, sink};
  for (int64_t first = 0; first < 20; first += 3) {
    for (int64_t count : {1, 2, 6}) {
      for (int64_t seed = 0; seed < 8; ++seed) {
        int64_t first_keys[6];
        QuerySpan queries{first, first + count - 1};
        FirstKeys& range = queries.first_keys;
        for (int64_t n = 0; n < count; ++n) {
          const int64_t key = (seed * 7 + n * (2 * seed + 3)) % 29 - 4;
          first_keys[n] = tight ? least(key, first + n) : key;
          if (n > 0 && first + n >= row.dense_from) continue;
          range.least = n == 0 ? first_keys[n] : least(range.least, first_keys[n]);
          range.most = n == 0 ? first_keys[n] : most(range.most, first_keys[n]);
        }
        check_queries(row, window, 18, queries, first_keys, tight);
      }
    }
  }
}

void check_no_overflow() {
  constexpr int32_t kMost = INT32_MAX;
  const TileList list = list_tiles({{0, 1}, {kMost - 1, kMost}}, 64);
  CHECK(list.count == 2 && tile_at(list, 1) == kMost / 64);
}

}  // namespace

int main() {
  check_no_overflow();
  constexpr int64_t kKeys = 18;
  for (int lo : {-2, 0, 3, 17}) {
    for (int hi : {0, 12, 18, 25}) {
      for (int block_start : {-4, 0, 5}) {
        for (int block : {1, 3}) {
          for (int64_t size : {int64_t{1}, int64_t{3}, int64_t{1} << 62}) {
            for (int64_t sink : {int64_t{0}, int64_t{2}, INT64_MAX}) {
              for (int dense_from : {0, 11, 2147483647}) {
                for (auto kind : {WindowKind::kBlocks, WindowKind::kNone}) {
                  const RowBounds row{lo, hi, 0, block_start, dense_from};
                  const WindowParams window{kind, size, block, sink};
                  for (int64_t first = 0; first < 20; first += 3) {
                    for (int64_t count : {1, 2, 6}) {
                      check_queries(row, window, kKeys, {first, first + count - 1});
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
  }
  for (int lo : {-2, 0, 3, 17}) {
    for (int hi : {0, 12, 18, 25}) {
      for (int64_t sink : {int64_t{0}, int64_t{2}, INT64_MAX}) {
        for (int dense_from : {0, 11, 2147483647}) {
          for (bool tight : {true, false}) {
            check_first_keys({lo, hi, 0, 0, dense_from}, sink, tight);
          }
        }
      }
    }
  }
  // work does not grow with the sequence: a window of 8 frames of 257 tokens and a sink of 300
  for (int64_t keys : {10'000, 100'000}) {
    const RowBounds row{0, static_cast<int32_t>(keys), 0, 0, 2147483647};
    for (int64_t i = 0; i < keys; i += 48) {
      const KeySpans spans =
          visible_keys(row, {WindowKind::kBlocks, 8, 257, 300}, keys, {i, i + 47});
      const int64_t visited =
          spans.sink.end - spans.sink.begin + spans.recent.end - spans.recent.begin;
      CHECK(visited <= 48 + 8 * 257 + 300);
    }
  }
}
