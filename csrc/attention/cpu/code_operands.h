#pragma once

// What products with codes (attention/cpu/page_products.h) are made of.

#include "attention/cpu/cells.h"
#include "attention/cpu/decode.h"

namespace intp::cpu {
namespace {

constexpr int kLine = 64;  // bytes of the cache

// Rows that share the unpacking of a code, where codes become floats or bfloat16; only AVX-512
// multiplies by what it spreads from memory. And the sums that many registers have room for.
constexpr int kCodeRows = kWidth == 16 ? 7 : 4;
constexpr int kMostSums = kWidth == 16 ? 28 : 16;

// Two signed 16-bit integers in one word.
struct ShortPair {
  uint32_t bits;
};

enum class CodeProducts { kFloats, kBFloat16Pairs, kShortPairs };

// A short of a query or weight is a step of 1/32767 of the largest one, far less than the last
// digit of bfloat16 and float16; to float32 it is not.
template <class T>
constexpr CodeProducts kCodeProducts =
    kUsesPairs<T>                                ? CodeProducts::kBFloat16Pairs
    : kDotsShorts && !std::is_same_v<T, Float32> ? CodeProducts::kShortPairs
                                                 : CodeProducts::kFloats;

// Of a cell's slot: unpack() its codes, as code - kZero; of the other operand: spread() a pair to
// all lanes. convert() makes that operand of n floats (whole vectors of pairs), and returns what
// one of it stands for.
template <class T, int kBits, CodeProducts = kCodeProducts<T>>
struct Codes {
  using Element = Float32;
  static constexpr int kElements = 2;  // of a pair
  static constexpr float kZero = kCenter<kBits>;
  static constexpr int kRowsAtOnce = kCodeRows;
  // As the registers have room for, by rows: sums of scores in a row, and cells of values.
  static constexpr int sums(int rows) {
    return kManyRegisters ? kMostSums / rows : rows == 1 ? 4 : kBits == 8 ? 2 : cell_slots(kBits);
  }
  static constexpr int columns(int) { return kManyRegisters ? 4 : 2; }
  using Slot = CodePair;
  using Factor = CodePair;
  using Sum = Floats;

  static Slot unpack(const Codes&, Shorts cell, int slot) { return slot_codes<kBits>(cell, slot); }
  static Factor spread(const Element* a) { return {broadcast(a[0].bits), broadcast(a[1].bits)}; }
  static Sum add(const Factor& a, const Slot& b, Sum sum) {
    return fma(a.second, b.second, fma(a.first, b.first, sum));
  }
  static Floats floats(Sum sum) { return sum; }
  static float convert(const float* x, int64_t n, Element* y) {
    memcpy(y, x, n * sizeof(float));
    return 1.0f;
  }
};

// Half as many instructions for a product as with floats, and a third for unpacking a code. Sums of
// 256 channels stay below 2^31: 8 bits are multiplied by shorts of half the size.
template <class T, int kBits>
struct Codes<T, kBits, CodeProducts::kShortPairs> {
  using Element = ShortPair;
  static constexpr int kElements = 1;
  static constexpr float kZero = 0.0f;
  static constexpr int kRowsAtOnce = kWidth == 16 ? 7 : 4;
  static constexpr int sums(int rows) {
    return kWidth == 16 ? 28 / rows : rows == 1 ? 8 : 13 / (rows + 1);
  }
  static constexpr int columns(int rows) { return kWidth == 16 || rows <= 2 ? 4 : 2; }
  using Slot = Words;
  using Factor = Words;
  using Sum = Words;

  static Slot unpack(const Codes&, Shorts cell, int slot) {
    if constexpr (kBits == 8) return bit_cast<Words>(cell);
    const Shorts codes = cell >> slot * kBits;
    const bool is_last_of_byte = (slot + 1) * kBits == 8;  // nothing is above it
    return bit_cast<Words>(is_last_of_byte ? codes : codes & uint16_t{(1 << kBits) - 1});
  }
  static Factor spread(const Element* a) { return a->bits - Words{}; }
  static Sum add(const Factor& a, const Slot& b, Sum sum) { return dot_shorts(a, b, sum); }
  static Floats floats(Sum sum) { return integers_to_floats(sum); }
  // What is not finite is so in the constant of the product too.
  static float convert(const float* x, int64_t n, Element* y) {
    constexpr float kLargest = kBits == 8 ? 16383.0f : 32767.0f;
    Floats largest{};
    for (int64_t i = 0; i < n; i += kWidth) {
      const Floats v = load_floats(x + i);
      largest = max(largest, max(v, -v));
    }
    const float most = lane_max(largest);
    const Floats factor = broadcast(most > 0.0f ? kLargest / most : 0.0f);
    for (int64_t i = 0; i < n; i += kWidth) {
      // the integer is in the low bits
      const Floats shifted = fma(load_floats(x + i), factor, broadcast(0x1.8p+23f));
      const Halves integers = narrow(bit_cast<Words>(shifted) & 0xffff);
      memcpy(y + i / 2, &integers, sizeof integers);
    }
    return most / kLargest;
  }
};

inline uint16_t bfloat16_bits(float x) {
  return static_cast<uint16_t>(bit_cast<uint32_t>(x) >> 16);
}

// A table of 16 bfloat16 unpacks a vector of codes: its index is the low 4 bits of a lane, of which
// a code uses the last ones. 8 bits are two codes of 4: 16 * high - 128, and low.
template <class T, int kBits>
struct Codes<T, kBits, CodeProducts::kBFloat16Pairs> {
  using Element = BFloat16Pair;
  static constexpr int kElements = 1;
  static constexpr float kZero = kCenter<kBits>;
  static constexpr int kRowsAtOnce = kCodeRows;
  static constexpr int sums(int rows) { return kMostSums / rows; }
  static constexpr int columns(int) { return 4; }
  static constexpr int kCode = kBits == 8 ? 4 : kBits;
  struct Slot {
    Words codes, high;  // high: of 8 bits
  };
  using Factor = Words;
  using Sum = Floats;
  const Table table = table_of([](int i) {
    const int code = i & ((1 << kCode) - 1);
    return bfloat16_bits(kBits == 8 ? code : code - kCenter<kBits>);
  });
  const Table high_table = table_of([](int i) { return bfloat16_bits(16.0f * i - 128.0f); });

  static Slot unpack(const Codes& tables, Shorts cell, int slot) {
    Slot found{bit_cast<Words>(look_up(tables.table, cell >> slot * kBits)), Words{}};
    if constexpr (kBits == 8) found.high = bit_cast<Words>(look_up(tables.high_table, cell >> 4));
    return found;
  }
  static Factor spread(const Element* a) { return cpu::spread(a); }
  static Sum add(const Factor& a, const Slot& b, Sum sum) {
    sum = multiply_add(a, b.codes, sum);
    if constexpr (kBits == 8) sum = multiply_add(a, b.high, sum);
    return sum;
  }
  static Floats floats(Sum sum) { return sum; }
  static float convert(const float* x, int64_t n, Element* y) {
    for (int64_t i = 0; i < n; i += 2 * kWidth) {
      store_pairs(y + i / 2, load_floats(x + i), load_floats(x + i + kWidth));
    }
    return 1.0f;
  }
};

}  // namespace
}  // namespace intp::cpu
