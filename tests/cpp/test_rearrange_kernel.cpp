// rearrange of one instruction set against a loop over rows.

#include "rearrange/cpu/kernel.cpp"

#include <algorithm>
#include <vector>

#include "check.h"

using namespace intp;
namespace kernel = intp::cpu::INTP_CPU_TARGET;

namespace {

constexpr int64_t kBatch = 2;

template <class Index>
void check_rows(int64_t rows, int64_t length, int64_t row_bytes, int64_t padding, NumberType type) {
  const int64_t stride = row_bytes + padding;
  std::vector<char> features(kBatch * rows * stride);
  for (size_t i = 0; i < features.size(); ++i) features[i] = static_cast<char>(i * 40503 >> 3);
  std::vector<Index> order(kBatch * length);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Index>(i * 7919 % rows);
  std::vector<char> out(kBatch * length * row_bytes, '?');

  const RearrangeParams p{features.data(),
                          out.data(),
                          {order.data(), type, length, 1},
                          kBatch,
                          rows,
                          length,
                          row_bytes,
                          rows * stride,
                          stride,
                          length * row_bytes,
                          row_bytes};
  const int64_t half = kBatch * length / 2;
  kernel::rearrange_rows(p, 0, half);
  CHECK(std::all_of(out.begin() + half * row_bytes, out.end(), [](char c) { return c == '?'; }));
  kernel::rearrange_rows(p, half, kBatch * length);

  for (int64_t row = 0; row < kBatch * length; ++row) {
    const auto from = features.begin() + (row / length * rows + order[row]) * stride;
    CHECK(std::equal(from, from + row_bytes, out.begin() + row * row_bytes));
  }
}

}  // namespace

int main() {
  for (const int64_t row_bytes : {1, 2, 30, 64, 257}) {
    check_rows<int64_t>(50, 37, row_bytes, 6, NumberType::kInt64);
    check_rows<int32_t>(9, 80, row_bytes, 0, NumberType::kInt32);
  }
  // written past the cache, in rows that begin anywhere
  const int64_t row_bytes = 4099, length = cpu::kStreamBytes / (kBatch * row_bytes) + 1;
  check_rows<int64_t>(100, length, row_bytes, 0, NumberType::kInt64);
}
