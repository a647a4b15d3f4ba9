#include "attention/op.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <limits>
#include <optional>
#include <vector>

#include "attention/cpu/kernel.h"

// A call of attention on the CPU: tasks shared among threads, over kernels chosen by the plan.

namespace intp {
namespace {

// Calls work(worker, task) for every task, each taken by the first worker that is free.
template <class Work>
void share_tasks(int64_t workers, int64_t tasks, const Work& work) {
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, workers, 1, [&](int64_t worker, int64_t) {
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      work(worker, task);
    }
  });
}

void run_prefill(const AttentionParams& p, const AttentionPlan& plan, float* scratch) {
  auto* attend_rows = cpu::attend_rows();
  const int64_t worker_elements = plan.scratch_elements / plan.workers;
  const int64_t heads = p.batch * p.kv_heads;
  share_tasks(plan.workers, plan.tasks, [&](int64_t worker, int64_t task) {
    const int64_t split = plan.splits - 1 - task / heads;  // last queries, most keys first
    attend_rows(p, plan, task % heads, split, scratch + worker * worker_elements);
  });
}

// The keys of a call that are rows, seen from the first of them: every index is smaller by the
// number of keys in pages. Visibility is a matter of differences, so nothing else changes.
class RowsAfterPages {
 public:
  explicit RowsAfterPages(const AttentionParams& p)
      : params_(p), bounds_(p.bounds, p.bounds + p.batch) {
    const auto shift = [origin = p.packed->tokens](int32_t x) {
      return static_cast<int32_t>(
          std::max<int64_t>(int64_t{x} - origin, std::numeric_limits<int32_t>::min()));
    };
    for (RowBounds& row : bounds_) {
      row = {shift(row.lo), shift(row.hi), shift(row.q_offset), shift(row.block_start),
             shift(row.dense_from)};
    }
    params_.bounds = bounds_.data();
    params_.keys -= p.packed->tokens;
    params_.packed = nullptr;
    if (p.window.kind != WindowKind::kFirstKeys) return;
    for (int64_t b = 0; b < p.batch; ++b) {
      const int32_t* keys = first_key_of(p, b, 0);
      std::transform(keys, keys + p.queries, std::back_inserter(first_key_), shift);
    }
    params_.first_key = first_key_.data();
    params_.first_key_stride_b = p.queries;
  }
  RowsAfterPages(const RowsAfterPages&) = delete;  // params_ points to the members

  const AttentionParams& params() const { return params_; }

 private:
  AttentionParams params_;
  std::vector<RowBounds> bounds_;
  std::vector<int32_t> first_key_;
};

// First the keys that are rows, then those in pages.
void run_decode(const AttentionParams& p, const AttentionPlan& plan, float* scratch) {
  std::optional<RowsAfterPages> after;
  if (p.packed != nullptr) after.emplace(p);
  const AttentionParams& rows = after ? after->params() : p;
  auto* attend_keys = cpu::attend_keys();
  auto* attend_pages = cpu::attend_pages();
  auto* combine_partials = cpu::combine_partials();
  const int64_t heads = p.batch * p.kv_heads;
  share_tasks(plan.workers, plan.tasks, [&](int64_t, int64_t task) {
    const int64_t split = task % plan.splits;
    if (split < plan.row_splits) {
      attend_keys(rows, plan, task, scratch);
    } else {
      attend_pages(p, plan, task, scratch);
    }
  });
  const int64_t joining = cpu::workers(plan.workers, sizeof(float) * plan.scratch_elements);
  share_tasks(least(joining, heads), heads,
              [&](int64_t, int64_t head) { combine_partials(p, plan, head, scratch); });
}

void run_attention(const AttentionParams& p, const Tensor& q) {
  const AttentionPlan plan = plan_attention(p, cpu::target(), torch::stable::get_num_threads());
  const Tensor memory = make_scratch(q, plan.scratch_elements);
  float* scratch = static_cast<float*>(memory.mutable_data_ptr());
  if (plan.decode) {
    run_decode(p, plan, scratch);
  } else {
    run_prefill(p, plan, scratch);
  }
}

}  // namespace
}  // namespace intp

INTP_REGISTER_ATTENTION(CPU, intp::run_attention)
