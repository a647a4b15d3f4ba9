#include <algorithm>
#include <limits>
#include <vector>

#include "attention/cpu/packed_kernel.h"
#include "attention/cpu/run.h"
#include "attention/packed_op.h"

namespace intp {
namespace {

// The same rows, seen from key `origin`: every index is smaller by it. Visibility is a matter of
// differences, so nothing else changes.
std::vector<RowBounds> shift_bounds(const AttentionParams& p, int64_t origin) {
  const auto shift = [origin](int32_t x) {
    return static_cast<int32_t>(
        std::max<int64_t>(int64_t{x} - origin, std::numeric_limits<int32_t>::min()));
  };
  std::vector<RowBounds> shifted(p.bounds, p.bounds + p.batch);
  for (RowBounds& row : shifted) {
    row = {shift(row.lo), shift(row.hi), shift(row.q_offset), shift(row.block_start),
           shift(row.dense_from)};
  }
  return shifted;
}

// The unfinished group, and then packed keys in parts of decode_keys.
void run_decode(const AttentionParams& p, AttentionPlan plan, const Tensor& like) {
  const int64_t packed = p.packed->tokens;
  const std::vector<RowBounds> bounds = shift_bounds(p, packed);
  AttentionParams tail = p;
  tail.packed = nullptr;
  tail.keys = p.keys - packed;
  tail.bounds = bounds.data();

  // a task of the tail even where the group is empty: with no packed keys either, it writes zeros
  const int64_t tail_splits = decode_splits(tail.keys, plan.tiles);
  plan.splits = tail_splits + divide_up(packed, plan.tiles.decode_keys);
  plan.task_heads = 1;
  const int64_t heads = p.batch * p.kv_heads, tasks = heads * plan.splits;
  const int64_t partial = decode_partial(attention_rows(p), p.head_dim);
  const Tensor memory = make_scratch(like, tasks * partial);
  float* scratch = static_cast<float*>(memory.mutable_data_ptr());

  auto* attend_pages = cpu::attend_pages();
  auto* attend_keys = cpu::attend_keys();
  auto* merge_partials = cpu::merge_partials();
  const int64_t workers = least(torch::stable::get_num_threads(), tasks);
  share_tasks(workers, tasks, [&](int64_t, int64_t task) {
    const int64_t head = task / plan.splits, split = task % plan.splits;
    if (split < tail_splits) {
      attend_keys(tail, plan, task, scratch);
    } else {
      attend_pages(p, head, split - tail_splits, scratch + task * partial);
    }
  });
  share_tasks(least(workers, heads), heads,
              [&](int64_t, int64_t head) { merge_partials(p, plan, head, scratch); });
}

void run_packed_cpu(const AttentionParams& p, const Tensor& q) {
  const AttentionPlan plan = plan_attention(p, cpu::level(), torch::stable::get_num_threads());
  if (plan.decode) {
    run_decode(p, plan, q);
  } else {
    run_attention_cpu(p, q);
  }
}

}  // namespace
}  // namespace intp

INTP_REGISTER_PACKED_ATTENTION(CPU, intp::run_packed_cpu)
