#pragma once

// What the hardware offers a kernel.

#include <cstdint>

namespace intp::cuda {

constexpr int kWarp = 32;  // threads

// Shared memory of a block: what compute capabilities 8.6, 8.9 and 12.0 offer.
constexpr int kMostShared = 99 * 1024;

// Of a block, without asking for more.
constexpr int kDefaultShared = 48 * 1024;

// Tokens, keys and rows that kernels count in int32, and round up to tiles.
constexpr int64_t kMostTokens = 0x7fffff00;

}  // namespace intp::cuda
