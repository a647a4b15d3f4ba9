#pragma once

// A call of attention on the CPU: tasks shared among threads, over kernels chosen by the plan.

#include <atomic>

#include "attention/cpu/kernel.h"
#include "attention/op.h"

namespace intp {

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

inline void run_attention_cpu(const AttentionParams& p, const Tensor& q) {
  const AttentionPlan plan = plan_attention(p, cpu::level(), torch::stable::get_num_threads());
  const Tensor memory = make_scratch(q, plan.scratch_elements);
  float* scratch = static_cast<float*>(memory.mutable_data_ptr());
  if (plan.decode) {
    auto* attend_keys = cpu::attend_keys();
    auto* merge_partials = cpu::merge_partials();
    share_tasks(plan.workers, plan.tasks,
                [&](int64_t, int64_t task) { attend_keys(p, plan, task, scratch); });
    share_tasks(least(plan.workers, p.batch * p.kv_heads), p.batch * p.kv_heads,
                [&](int64_t, int64_t head) { merge_partials(p, plan, head, scratch); });
    return;
  }
  auto* attend_rows = cpu::attend_rows();
  const int64_t worker_elements = plan.scratch_elements / plan.workers;
  const int64_t heads = p.batch * p.kv_heads;
  share_tasks(plan.workers, plan.tasks, [&](int64_t worker, int64_t task) {
    const int64_t split = plan.splits - 1 - task / heads;  // last queries, most keys first
    attend_rows(p, plan, task % heads, split, scratch + worker * worker_elements);
  });
}

}  // namespace intp
