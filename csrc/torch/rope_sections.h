#pragma once

// The sections of an operator's schema.

#include <optional>
#include <vector>

#include "common/rope.h"
#include "torch/check.h"

namespace intp {

// Of `axes` axes of positions and so many frequencies; None, of one axis, is never read.
inline RopeSections rope_sections(const char* where,
                                  const std::optional<std::vector<int64_t>>& sections,
                                  bool interleaved, int axes, int64_t frequencies) {
  check(axes == 1 || sections, where, ": positions: [3, B, S] needs sections");
  if (!sections) return {};
  const std::vector<int64_t>& count = *sections;
  check(count.size() == 3 && count[0] >= 0 && count[1] >= 0 && count[2] >= 0 &&
            count[0] + count[1] + count[2] == frequencies,
        where, ": sections: expected three counts that sum to D_rot/2");
  return {{count[0], count[1], count[2]}, interleaved};
}

}  // namespace intp
