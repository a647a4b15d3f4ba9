// Vector arithmetic in the instruction set this file is compiled for, against scalar code.

#include <cmath>
#include <vector>

#include "check.h"
#include "cpu/exp2.h"
#include "cpu/lanes.h"
#include "cpu/tanh.h"

using namespace intp::cpu;

namespace {

void check_transpose() {
  Words rows[kWidth];
  for (int i = 0; i < kWidth; ++i) {
    for (int j = 0; j < kWidth; ++j) rows[i][j] = 100 * i + j;
  }
  transpose(rows);
  for (int i = 0; i < kWidth; ++i) {
    for (int j = 0; j < kWidth; ++j) CHECK(rows[i][j] == static_cast<uint32_t>(100 * j + i));
  }
}

void check_lanes() {
  Floats rows[kWidth];
  for (int i = 0; i < kWidth; ++i) {
    for (int j = 0; j < kWidth; ++j) rows[i][j] = static_cast<float>(1 << i) + (j == i);
  }
  CHECK(lane_sum(rows[1]) == 2 * kWidth + 1 && lane_max(rows[1]) == 3);
  add_lanes<1, kWidth>(rows);
  for (int i = 0; i < kWidth; ++i) CHECK(rows[0][i] == static_cast<float>((1 << i) * kWidth + 1));
  const Floats larger = max(broadcast(1.0f), Floats{2.0f});
  CHECK(larger[0] == 2.0f && larger[1] == 1.0f);
  CHECK(fma(broadcast(2.0f), broadcast(3.0f), broadcast(4.0f))[1] == 10.0f);
}

// The first elements of a row that ends there, and zeros.
void check_parts() {
  for (int count = 1; count < 2 * kWidth; ++count) {
    std::vector<BFloat16> row(count);
    for (int i = 0; i < count; ++i) row[i].bits = static_cast<uint16_t>(0x3f80 + i);
    const Words pairs = load_pairs_part(row.data(), count);
    const auto expected = [&](int i) { return i < count ? row[i].bits : 0u; };
    for (int i = 0; i < kWidth; ++i) {
      CHECK(pairs[i] == (expected(2 * i) | expected(2 * i + 1) << 16));
    }
    if (count >= kWidth) continue;
    const Floats part = load_part(row.data(), count);
    for (int i = 0; i < kWidth; ++i) CHECK(bit_cast<Words>(part)[i] == expected(i) << 16);
  }
}

template <bool kCoarse>
void check_exp2(double tolerance) {
  const auto exp2 = [](float x) {
    return exp2_weight<kCoarse>(broadcast(x), weight_scale(1.0f))[kWidth - 1];
  };
  for (float x = 0.0f; x >= -126.0f; x -= 0.0137f) {
    const double exact = std::exp2(static_cast<double>(x));
    CHECK(std::fabs(exp2(x) - exact) <= tolerance * exact);
  }
  CHECK(exp2(0.0f) == 1.0f && exp2(-1.0f) == 0.5f);
  for (float x : {-126.5f, -1000.0f, -3e38f, -INFINITY}) CHECK(exp2(x) == 0.0f);
  CHECK(std::isnan(exp2(NAN)));
  for (float factor : {1e-38f, 0.3f, 2e38f}) {
    const WeightScale scale = weight_scale(factor);
    CHECK(exp2_weight<kCoarse>(Floats{}, scale)[0] == 1.0f);
    CHECK(exp2_weight<kCoarse>(broadcast(-INFINITY), scale)[0] == 0.0f);
  }
  const float scaled = exp2_weight<kCoarse>(broadcast(-3.7f), weight_scale(2.5f))[0];
  CHECK(std::fabs(scaled - std::exp2(-9.25)) <= 2 * tolerance * std::exp2(-9.25));
}

void check_tanh() {
  const auto tanh = [](float x) { return intp::cpu::tanh(broadcast(x))[kWidth - 1]; };
  for (float x = 1e-6f; x < 50.0f; x *= 1.0007f) {
    const double exact = std::tanh(static_cast<double>(x));
    CHECK(std::fabs(tanh(x) - exact) <= 4e-7 * exact);
    CHECK(tanh(-x) == -tanh(x));
  }
  CHECK(tanh(0.0f) == 0.0f && tanh(1e-30f) == 1e-30f);
  CHECK(tanh(3e38f) == 1.0f && tanh(INFINITY) == 1.0f && tanh(-INFINITY) == -1.0f);
  CHECK(std::isnan(tanh(NAN)));
}

void check_pairs() {
  BFloat16Pair pairs[kWidth];
  Floats first, second;
  for (int i = 0; i < kWidth; ++i) first[i] = i, second[i] = -i;
  store_pairs(pairs, first, second);
  // memory order: the sixteen of `first`, then those of `second`
  const Floats low = load(reinterpret_cast<const BFloat16*>(pairs));
  const Floats high = load(reinterpret_cast<const BFloat16*>(pairs) + kWidth);
  for (int i = 0; i < kWidth; ++i) CHECK(low[i] == first[i] && high[i] == second[i]);
  const Floats sum = multiply_add(spread(pairs + 1), load(pairs), broadcast(0.5f));
  CHECK(sum[0] == 0.5f + 2 * 0 + 3 * 1 && sum[1] == 0.5f + 2 * 2 + 3 * 3);  // (2, 3) . (2, 3)
}

// By one of the elements that lie side by side, whatever their number.
template <class A, class B>
void check_factors(const A* a, const B* b) {
  if constexpr (kFactors > 1) {
    const auto factors = load(a);
    const auto row = load(b);
    const Floats sum = broadcast(0.5f);
    const Floats first = multiply_add_at<0>(factors, row, sum);
    const Floats last = multiply_add_at<kFactors - 1>(factors, row, sum);
    const Floats as_first = multiply_add(spread(a), row, sum);
    const Floats as_last = multiply_add(spread(a + kFactors - 1), row, sum);
    for (int i = 0; i < kWidth; ++i) CHECK(first[i] == as_first[i] && last[i] == as_last[i]);
  }
}

void check_shorts() {
  Words a, b;
  for (int i = 0; i < kWidth; ++i) {
    a[i] = static_cast<uint16_t>(-32767 + i) | static_cast<uint32_t>(i + 5) << 16;
    b[i] = 255u | static_cast<uint32_t>(static_cast<uint16_t>(-3 - i)) << 16;
  }
  const Words sum = dot_shorts(a, b, Words{} + 7);
  const Floats floats = integers_to_floats(sum);
  for (int i = 0; i < kWidth; ++i) {
    const int32_t expected = 7 + (-32767 + i) * 255 + (i + 5) * (-3 - i);
    CHECK(static_cast<int32_t>(sum[i]) == expected);
    CHECK(floats[i] == static_cast<float>(expected));
  }
}

void check_bytes() {
  uint8_t bytes[2 * kWidth], low[kWidth];
  for (int i = 0; i < 2 * kWidth; ++i) bytes[i] = static_cast<uint8_t>(200 + i);
  const Shorts wide = widen_bytes(bytes);
  for (int i = 0; i < 2 * kWidth; ++i) CHECK(wide[i] == 200 + i);
  const Table table = table_of([](int i) { return static_cast<uint16_t>(1000 * i + 7); });
  const Shorts found = look_up(table, wide * uint16_t{771});
  for (int i = 0; i < 2 * kWidth; ++i) CHECK(found[i] == 1000 * (wide[i] * 771 % 16) + 7);
  Words words;
  for (int i = 0; i < kWidth; ++i) words[i] = 0x12345600u + i;
  store_bytes(low, words);
  for (int i = 0; i < kWidth; ++i) CHECK(low[i] == i);
}

}  // namespace

int main() {
  check_transpose();
  check_lanes();
  check_parts();
  check_exp2<false>(3e-7);
  check_exp2<true>(1.1e-4);
  check_tanh();
  check_pairs();
  check_shorts();
  check_bytes();
  const Float32 floats[] = {{3}, {-1}, {4}, {-2}};
  check_factors(floats, floats);
  if constexpr (kDotsPairs) {
    const BFloat16Pair pairs[] = {{0x3f804000}, {0xbf804040}, {0x40804000}, {0xc0003f80}};
    check_factors(pairs, pairs);
  }
}
