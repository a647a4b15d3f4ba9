#include "attention/cpu/kernel.h"
#include "attention/cpu/decode.h"
#include "attention/cpu/prefill.h"
#include "cpu/with_type.h"

namespace intp::cpu::INTP_CPU_TARGET {
void attend_rows(const AttentionParams& p, const AttentionPlan& plan, int64_t head, int64_t split,
                 float* scratch) {
  with_type(p.type,
            [&](auto type) { Prefill<decltype(type)>(p, plan, head, split, scratch).run(); });
}

void attend_keys(const AttentionParams& p, const AttentionPlan& plan, int64_t task,
                 float* scratch) {
  with_type(p.type, [&](auto type) { Decode<decltype(type)>(p, plan, task, scratch).run(); });
}

void combine_partials(const AttentionParams& p, const AttentionPlan& plan, int64_t head,
                      const float* scratch) {
  with_type(p.type,
            [&](auto type) { combine_partials_of<decltype(type)>(p, plan, head, scratch); });
}

}  // namespace intp::cpu::INTP_CPU_TARGET
