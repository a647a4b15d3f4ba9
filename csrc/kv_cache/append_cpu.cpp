#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <vector>

#include "kv_cache/kv_cache_args.h"
#include "rope/rope_args.h"

namespace intp {
namespace {

constexpr const char* kAppend = "kv_append";
constexpr int64_t kRowsPerTask = 32;

// With no frequencies where positions are None: rows pass through.
RopeParams append_rope(const Tensor& k, const std::optional<Tensor>& positions,
                       const std::optional<Tensor>& inv_freq, double attention_scaling,
                       const std::optional<std::vector<int64_t>>& sections,
                       bool interleaved_sections, const std::optional<Tensor>& order) {
  check(positions.has_value() == inv_freq.has_value(), kAppend,
        ": positions: expected together with inv_freq");
  RopeParams p{};
  if (positions) {
    p = rope_args(k, RopeArgs{*positions, *inv_freq, attention_scaling, sections,
                              interleaved_sections, order});
  } else {
    p.type = float_type(kAppend, "k", k);
    p.batch = k.size(0);
    p.rows = p.length = k.size(2);
    p.head_dim = k.size(3);
    if (order) {
      check(order->dim() >= 1, kAppend, ": order: expected [S] or [B, S]");
      p.length = order->size(order->dim() - 1);
      check_same_device(kAppend, k, *order);
      p.order = order_args(kAppend, *order, p.batch);
    }
  }
  if (p.order.data != nullptr) check_order_range(kAppend, p.order, p.batch, p.length, p.rows);
  p.tensors[p.tensor_count++] = {
      k.const_data_ptr(), nullptr, k.size(1), k.stride(0), k.stride(1), k.stride(2), 0, 0, 0};
  return p;
}

void kv_append(Tensor k, Tensor v, std::optional<Tensor> positions, std::optional<Tensor> inv_freq,
               double attention_scaling, std::optional<std::vector<int64_t>> sections,
               bool interleaved_sections, std::optional<Tensor> order, std::optional<Tensor> bounds,
               int64_t length, int64_t bits, int64_t key_group, int64_t value_group, Tensor k_codes,
               Tensor v_codes, Tensor k_ranges, Tensor v_ranges, Tensor k_rows, Tensor v_rows) {
  for (const Tensor* x : {&k, &v}) {
    check(x->dim() == 4, kAppend, ": k, v: expected [B, H, S, D]");
    check_unit_stride(kAppend, "k, v", *x);
    check_same_device(kAppend, k_rows, *x);
    check(x->scalar_type() == k_rows.scalar_type(), kAppend, ": k, v: expected the cache's dtype");
    for (int64_t i = 0; i < 4; ++i) {
      check(x->size(i) == (i == 2 ? k : k_rows).size(i), kAppend,
            ": k, v: expected the cache's batch, heads and head_dim");
    }
  }
  KvAppend p{};
  p.rope =
      append_rope(k, positions, inv_freq, attention_scaling, sections, interleaved_sections, order);
  p.length = length;
  p.count = p.rope.length;
  const CacheOptions options{kAppend, bits, key_group, value_group};
  p.cache = cache_like(options, k_rows);
  check(length >= 0, kAppend, ": length: expected at least 0, got ", length);
  const int64_t end = length + p.count, packed = packed_tokens(p.cache, end);
  const int64_t room = bits == 16 ? end : key_group;
  check(p.cache.row_capacity >= room, kAppend, ": k_rows: expected room for ", room,
        " tokens, got ", p.cache.row_capacity);
  for (const auto& [name, x] : {std::pair("k_rows", &k_rows), std::pair("v_rows", &v_rows)}) {
    expect_buffer(options, name, *x, k_rows, k_rows.scalar_type(),
                  {p.cache.batch, p.cache.heads, p.cache.row_capacity, p.cache.head_dim});
  }
  add_pages(options, k_rows, k_codes, v_codes, k_ranges, v_ranges, packed, p.cache);
  p.cache.k_rows = k_rows.mutable_data_ptr();
  p.cache.v_rows = v_rows.mutable_data_ptr();
  for (const Tensor* x : {&k, &v}) {
    for (const Tensor* y : {&k_rows, &v_rows, &k_codes, &v_codes})
      check_no_overlap(kAppend, *x, *y);
  }
  p.v = v.const_data_ptr();
  p.v_stride_b = v.stride(0);
  p.v_stride_h = v.stride(1);
  p.v_stride_s = v.stride(2);
  if (bounds) {
    check(bounds->dim() == 2 && bounds->size(0) == p.cache.batch && bounds->size(1) == 2 &&
              bounds->scalar_type() == ScalarType::Int && bounds->is_contiguous(),
          kAppend, ": bounds: expected contiguous int32 [B, 2]");
    check_same_device(kAppend, k_rows, *bounds);
    p.bounds = static_cast<const int32_t*>(bounds->const_data_ptr());
  }
  if (p.count == 0 || p.cache.batch * p.cache.heads * p.cache.head_dim == 0) return;

  // Rows that stay unpacked wait beside the cache until all values are known to be finite: the rows
  // of a group that is complete now may be overwritten only then.
  const KvCache& cache = p.cache;
  const int64_t begin_row = std::max(length, packed), new_rows = end - begin_row;
  const bool wait = bits != 16;
  const int64_t head_elements = (wait ? new_rows : cache.row_capacity) * cache.head_dim;
  const int64_t size = k.element_size(), heads = cache.batch * cache.heads;
  std::vector<char> waiting(wait ? 2 * heads * head_elements * size : 0);
  char* rows[2] = {waiting.data(), waiting.data() + waiting.size() / 2};
  if (!wait) {
    const int64_t at = (begin_row - packed) * cache.head_dim * size;
    rows[0] = static_cast<char*>(cache.k_rows) + at;
    rows[1] = static_cast<char*>(cache.v_rows) + at;
  }

  auto* pack_group = cpu::pack_group();
  auto* write_tokens = cpu::write_tokens();
  const int64_t first_group = packed_tokens(cache, length) / key_group;
  const int64_t groups = packed / key_group - first_group;
  const int64_t blocks = (new_rows + kRowsPerTask - 1) / kRowsPerTask;
  std::atomic<bool> finite{true};
  torch::stable::parallel_for(0, cache.batch * (groups + blocks), 1, [&](int64_t i, int64_t last) {
    for (; i < last; ++i) {
      const int64_t b = i / (groups + blocks), task = i % (groups + blocks);
      bool good = true;
      if (task < groups) {
        good = pack_group(p, b, first_group + task);
      } else {
        const int64_t row = (task - groups) * kRowsPerTask;
        const int64_t at = (b * cache.heads * head_elements + row * cache.head_dim) * size;
        good = write_tokens(p, b, begin_row + row, std::min(kRowsPerTask, new_rows - row),
                            rows[0] + at, rows[1] + at, head_elements);
      }
      if (!good) finite.store(false, std::memory_order_relaxed);
    }
  });
  check(finite.load(), kAppend, ": k, v: expected finite values to pack, got infinity or NaN");
  for (int64_t head = 0; wait && head < heads; ++head) {
    const int64_t at = (head * cache.row_capacity + begin_row - packed) * cache.head_dim * size;
    const int64_t from = head * head_elements * size, bytes = head_elements * size;
    memcpy(static_cast<char*>(cache.k_rows) + at, rows[0] + from, bytes);
    memcpy(static_cast<char*>(cache.v_rows) + at, rows[1] + from, bytes);
  }
}

}  // namespace
}  // namespace intp

STABLE_TORCH_LIBRARY_IMPL(intp_ext, CPU, m) { m.impl("kv_append", TORCH_BOX(&intp::kv_append)); }
