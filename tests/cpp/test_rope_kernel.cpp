// apply_rope of one instruction set against a rotation in double precision.

#include "rope/cpu/kernel.cpp"

#include <cmath>
#include <vector>

#include "check.h"
#include "numbers.h"

using namespace intp;
using namespace intp::cpu;
namespace kernel = intp::cpu::INTP_CPU_TARGET;

namespace {

struct Problem {
  int64_t heads, length, head_dim, frequencies;
  int axes;
  bool interleaved;  // [B, S, H, D] in memory, not [B, H, S, D]
};

constexpr int64_t kBatch = 2, kMoreRows = 3;
constexpr float kScaling = 1.25f;

template <class T>
void check_problem(const Problem& problem, FloatType type) {
  const auto [heads, length, head_dim, frequencies, axes, interleaved] = problem;
  const int64_t rows = length + kMoreRows;  // of the input
  const std::vector<T> x = numbers<T>(kBatch * heads * rows * head_dim, 1);
  const auto y = aligned<T>(kBatch * heads * length * head_dim);
  std::vector<int32_t> positions(axes * kBatch * length), order(length);
  for (size_t i = 0; i < positions.size(); ++i) {
    positions[i] = static_cast<int32_t>(i * 7919 % 5000);
  }
  for (int64_t s = 0; s < length; ++s) order[s] = static_cast<int32_t>((s * 5 + 2) % rows);
  std::vector<float> inv_freq(frequencies);
  for (int64_t f = 0; f < frequencies; ++f) {
    inv_freq[f] = std::pow(10000.0f, -static_cast<float>(f) / static_cast<float>(frequencies));
  }

  RopeParams p{};
  const int64_t token = interleaved ? heads * head_dim : head_dim;
  const int64_t in_head = interleaved ? head_dim : rows * head_dim;
  const int64_t out_head = interleaved ? head_dim : length * head_dim;
  p.tensors[0] = {
      x.data(), y.get(), heads, heads * rows * head_dim, in_head, token, heads * length * head_dim,
      out_head, token};
  p.tensor_count = 1;
  p.type = type;
  p.batch = kBatch;
  p.rows = rows;
  p.length = length;
  p.head_dim = head_dim;
  p.positions = positions.data();
  p.position_type = NumberType::kInt32;
  p.position_stride_a = kBatch * length;
  p.position_stride_b = length;
  p.position_stride_s = 1;
  p.axes = axes;
  p.sections = {{frequencies - 2, 1, 1}, false};
  p.inv_freq = inv_freq.data();
  p.frequencies = frequencies;
  p.scaling = kScaling;
  p.order = {order.data(), NumberType::kInt32, 0, 1};
  std::vector<float> table(2 * kRopeBlock * frequencies);
  kernel::rope_rows(p, 0, length + 1, table.data());  // into the second row of the batch
  kernel::rope_rows(p, length + 1, kBatch * length, table.data());

  const double tolerance = 4 * kDigit<T> + 2e-6;
  for (int64_t b = 0; b < kBatch; ++b) {
    for (int64_t s = 0; s < length; ++s) {
      for (int64_t f = 0; f < frequencies; ++f) {
        const int axis = axes == 1 ? 0 : rope_axis(p.sections, f);
        const int position = positions[(axis * kBatch + b) * length + s];
        const double angle = rope_angle(static_cast<float>(position), inv_freq[f]);
        const double cos = kScaling * std::cos(angle), sin = kScaling * std::sin(angle);
        for (int64_t h = 0; h < heads; ++h) {
          const T* from = &x[b * heads * rows * head_dim + h * in_head + order[s] * token + f];
          const T* to = &y[b * heads * length * head_dim + h * out_head + s * token + f];
          const double first = load_one(from), second = load_one(from + frequencies);
          CHECK(std::fabs(load_one(to) - (first * cos - second * sin)) <= tolerance);
          CHECK(std::fabs(load_one(to + frequencies) - (second * cos + first * sin)) <= tolerance);
        }
      }
      for (int64_t h = 0; h < heads; ++h) {
        const T* from = &x[b * heads * rows * head_dim + h * in_head + order[s] * token];
        const T* to = &y[b * heads * length * head_dim + h * out_head + s * token];
        for (int64_t c = 2 * frequencies; c < head_dim; ++c) CHECK(to[c].bits == from[c].bits);
      }
    }
  }
}

}  // namespace

int main() {
  for (const bool interleaved : {false, true}) {
    for (const int axes : {1, 3}) {
      for (const int64_t frequencies : {3, 16, 21, 40}) {
        const Problem problem{3, 70, 2 * frequencies + 5, frequencies, axes, interleaved};
        check_problem<Float32>(problem, FloatType::kFloat32);
        check_problem<BFloat16>(problem, FloatType::kBFloat16);
        check_problem<Float16>(problem, FloatType::kFloat16);
      }
    }
  }
  // written past the cache
  check_problem<BFloat16>({4, kStreamBytes / (kBatch * 4 * 128 * 2), 128, 64, 1, false},
                          FloatType::kBFloat16);
}
