#pragma once

#include <cstdint>

#include "common/macros.h"

namespace intp {

// How M = groups * frames_per_group frames were dealt to the groups that were encoded together.
struct Grouping {
  int64_t groups;            // m
  int64_t frames_per_group;  // N
  int64_t tokens_per_frame;  // P
  bool interleaved;          // group g holds frames g, g + m, g + 2m, ...; else g*N ... g*N + N - 1
};

// Storage row (g, n, p) of the token at time position t = f * P + p.
INTP_HD int64_t storage_row(const Grouping& grouping, int64_t t) {
  if (!grouping.interleaved) return t;
  const int64_t frame = t / grouping.tokens_per_frame;
  const int64_t token = t % grouping.tokens_per_frame;
  const int64_t group = frame % grouping.groups;
  const int64_t frame_in_group = frame / grouping.groups;
  return (group * grouping.frames_per_group + frame_in_group) * grouping.tokens_per_frame + token;
}

}  // namespace intp
