// How many threads share a call: cpu/workers.h, and the plan of attention.

#include <initializer_list>

#include "attention/cpu/plan.h"
#include "check.h"

using namespace intp;

namespace {

// One key head of 64 channels.
AttentionPlan plan_of(int64_t queries, int64_t keys, int64_t threads) {
  AttentionParams p{};
  p.batch = p.kv_heads = p.group = 1;
  p.queries = queries;
  p.keys = keys;
  p.head_dim = p.value_dim = 64;
  return plan_attention(p, cpu::Target::portable, threads);
}

}  // namespace

int main() {
  constexpr int64_t kBytes = cpu::kWorkerBytes;
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, kBytes}) CHECK(cpu::workers(8, bytes) == 1);
  CHECK(cpu::workers(8, kBytes + 1) == 2);
  CHECK(cpu::workers(8, 5 * kBytes) == 5);
  CHECK(cpu::workers(8, 100 * kBytes) == 8);

  CHECK(cpu::worker_parts(0) == kBytes);
  CHECK(cpu::worker_parts(kBytes / 4) == 4);
  CHECK(cpu::worker_parts(kBytes) == 1);
  CHECK(cpu::worker_parts(2 * kBytes) == 1);

  for (const int64_t queries : {1, 4, 32}) CHECK(plan_of(queries, 64, 8).workers == 1);
  CHECK(plan_of(1, 64 * 1024, 8).workers == 8);
  CHECK(plan_of(1000, 1000, 8).workers == 8);
  CHECK(plan_of(1, 1 << 20, 1).workers == 1);
}
