// The limits of this processor, with the vectors that the kernels use: what one thread can multiply
// in registers, and read. Compiled by processor.py with their flags.

#include <cstdint>

#include "cpu/simd.h"

using namespace intp::cpu;

namespace {

constexpr int kSums = 12;  // independent: more than latency times throughput of any multiply-add

// Read anew each time: the compiler is not to know what is multiplied, nor that all sums are equal.
volatile float kOne = 1.0f;
volatile uint32_t kPairOfOnes = 0x3f803f80;

template <class Factor>
float multiply(int64_t rounds, Factor factor) {
  Floats sums[kSums];
  for (Floats& sum : sums) sum = broadcast(kOne);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (Floats& sum : sums) sum = multiply_add(factor, factor, sum);
  }
  Floats total{};
  for (const Floats& sum : sums) total += sum;
  return lane_sum(total);
}

}  // namespace

extern "C" {

// FLOP of one round of each.
int64_t fp32_flop() { return 2 * kSums * kWidth; }
float fp32(int64_t rounds) { return multiply(rounds, broadcast(kOne)); }

// Without a product of pairs, bfloat16 is multiplied as float32.
int64_t bf16_flop() { return (kDotsPairs ? 2 : 1) * fp32_flop(); }
float bf16(int64_t rounds) {
  return kDotsPairs ? multiply(rounds, kPairOfOnes - Words{}) : fp32(rounds);
}

// bytes: a multiple of 8 vectors
uint32_t read(const char* x, int64_t bytes) {
  Words sums[8] = {};
  for (int64_t at = 0; at < bytes; at += sizeof sums) {
    for (int i = 0; i < 8; ++i) {
      Words v;
      memcpy(&v, x + at + i * sizeof v, sizeof v);
      sums[i] |= v;
    }
  }
  uint32_t all = 0;
  for (const Words& sum : sums) {
    for (int i = 0; i < kWidth; ++i) all |= sum[i];
  }
  return all;
}

}  // extern "C"
