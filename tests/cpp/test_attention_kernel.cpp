// The attention kernels of one instruction set against a double precision loop over visible().
// Every buffer has exactly the size it must have, so that AddressSanitizer sees each stray access.

#include "attention/cpu/kernel.cpp"

#include <cmath>
#include <vector>

#include "check.h"
#include "numbers.h"

using namespace intp;
using namespace intp::cpu;
namespace kernel = intp::cpu::INTP_CPU_TARGET;

namespace {

constexpr Target kTarget = Target::INTP_CPU_TARGET;

struct Problem {
  int64_t kv_heads, group, queries, keys, head_dim;
  RowBounds bounds;
  WindowParams window;
  float scale;
  int64_t narrower = 0;  // by so many channels is v than k
  float softcap = 0.0f;
  float sink = -INFINITY;
};

template <class T>
void check_problem(const Problem& problem, FloatType type, double tolerance, bool interleaved) {
  const auto [kv_heads, group, queries, keys, width, bounds, window, scale, narrower, softcap,
              sink] = problem;
  const int64_t heads = kv_heads * group;
  const int64_t head_dim = width;  // a lambda of C++17 captures no structured binding
  const int64_t value_dim = width - narrower;
  // q and out [Sq, Hq, D], k and v [Hkv, Skv, D], or [Skv, Hkv, D] interleaved
  const int64_t stride_h = interleaved ? 1 : keys, stride_s = interleaved ? kv_heads : 1;
  std::vector<T> q = numbers<T>(heads * queries * head_dim, 1);
  std::vector<T> k = numbers<T>(kv_heads * keys * head_dim, 1000);
  std::vector<T> v = numbers<T>(kv_heads * keys * value_dim, 77777);
  std::vector<T> out(heads * queries * value_dim);
  std::vector<float> sinks(heads);
  for (int64_t h = 0; h < heads; ++h) sinks[h] = sink + static_cast<float>(h);
  const auto query_at = [&](int64_t h, int64_t s) { return s * heads + h; };
  const auto key_at = [&](int64_t h, int64_t j) { return h * stride_h + j * stride_s; };

  // up and down, none after its query
  std::vector<int32_t> first_keys(queries);
  for (int64_t s = 0; s < queries; ++s) {
    first_keys[s] = static_cast<int32_t>(bounds.q_offset + s - 40 + s * 29 % 37);
  }

  // what nobody sees is poison
  for (int64_t j = 0; j < keys; ++j) {
    bool seen = false;
    for (int64_t s = 0; s < queries; ++s) {
      seen |= visible(bounds, window, bounds.q_offset + s, j, first_keys[s]);
    }
    for (int64_t h = 0; h < kv_heads && !seen; ++h) {
      for (int64_t c = 0; c < head_dim; ++c) store_one(&k[key_at(h, j) * head_dim + c], NAN);
      for (int64_t c = 0; c < value_dim; ++c) store_one(&v[key_at(h, j) * value_dim + c], NAN);
    }
  }
  for (T& x : out) store_one(&x, NAN);

  AttentionParams p{};
  p.q = {q.data(), 0, head_dim, heads * head_dim};
  p.k = {k.data(), 0, stride_h * head_dim, stride_s * head_dim};
  p.v = {v.data(), 0, stride_h * value_dim, stride_s * value_dim};
  p.out = {out.data(), 0, value_dim, heads * value_dim};
  p.type = type;
  p.batch = 1;
  p.kv_heads = kv_heads;
  p.group = group;
  p.queries = queries;
  p.keys = keys;
  p.head_dim = head_dim;
  p.value_dim = value_dim;
  p.softcap = softcap;
  p.sinks = sink == -INFINITY ? nullptr : sinks.data();
  p.bounds = &bounds;
  p.window = window;
  p.first_key = first_keys.data();
  p.scale = scale;
  const AttentionPlan plan = plan_attention(p, kTarget, 1);
  const auto scratch = aligned<float>(plan.scratch_elements);
  for (int64_t task = 0; task < plan.tasks; ++task) {
    if (plan.decode) {
      kernel::attend_keys(p, plan, task, scratch.get());
    } else {
      kernel::attend_rows(p, plan, task / plan.splits, task % plan.splits, scratch.get());
    }
  }
  for (int64_t head = 0; plan.decode && head < kv_heads; ++head) {
    kernel::combine_partials(p, plan, head, scratch.get());
  }

  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t s = 0; s < queries; ++s) {
      double total = 0;
      std::vector<double> expected(value_dim);
      for (int64_t j = 0; j < keys; ++j) {
        if (!visible(bounds, window, bounds.q_offset + s, j, first_keys[s])) continue;
        double score = 0;
        for (int64_t c = 0; c < head_dim; ++c) {
          score += double{load_one(&q[query_at(h, s) * head_dim + c])} *
                   load_one(&k[key_at(h / group, j) * head_dim + c]);
        }
        score *= scale;
        if (softcap > 0) score = softcap * std::tanh(score / softcap);
        const double weight = std::exp(score);
        total += weight;
        for (int64_t c = 0; c < value_dim; ++c) {
          expected[c] += weight * load_one(&v[key_at(h / group, j) * value_dim + c]);
        }
      }
      if (total > 0) total += std::exp(sinks[h]);
      for (int64_t c = 0; c < value_dim; ++c) {
        const double exact = total == 0 ? 0 : expected[c] / total;
        CHECK(std::fabs(load_one(&out[query_at(h, s) * value_dim + c]) - exact) <= tolerance);
      }
    }
  }
}

}  // namespace

int main() {
  const WindowParams full{WindowKind::kNone, 0, 1, 0}, frames{WindowKind::kBlocks, 2, 17, 5};
  const WindowParams keys{WindowKind::kFirstKeys, 0, 1, 5};
  const int32_t never = 2147483647;
  const Problem problems[] = {
      {1, 1, 70, 70, 16, {0, 70, 0, 0, never}, full, 0.25f},      // edge tiles of rows and keys
      {2, 2, 60, 330, 24, {3, 320, 270, 0, never}, full, 0.2f},   // a chunk, GQA, padding
      {1, 1, 300, 300, 17, {7, 300, 0, 4, 250}, frames, -0.25f},  // window, sink, dense rows, odd D
      {1, 1, 520, 520, 48, {0, 520, 0, 0, never}, frames, 0.0f},  // several tasks
      {2, 3, 1, 1100, 48, {1, 1090, 1095, 0, never}, full, 0.15f},  // decode in two parts
      {1, 4, 3, 600, 32, {0, 600, 597, 9, never}, frames, 0.2f},    // decode, rows with masks
      {1, 1, 1, 100, 40, {0, 100, 99, 0, never}, full, 0.2f},
      {5, 7, 1, 90, 19, {2, 90, 89, 0, never}, full, 0.2f},   // decode, the last task has fewer
                                                              // heads
      {1, 2, 20, 40, 16, {30, 30, 0, 0, never}, full, 0.2f},  // nothing is seen
      {1, 2, 1, 40, 16, {30, 30, 0, 0, never}, full, 0.2f},
      {1, 2, 300, 1300, 16, {7, 1290, 1000, 0, 1250}, keys, 0.2f},  // first keys
      {2, 3, 5, 1100, 48, {1, 1090, 1095, 0, never}, keys, 0.15f},
      {1, 1, 1, 1100, 16, {0, 1100, 1099, 0, never}, keys, 0.15f},
      {1, 3, 100, 700, 40, {9, 700, 600, 0, never}, frames, 0.2f, 17, 3.0f, 1.0f},
      {2, 3, 1, 1100, 40, {9, 1100, 1099, 0, never}, frames, -0.2f, 17, 3.0f, 1.0f},
  };
  for (const Problem& problem : problems) {
    for (const bool interleaved : {false, true}) {
      check_problem<Float32>(problem, FloatType::kFloat32, 1e-5, interleaved);
      check_problem<BFloat16>(problem, FloatType::kBFloat16, 1.5e-2, interleaved);
      check_problem<Float16>(problem, FloatType::kFloat16, 2e-3, interleaved);
    }
  }
}
