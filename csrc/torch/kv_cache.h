#pragma once

#include <initializer_list>

#include "kv_append/params.h"
#include "torch/check.h"

namespace intp {

// What both operators say of a cache.
struct CacheOptions {
  const char* where;
  int64_t bits, key_group, value_group;
};

inline void expect_buffer(const CacheOptions& o, const char* name, const Tensor& x,
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
inline KvCache cache_like(const CacheOptions& o, const Tensor& rows) {
  check(o.bits == 2 || o.bits == 4 || o.bits == 8 || o.bits == 16, o.where,
        ": bits: expected 2, 4, 8 or 16, got ", o.bits);
  check(o.key_group > 0 && o.key_group % kPageTokens == 0 && o.value_group > 0 &&
            o.value_group % kCellLanes == 0,
        o.where, ": expected key_group a multiple of 64 and value_group of 16");
  check(rows.dim() == 4, o.where, ": expected rows [B, H, R, D]");
  KvCache c{};
  c.type = float_type(o.where, "rows", rows);
  c.bits = o.bits;
  c.key_group = o.key_group;
  c.value_group = o.value_group;
  c.batch = rows.size(0);
  c.heads = rows.size(1);
  c.row_capacity = rows.size(2);
  c.head_dim = rows.size(3);
  check(o.bits == 16 || c.head_dim % kCellLanes == 0, o.where,
        ": expected head_dim a multiple of 16 to pack, got ", c.head_dim);
  return c;
}

// Puts in the pages, which must have room for so many tokens.
inline void add_pages(const CacheOptions& o, const Tensor& rows, const Tensor& k_codes,
                      const Tensor& v_codes, const Tensor& k_ranges, const Tensor& v_ranges,
                      int64_t tokens, KvCache& c) {
  if (o.bits == 16) return;
  check(k_codes.dim() == 4, o.where, ": k_codes: expected [B, H, pages, bytes]");
  c.page_capacity = k_codes.size(2);
  const int64_t pages = o.key_group / kPageTokens;
  check(c.page_capacity % pages == 0 && c.page_capacity * kPageTokens >= tokens, o.where,
        ": k_codes: expected whole groups and room for ", tokens, " tokens, got ", c.page_capacity,
        " pages");
  const int64_t bytes = page_bytes(o.bits, c.head_dim);
  const ScalarType type = rows.scalar_type();
  expect_buffer(o, "k_codes", k_codes, rows, ScalarType::Byte,
                {c.batch, c.heads, c.page_capacity, bytes});
  expect_buffer(o, "v_codes", v_codes, rows, ScalarType::Byte,
                {c.batch, c.heads, c.page_capacity, bytes});
  expect_buffer(o, "k_ranges", k_ranges, rows, type,
                {c.batch, c.heads, c.page_capacity / pages, 2, c.head_dim});
  expect_buffer(
      o, "v_ranges", v_ranges, rows, type,
      {c.batch, c.heads, c.page_capacity, value_groups(c.head_dim, o.value_group), 2, kPageTokens});
  const auto pointer = [](const Tensor& x) { return const_cast<void*>(x.const_data_ptr()); };
  c.k_codes = static_cast<uint8_t*>(pointer(k_codes));
  c.v_codes = static_cast<uint8_t*>(pointer(v_codes));
  c.k_ranges = pointer(k_ranges);
  c.v_ranges = pointer(v_ranges);
}

}  // namespace intp
