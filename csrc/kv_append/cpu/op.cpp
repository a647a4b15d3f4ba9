#include "kv_append/op.h"

#include <algorithm>
#include <atomic>

#include "cpu/workers.h"
#include "kv_append/cpu/kernel.h"

namespace intp {
namespace {

constexpr int64_t kRowsPerTask = 32;

void run_append(const KvAppendParams& p, const Tensor& k) {
  if (p.rope.order.data != nullptr) {
    check_order_range(kAppend, p.rope.order, p.rope.batch, p.rope.length, p.rope.rows);
  }
  const KvCache& cache = p.cache;
  const int64_t begin_row = first_written_row(p), new_rows = p.length + p.count - begin_row;
  const int64_t head_elements = cache.row_capacity * cache.head_dim, size = k.element_size();
  auto* pack_group = cpu::pack_group();
  auto* write_tokens = cpu::write_tokens();
  const int64_t first_group = p.packed / cache.key_group;
  const int64_t groups = p.now_packed / cache.key_group - first_group;
  const int64_t blocks = (new_rows + kRowsPerTask - 1) / kRowsPerTask;
  const int64_t tasks = groups + blocks + (cache.sinks > 0);  // of a row of the batch
  // of k and v; packing a group is enough for a thread
  const int64_t row_bytes = 2 * 2 * cache.heads * cache.head_dim * size;
  const int64_t grain =
      groups > 0 ? 1 : cpu::worker_parts(row_bytes * std::min(kRowsPerTask, new_rows));
  std::atomic<bool> finite{true};
  torch::stable::parallel_for(0, cache.batch * tasks, grain, [&](int64_t i, int64_t last) {
    for (; i < last; ++i) {
      const int64_t b = i / tasks, task = i % tasks;
      bool good = true;
      if (task < groups) {
        good = pack_group(p, b, first_group + task);
      } else if (task == groups + blocks) {
        const NewTokens sinks = new_sinks(p, b);
        if (sinks.begin >= sinks.end) continue;
        const int64_t slot = sink_slot(cache, b, sinks.begin);
        const int64_t at = sink_offset(cache, b * cache.heads, slot) * size;
        good = write_tokens(p, b, sinks.begin, sinks.end - sinks.begin,
                            static_cast<char*>(cache.k_sinks) + at,
                            static_cast<char*>(cache.v_sinks) + at, cache.sinks * cache.head_dim);
      } else {
        const int64_t first = begin_row + (task - groups) * kRowsPerTask;
        const int64_t count = std::min(kRowsPerTask, begin_row + new_rows - first);
        const int64_t at = kv_row_offset(cache, b * cache.heads, first - p.now_packed) * size;
        good = write_tokens(p, b, first, count, static_cast<char*>(cache.k_rows) + at,
                            static_cast<char*>(cache.v_rows) + at, head_elements);
      }
      if (!good) finite.store(false, std::memory_order_relaxed);
    }
  });
  // all of it was written where nothing is read yet
  check(finite.load(), kAppend,
        ": k, v: expected finite values to pack, got infinity, NaN or a range that is infinite");
}

}  // namespace
}  // namespace intp

INTP_REGISTER_APPEND(CPU, intp::run_append)
