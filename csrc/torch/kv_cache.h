#pragma once

// The tensors of a cache, for the operators that write and read it.

#include <initializer_list>
#include <limits>
#include <optional>
#include <utility>

#include "common/kv_page.h"
#include "torch/check.h"

namespace intp {

// What the operators on a cache say of it.
struct KvCacheArgs {
  const char* where;
  int64_t key_bits, value_bits, key_group, value_group;

  bool packs() const { return key_bits != 16; }
};

inline void expect_buffer(const KvCacheArgs& o, const char* name, const Tensor& x,
                          const Tensor& like, ScalarType type,
                          std::initializer_list<int64_t> shape) {
  bool good =
      x.scalar_type() == type && x.is_contiguous() && x.dim() == static_cast<int64_t>(shape.size());
  int64_t i = 0;
  for (int64_t size : shape) good = good && x.size(i++) == size;
  check(good, o.where, ": ", name, ": expected a contiguous buffer of the cache's shape and dtype");
  check_same_device(o.where, like, x);
}

// A cache of rows [B, H, R, D] like `rows`, without its buffers.
inline KvCache cache_like(const KvCacheArgs& o, const Tensor& rows) {
  check(are_code_widths(o.key_bits, o.value_bits) || (o.key_bits == 16 && o.value_bits == 16),
        o.where, ": key_bits, value_bits: expected 2, 3, 4, 8 or 16, both, or 3 and 2, got ",
        o.key_bits, " and ", o.value_bits);
  constexpr int64_t kMost = 1 << 24;  // so that the bytes of a page are an int32
  check(0 < o.key_group && o.key_group <= kMost && o.key_group % kPageTokens == 0, o.where,
        ": key_group: expected a multiple of 64, at most 2^24, got ", o.key_group);
  check(0 < o.value_group && o.value_group <= kMost && o.value_group % kCellLanes == 0, o.where,
        ": value_group: expected a multiple of 16, at most 2^24, got ", o.value_group);
  check(rows.dim() == 4, o.where, ": expected rows [B, H, R, D]");
  KvCache c{};
  c.type = float_type(o.where, "rows", rows);
  c.key_bits = static_cast<int32_t>(o.key_bits);
  c.value_bits = static_cast<int32_t>(o.value_bits);
  c.key_group = static_cast<int32_t>(o.key_group);
  c.value_group = static_cast<int32_t>(o.value_group);
  c.batch = rows.size(0);
  c.heads = rows.size(1);
  c.row_capacity = rows.size(2);
  c.head_dim = static_cast<int32_t>(rows.size(3));
  check(rows.size(3) <= kMost && (!o.packs() || c.head_dim % kCellLanes == 0), o.where,
        ": expected head_dim a multiple of 16 to pack, at most 2^24, got ", rows.size(3));
  return c;
}

// Of `length` tokens, `packed` in pages.
inline void check_packed(const KvCacheArgs& o, const char* name, int64_t length, int64_t packed) {
  check(0 <= packed && packed <= length && packed % o.key_group == 0 && (o.packs() || packed == 0),
        o.where, ": ", name, ": expected whole key groups of the ", length, " tokens, got ",
        packed);
}

struct PageTensors {
  const Tensor &k_codes, &v_codes, &k_ranges, &v_ranges;  // ranges: scales and zero points
};

// Puts in the pages, which must have room for that many tokens.
inline void add_pages(const KvCacheArgs& o, const Tensor& rows, const PageTensors& x,
                      int64_t tokens, KvCache& c) {
  if (!o.packs()) return;
  check(x.k_codes.dim() == 4 && x.k_codes.size(2) <= std::numeric_limits<int32_t>::max(), o.where,
        ": k_codes: expected [B, H, pages, bytes]");
  c.page_capacity = static_cast<int32_t>(x.k_codes.size(2));
  const int pages = group_pages(c);
  check(c.page_capacity % pages == 0 && int64_t{c.page_capacity} * kPageTokens >= tokens, o.where,
        ": k_codes: expected whole groups and room for ", tokens, " tokens, got ", c.page_capacity,
        " pages");
  const int groups = value_groups(c.head_dim, c.value_group);
  const ScalarType type = rows.scalar_type();
  expect_buffer(o, "k_codes", x.k_codes, rows, ScalarType::Byte,
                {c.batch, c.heads, c.page_capacity, page_bytes(c.key_bits, c.head_dim)});
  expect_buffer(o, "v_codes", x.v_codes, rows, ScalarType::Byte,
                {c.batch, c.heads, c.page_capacity, page_bytes(c.value_bits, c.head_dim)});
  expect_buffer(o, "k_ranges", x.k_ranges, rows, type,
                {c.batch, c.heads, c.page_capacity / pages, 2, c.head_dim});
  expect_buffer(o, "v_ranges", x.v_ranges, rows, type,
                {c.batch, c.heads, c.page_capacity, groups, 2, kPageTokens});
  const auto pointer = [](const Tensor& tensor) {
    return const_cast<void*>(tensor.const_data_ptr());
  };
  c.k_codes = static_cast<uint8_t*>(pointer(x.k_codes));
  c.v_codes = static_cast<uint8_t*>(pointer(x.v_codes));
  c.k_qparams = pointer(x.k_ranges);
  c.v_qparams = pointer(x.v_ranges);
}

// Puts in the sinks [B, H, slots, D], where the first real tokens are given.
inline void add_sinks(const KvCacheArgs& o, const Tensor& rows, const Tensor& k_sinks,
                      const Tensor& v_sinks, const std::optional<Tensor>& first, KvCache& c) {
  check(k_sinks.dim() == 4 && k_sinks.size(2) <= 1 << 24, o.where,
        ": k_sinks: expected [B, H, slots, D], at most 2^24 slots");
  c.sinks = static_cast<int32_t>(k_sinks.size(2));
  check((c.sinks > 0) == first.has_value() && (o.packs() || c.sinks == 0), o.where,
        ": first: expected where there are slots for sinks, and only there");
  for (const auto& [name, x] : {std::pair("k_sinks", &k_sinks), std::pair("v_sinks", &v_sinks)}) {
    expect_buffer(o, name, *x, rows, rows.scalar_type(), {c.batch, c.heads, c.sinks, c.head_dim});
  }
  if (c.sinks == 0) return;
  expect_buffer(o, "first", *first, rows, ScalarType::Int, {c.batch});
  c.first = first->const_data_ptr<int32_t>();
  c.k_sinks = const_cast<void*>(k_sinks.const_data_ptr());
  c.v_sinks = const_cast<void*>(v_sinks.const_data_ptr());
}

}  // namespace intp
