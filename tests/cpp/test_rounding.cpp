// Rounding to 16 bits in the instruction set this file is compiled for, against the definition.

#include <cmath>
#include <cstdint>
#include <initializer_list>

#include "check.h"
#include "cpu/simd.h"

using namespace intp::cpu;

namespace {

// The nearest of the two neighbors by value, ties to the even one. `widen` decodes one pattern.
template <class T>
void check_rounding(double largest) {
  const auto decode = [](uint16_t bits) { return load_one(reinterpret_cast<const T*>(&bits)); };
  for (uint32_t low = 0; low < 0x7fff; ++low) {
    const auto bits = static_cast<uint16_t>(low), next = static_cast<uint16_t>(low + 1);
    const double a = decode(bits), b = decode(next);
    if (!(b <= largest)) break;
    for (double x : {a, a + (b - a) * 0.25, (a + b) / 2, a + (b - a) * 0.75}) {
      const auto value = static_cast<float>(x);
      if (value != x) continue;  // no float lies there (subnormals)
      for (int sign : {0, 0x8000}) {
        T got;
        store_one(&got, sign ? -value : value);
        const uint16_t nearest = x - a < b - x || (x - a == b - x && bits % 2 == 0) ? bits : next;
        CHECK(got.bits == (nearest | sign));
      }
    }
  }
  T got;
  store_one(&got, NAN);
  CHECK(std::isnan(load_one(&got)));
  store_one(&got, bit_cast<float>(0x7fffffffu));  // a NaN that a carry would turn into -0
  CHECK(std::isnan(load_one(&got)));
  store_one(&got, -INFINITY);
  CHECK(load_one(&got) == -INFINITY);
}

}  // namespace

int main() {
  check_rounding<BFloat16>(3.3895e38);
  check_rounding<Float16>(65504);
  Float16 got;
  for (float x : {65519.0f, 65520.0f, 1e6f}) {
    store_one(&got, x);
    CHECK(load_one(&got) == (x < 65520 ? 65504.0f : INFINITY));
  }
}
