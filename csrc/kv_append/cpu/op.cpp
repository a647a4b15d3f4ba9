#include "kv_append/op.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "kv_append/cpu/kernel.h"

namespace intp {
namespace {

constexpr int64_t kRowsPerTask = 32;

void run_append(const KvAppendParams& p, const Tensor& k) {
  if (p.rope.order.data != nullptr) {
    check_order_range(kAppend, p.rope.order, p.rope.batch, p.rope.length, p.rope.rows);
  }
  // Rows that stay unpacked wait beside the cache until all values are known to be finite: the rows
  // of a group that is complete now may be overwritten only then.
  const KvCache& cache = p.cache;
  const int64_t end = p.length + p.count, packed = packed_tokens(cache, end);
  const int64_t begin_row = std::max(p.length, packed), new_rows = end - begin_row;
  const bool wait = cache.bits != 16;
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
  const int64_t first_group = packed_tokens(cache, p.length) / cache.key_group;
  const int64_t groups = packed / cache.key_group - first_group;
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
    const int64_t at = kv_row_offset(cache, head, begin_row - packed) * size;
    const int64_t from = head * head_elements * size, bytes = head_elements * size;
    memcpy(static_cast<char*>(cache.k_rows) + at, rows[0] + from, bytes);
    memcpy(static_cast<char*>(cache.v_rows) + at, rows[1] + from, bytes);
  }
}

}  // namespace
}  // namespace intp

INTP_REGISTER_APPEND(CPU, intp::run_append)
