// Attention over a packed cache, of one instruction set, against a double precision loop over the
// codes: random ones, so that every bit of a page counts.

#include "attention/cpu/kernel.cpp"
#include "attention/cpu/packed_kernel.cpp"

#include <cmath>
#include <vector>

#include "check.h"
#include "numbers.h"

using namespace intp;
using namespace intp::cpu;
namespace kernel = intp::cpu::INTP_CPU_TARGET;

namespace {

struct Problem {
  int key_bits, value_bits, head_dim, key_group, value_group;
  int64_t group, queries, pages;  // queries are the newest tokens
  int64_t rows;                   // keys after those in pages
  int frequencies;                // rotated while they are read
  int sinks;
  WindowParams window;
};

constexpr int64_t kHeads = 2;
constexpr int32_t kFirst = 7;  // the tokens before it are padding
constexpr float kScale = 0.15f;

template <class T>
class Packed {
 public:
  Packed(const Problem& problem, FloatType type) : x_(problem), tokens_(x_.pages * kPageTokens) {
    KvCache& cache = packed_.cache;
    cache.type = type;
    cache.key_bits = x_.key_bits;
    cache.value_bits = x_.value_bits;
    cache.head_dim = x_.head_dim;
    cache.key_group = x_.key_group;
    cache.value_group = x_.value_group;
    cache.batch = 1;
    cache.heads = kHeads;
    cache.page_capacity = static_cast<int>(x_.pages);
    const int64_t pages = kHeads * x_.pages;
    k_codes_ = codes(pages * page_bytes(x_.key_bits, x_.head_dim), 5);
    v_codes_ = codes(pages * page_bytes(x_.value_bits, x_.head_dim), 6);
    k_qparams_ = qparams(pages * kPageTokens / x_.key_group, x_.head_dim, x_.key_bits);
    v_qparams_ =
        qparams(pages * value_groups(x_.head_dim, x_.value_group), kPageTokens, x_.value_bits);
    k_sinks_ = numbers<T>(kHeads * x_.sinks * x_.head_dim, 100);
    v_sinks_ = numbers<T>(kHeads * x_.sinks * x_.head_dim, 200);
    cache.k_codes = k_codes_.data();
    cache.v_codes = v_codes_.data();
    cache.k_qparams = k_qparams_.data();
    cache.v_qparams = v_qparams_.data();
    cache.k_sinks = k_sinks_.data();
    cache.v_sinks = v_sinks_.data();
    cache.sinks = x_.sinks;
    cache.first = &kFirst;
    packed_.tokens = tokens_;
    packed_.axes = 1;
    packed_.frequencies = x_.frequencies;
    packed_.scaling = 1.0f;
    inv_freq_.resize(x_.frequencies);
    for (int f = 0; f < x_.frequencies; ++f) inv_freq_[f] = std::pow(0.6f, static_cast<float>(f));
    positions_.resize(tokens_);
    for (int64_t t = 0; t < tokens_; ++t) {  // evenly spaced up to the last page
      positions_[t] = static_cast<float>(t) / 2 + (t < tokens_ - kPageTokens ? 0.0f : 9.25f);
    }
    packed_.positions = positions_.data();
    packed_.position_stride_a = packed_.position_stride_b = tokens_;
    packed_.inv_freq = inv_freq_.data();
  }

  void check(FloatType type, double tolerance) {
    const int64_t dim = x_.head_dim, heads = kHeads * x_.group, keys = tokens_ + x_.rows;
    const auto q = numbers<T>(heads * x_.queries * dim, 1);
    k_rows_ = numbers<T>(kHeads * x_.rows * dim, 1000);
    v_rows_ = numbers<T>(kHeads * x_.rows * dim, 77777);
    const auto out = aligned<T>(heads * x_.queries * dim);
    const RowBounds bounds{kFirst, static_cast<int32_t>(keys),
                           static_cast<int32_t>(keys - x_.queries), kFirst, 2147483647};
    AttentionParams p{};
    p.q = {q.data(), 0, x_.queries * dim, dim};
    p.k = {k_rows_.data(), 0, x_.rows * dim, dim};
    p.v = {v_rows_.data(), 0, x_.rows * dim, dim};
    p.out = {out.get(), 0, x_.queries * dim, dim};
    p.type = type;
    p.batch = 1;
    p.kv_heads = kHeads;
    p.group = x_.group;
    p.queries = x_.queries;
    p.keys = keys;
    p.head_dim = p.value_dim = dim;
    p.packed = &packed_;
    p.bounds = &bounds;
    p.window = x_.window;
    p.scale = kScale;
    run(p);

    std::vector<double> k(kHeads * keys * dim), v(k.size());
    for (int64_t i = 0; i < kHeads * keys * dim; ++i) {
      k[i] = key(i / dim / keys, i / dim % keys, i % dim);
      v[i] = value(i / dim / keys, i / dim % keys, i % dim);
    }
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t s = 0; s < x_.queries; ++s) {
        const T* query = &q[(h * x_.queries + s) * dim];
        double total = 0;
        std::vector<double> expected(dim);
        for (int64_t j = 0; j < keys; ++j) {
          if (!visible(bounds, x_.window, bounds.q_offset + s, j)) continue;
          const int64_t at = (h / x_.group * keys + j) * dim;
          double score = 0;
          for (int64_t c = 0; c < dim; ++c) score += load_one(query + c) * k[at + c];
          const double weight = std::exp(kScale * score);
          total += weight;
          for (int64_t c = 0; c < dim; ++c) expected[c] += weight * v[at + c];
        }
        for (int64_t c = 0; c < dim; ++c) {
          const double got = load_one(&out[(h * x_.queries + s) * dim + c]);
          CHECK(std::fabs(got - expected[c] / total) <= tolerance);
        }
      }
    }
  }

 private:
  static void run(const AttentionParams& p) {
    const AttentionPlan plan = plan_attention(p, Target::INTP_CPU_TARGET, 1);
    const auto scratch = aligned<float>(plan.scratch_elements);
    if (!plan.decode) {
      for (int64_t task = 0; task < plan.tasks; ++task) {
        kernel::attend_rows(p, plan, task / plan.splits, task % plan.splits, scratch.get());
      }
      return;
    }
    // the rows alone, counted from the first of them
    const auto tokens = static_cast<int32_t>(p.packed->tokens);
    const RowBounds bounds{p.bounds->lo - tokens, p.bounds->hi - tokens,
                           p.bounds->q_offset - tokens, p.bounds->block_start - tokens,
                           p.bounds->dense_from};
    AttentionParams rows = p;
    rows.packed = nullptr;
    rows.bounds = &bounds;
    rows.keys -= tokens;
    for (int64_t task = 0; task < plan.tasks; ++task) {
      if (task % plan.splits < plan.row_splits) {
        kernel::attend_keys(rows, plan, task, scratch.get());
      } else {
        kernel::attend_pages(p, plan, task, scratch.get());
      }
    }
    for (int64_t head = 0; head < kHeads; ++head) {
      kernel::combine_partials(p, plan, head, scratch.get());
    }
  }

  static std::vector<uint8_t> codes(int64_t size, uint64_t seed) {
    std::vector<uint8_t> bytes(size);
    for (int64_t i = 0; i < size; ++i) {
      bytes[i] = static_cast<uint8_t>((i + seed) * 2654435761u >> 11);
    }
    return bytes;
  }
  // Scales, then zero points, of groups of `count`: codes stand for -2 to 2, or somewhat less.
  static std::vector<T> qparams(int64_t groups, int64_t count, int bits) {
    std::vector<T> values(groups * 2 * count);
    for (int64_t i = 0; i < groups * count; ++i) {
      T* scale = &values[i / count * 2 * count + i % count];
      const float size = 1.0f + static_cast<float>(i * 7 % 5) / 5;
      store_one(scale, 2 * size / static_cast<float>(largest_code(bits)));
      store_one(scale + count, -size);
    }
    return values;
  }

  double sink_or(const std::vector<T>& sinks, int64_t h, int64_t t, int64_t c, double other) const {
    if (!is_sink(packed_.cache, 0, t)) return other;
    return load_one(&sinks[sink_offset(packed_.cache, h, sink_slot(packed_.cache, 0, t)) + c]);
  }
  double key(int64_t h, int64_t t, int64_t c) const {
    if (t >= tokens_) {
      return load_one(&k_rows_[(h * x_.rows + t - tokens_) * x_.head_dim + c]);
    }
    const int frequencies = x_.frequencies;
    if (c >= 2 * frequencies || is_sink(packed_.cache, 0, t)) {
      return sink_or(k_sinks_, h, t, c, stored_key(h, t, c));
    }
    const int64_t f = c % frequencies, partner = c < frequencies ? c + frequencies : f;
    const double angle = rope_angle(positions_[t], inv_freq_[f]);
    const double sin = c < frequencies ? -std::sin(angle) : std::sin(angle);
    return stored_key(h, t, c) * std::cos(angle) + stored_key(h, t, partner) * sin;
  }
  double stored_key(int64_t h, int64_t t, int64_t c) const {
    const KvCache& cache = packed_.cache;
    const int page = static_cast<int>(t / kPageTokens);
    const CodePlace at = key_code(cache.key_bits, cache.head_dim, static_cast<int>(t % kPageTokens),
                                  static_cast<int>(c));
    const int code = read_code(cache.key_bits, key_page(cache, h, page), at);
    const T* qparams = &k_qparams_[key_qparams_offset(cache, h, page) + c];
    return load_one(qparams + cache.head_dim) + double{load_one(qparams)} * code;
  }
  double value(int64_t h, int64_t t, int64_t c) const {
    if (t >= tokens_) {
      return load_one(&v_rows_[(h * x_.rows + t - tokens_) * x_.head_dim + c]);
    }
    const KvCache& cache = packed_.cache;
    const int page = static_cast<int>(t / kPageTokens);
    const CodePlace at = value_code(cache.value_bits, cache.head_dim,
                                    static_cast<int>(t % kPageTokens), static_cast<int>(c));
    const int code = read_code(cache.value_bits, value_page(cache, h, page), at);
    const int64_t group = c / cache.value_group;
    const T* qparams = &v_qparams_[value_qparams_offset(cache, h, page, static_cast<int>(group)) +
                                   t % kPageTokens];
    return sink_or(v_sinks_, h, t, c,
                   load_one(qparams + kPageTokens) + double{load_one(qparams)} * code);
  }

  const Problem x_;
  const int64_t tokens_;
  PackedKeys packed_{};
  std::vector<uint8_t> k_codes_, v_codes_;
  std::vector<T> k_qparams_, v_qparams_, k_sinks_, v_sinks_, k_rows_, v_rows_;
  std::vector<float> inv_freq_, positions_;
};

void check_problem(const Problem& problem) {
  Packed<Float32>(problem, FloatType::kFloat32).check(FloatType::kFloat32, 2e-5);
  Packed<BFloat16>(problem, FloatType::kBFloat16).check(FloatType::kBFloat16, 2e-2);
  Packed<Float16>(problem, FloatType::kFloat16).check(FloatType::kFloat16, 2e-3);
}

}  // namespace

int main() {
  const WindowParams full{WindowKind::kNone, 0, 1, 0}, frames{WindowKind::kBlocks, 2, 50, 5};
  const int widths[][2] = {{8, 8}, {4, 4}, {3, 3}, {3, 2}, {2, 2}};
  for (const auto& [k, v] : widths) {
    check_problem({k, v, 48, 64, 32, 1, 1, 5, 9, 0, 0, full});      // decode
    check_problem({k, v, 48, 64, 48, 7, 1, 17, 1, 0, 4, full});     // in two parts
    check_problem({k, v, 64, 128, 64, 4, 3, 4, 40, 0, 4, frames});  // a window
    check_problem({k, v, 48, 64, 48, 5, 2, 5, 9, 20, 4, full});     // rotated, but 8 channels
    check_problem({k, v, 48, 64, 32, 2, 40, 5, 60, 0, 4, full});    // prefill
    check_problem({k, v, 64, 128, 64, 1, 70, 4, 70, 32, 4, frames});
  }
}
