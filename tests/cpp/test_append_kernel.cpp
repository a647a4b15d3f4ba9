// Packing of one instruction set: every code within half a step of what it stands for, steps no
// larger than the range asks for, every row as it must be.

#include "kv_append/cpu/kernel.cpp"

#include <cmath>
#include <vector>

#include "check.h"
#include "numbers.h"

using namespace intp;
using namespace intp::cpu;
namespace kernel = intp::cpu::INTP_CPU_TARGET;

namespace {

constexpr int kHeads = 2, kDim = 48, kValueGroup = 32, kSinks = 3, kRows = 5;
constexpr int32_t kPadding = 4;  // tokens that the row begins with

// One row of a batch that is packed from nothing: whole groups, then kRows tokens.
template <class T>
class Problem {
 public:
  Problem(FloatType type, int key_bits, int value_bits, int key_group, int frequencies)
      : tokens_(2 * key_group),
        count_(tokens_ + kRows),
        frequencies_(frequencies),
        k_(numbers<T>(kHeads * count_ * kDim, 1)),
        v_(numbers<T>(kHeads * count_ * kDim, 4242)),
        inv_freq_(frequencies),
        positions_(count_),
        order_(count_) {
    for (T& x : k_) store_one(&x, load_one(&x) + 3);  // no key is 0, but padding and a sink's place
    for (int f = 0; f < frequencies; ++f) inv_freq_[f] = std::pow(0.7f, static_cast<float>(f));
    for (int t = 0; t < count_; ++t) {
      positions_[t] = static_cast<float>(t) / 3;
      order_[t] = count_ - 1 - t;
    }
    KvCache& cache = p_.cache;
    cache.type = type;
    cache.key_bits = key_bits;
    cache.value_bits = value_bits;
    cache.head_dim = kDim;
    cache.key_group = key_group;
    cache.value_group = kValueGroup;
    cache.batch = 1;
    cache.heads = kHeads;
    cache.page_capacity = tokens_ / kPageTokens;
    cache.row_capacity = kRows;
    const int pages = kHeads * cache.page_capacity;
    k_codes_.resize(pages * page_bytes(key_bits, kDim));
    v_codes_.resize(pages * page_bytes(value_bits, kDim));
    k_qparams_.resize(kHeads * 2 * 2 * kDim);
    v_qparams_.resize(pages * value_groups(kDim, kValueGroup) * 2 * kPageTokens);
    k_rows_.resize(kHeads * kRows * kDim);
    v_rows_.resize(kHeads * kRows * kDim);
    cache.k_codes = k_codes_.data();
    cache.v_codes = v_codes_.data();
    cache.k_qparams = k_qparams_.data();
    cache.v_qparams = v_qparams_.data();
    cache.k_rows = k_rows_.data();
    cache.v_rows = v_rows_.data();
    cache.sinks = kSinks;
    cache.first = &kPadding;
    p_.rope.tensors[0] = {k_.data(), nullptr, kHeads, 0, count_ * kDim, kDim, 0, 0, 0};
    p_.rope.tensor_count = 1;
    p_.rope.type = type;
    p_.rope.batch = 1;
    p_.rope.rows = p_.rope.length = count_;
    p_.rope.head_dim = kDim;
    p_.rope.positions = positions_.data();
    p_.rope.position_type = NumberType::kFloat32;
    p_.rope.position_stride_s = 1;
    p_.rope.axes = 1;
    p_.rope.inv_freq = inv_freq_.data();
    p_.rope.frequencies = frequencies;
    p_.rope.scaling = 1.0f;
    p_.rope.order = {order_.data(), NumberType::kInt32, 0, 1};
    p_.v = v_.data();
    p_.v_stride_h = count_ * kDim;
    p_.v_stride_s = kDim;
    p_.count = count_;
    p_.now_packed = tokens_;
    valid_[0] = kPadding;
    valid_[1] = count_;
    p_.valid = valid_;
  }

  void check() {
    for (int group = 0; group < 2; ++group) CHECK(kernel::pack_group(p_, 0, group));
    CHECK(
        kernel::write_tokens(p_, 0, tokens_, kRows, k_rows_.data(), v_rows_.data(), kRows * kDim));
    for (int h = 0; h < kHeads; ++h) {
      for (int t = 0; t < tokens_; ++t) {
        const bool is_zero = t < kPadding;  // whose codes are 0 at best
        if (is_zero || is_sink(p_.cache, 0, t)) continue;
        for (int c = 0; c < kDim; ++c) {
          const double step = 4.0 * 1.01 / largest_code(p_.cache.key_bits);
          CHECK(frequencies_ > 0 || stored_key(h, t, c).scale <= step);
          check_code(stored_key(h, t, c), key(h, t, c));
          check_code(stored_value(h, t, c), value(h, t, c));
        }
      }
      for (int row = 0; row < kRows; ++row) {
        for (int c = 0; c < kDim; ++c) {
          const int64_t at = kv_row_offset(p_.cache, h, row) + c;
          const double k = key(h, tokens_ + row, c);
          CHECK(std::fabs(load_one(&k_rows_[at]) - k) <= 16 * kDigit<T> + 2e-6);
          CHECK(load_one(&v_rows_[at]) == value(h, tokens_ + row, c));
        }
      }
    }
  }

  void check_not_finite() {
    store_one(&v_[order_[kPadding + kSinks + 9] * kDim + 1], INFINITY);
    CHECK(!kernel::pack_group(p_, 0, 0));
    CHECK(kernel::pack_group(p_, 0, 1));
    store_one(&k_[(count_ + order_[tokens_ + 1]) * kDim + 2], NAN);  // of the second head
    CHECK(
        !kernel::write_tokens(p_, 0, tokens_, kRows, k_rows_.data(), v_rows_.data(), kRows * kDim));
  }

 private:
  struct Stored {
    double value, scale;
  };

  // Half a step, and what rounding of the exact value, of the zero point and of the scale adds.
  static void check_code(const Stored& stored, double exact) {
    CHECK(stored.scale > 0 && stored.scale < 8);
    CHECK(std::fabs(stored.value - exact) <= stored.scale * 0.505 + 16 * kDigit<T> + 2e-6);
  }

  double input(const std::vector<T>& x, int h, int t, int c) const {
    return load_one(&x[(h * count_ + order_[t]) * kDim + c]);
  }
  double value(int h, int t, int c) const { return input(v_, h, t, c); }
  double key(int h, int t, int c) const {
    if (c >= 2 * frequencies_) return input(k_, h, t, c);
    const int f = c % frequencies_;
    const double angle = rope_angle(positions_[t], inv_freq_[f]);
    const double sin = c < frequencies_ ? -std::sin(angle) : std::sin(angle);
    const int partner = c < frequencies_ ? c + frequencies_ : f;
    return input(k_, h, t, c) * std::cos(angle) + input(k_, h, t, partner) * sin;
  }

  Stored stored_key(int h, int t, int c) const {
    const KvCache& cache = p_.cache;
    const int page = t / kPageTokens;
    const CodePlace at = key_code(cache.key_bits, kDim, t % kPageTokens, c);
    const int code = read_code(cache.key_bits, key_page(cache, h, page), at);
    const T* qparams = &k_qparams_[key_qparams_offset(cache, h, page) + c];
    const double scale = load_one(qparams);
    return {load_one(qparams + kDim) + scale * code, scale};
  }
  Stored stored_value(int h, int t, int c) const {
    const KvCache& cache = p_.cache;
    const int page = t / kPageTokens;
    const CodePlace at = value_code(cache.value_bits, kDim, t % kPageTokens, c);
    const int code = read_code(cache.value_bits, value_page(cache, h, page), at);
    const T* qparams =
        &v_qparams_[value_qparams_offset(cache, h, page, c / kValueGroup) + t % kPageTokens];
    const double scale = load_one(qparams);
    return {load_one(qparams + kPageTokens) + scale * code, scale};
  }

  const int tokens_, count_, frequencies_;
  std::vector<T> k_, v_;
  std::vector<float> inv_freq_, positions_;
  std::vector<int32_t> order_;
  int32_t valid_[2];
  std::vector<uint8_t> k_codes_, v_codes_;
  std::vector<T> k_qparams_, v_qparams_, k_rows_, v_rows_;
  KvAppendParams p_{};
};

template <class T>
void check_type(FloatType type) {
  const int widths[][2] = {{8, 8}, {4, 4}, {3, 3}, {3, 2}, {2, 2}};
  for (const auto& [key_bits, value_bits] : widths) {
    for (const int key_group : {64, 128}) {
      for (const int frequencies : {0, 20, 24}) {
        Problem<T>(type, key_bits, value_bits, key_group, frequencies).check();
      }
    }
    Problem<T>(type, key_bits, value_bits, 64, 0).check_not_finite();
  }
}

}  // namespace

int main() {
  check_type<Float32>(FloatType::kFloat32);
  check_type<BFloat16>(FloatType::kBFloat16);
  check_type<Float16>(FloatType::kFloat16);
}
