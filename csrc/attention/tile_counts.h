#pragma once

// What a schedule visits and what it skips, for attention_plan().

#include <cstdint>

#include "attention/params.h"
#include "common/tiles.h"

namespace intp {

struct TileCounts {
  int64_t full, edge, skipped;
};

// Tiles of `tile_rows` rows x `tile_keys` keys, over all key heads. p.bounds is in host memory.
INTP_HD TileCounts count_tiles(const AttentionParams& p, int64_t tile_rows, int64_t tile_keys) {
  TileCounts counts{};
  const int64_t rows = attention_rows(p);
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t row = 0; row < rows; row += tile_rows) {
      const QuerySpan queries = attention_queries(p, b, row, least(row + tile_rows, rows));
      for (int64_t key = 0; key < p.keys; key += tile_keys) {
        switch (classify_tile(p.bounds[b], p.window, p.keys, queries, {key, key + tile_keys})) {
          case TileKind::kFull:
            counts.full += p.kv_heads;
            break;
          case TileKind::kEdge:
            counts.edge += p.kv_heads;
            break;
          case TileKind::kSkipped:
            counts.skipped += p.kv_heads;
        }
      }
    }
  }
  return counts;
}

}  // namespace intp
