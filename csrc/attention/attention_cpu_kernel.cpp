#include "attention/attention.h"
#include "attention/decode.h"
#include "attention/prefill.h"

namespace intp::cpu::INTP_CPU_LEVEL {
namespace {

// f(T{}) for the element type of p.
template <class F>
void with_type(const AttentionParams& p, F f) {
  switch (p.type) {
    case FloatType::kFloat32:
      return f(Float32{});
    case FloatType::kBFloat16:
      return f(BFloat16{});
    case FloatType::kFloat16:
      return f(Float16{});
  }
}

}  // namespace

void attend_rows(const AttentionParams& p, const AttentionPlan& plan, int64_t head, int64_t split,
                 float* scratch) {
  with_type(p, [&](auto type) { Prefill<decltype(type)>(p, plan, head, split, scratch).run(); });
}

void attend_keys(const AttentionParams& p, const AttentionPlan& plan, int64_t task,
                 float* scratch) {
  with_type(p, [&](auto type) { Decode<decltype(type)>(p, plan, task, scratch).run(); });
}

void merge_partials(const AttentionParams& p, const AttentionPlan& plan, int64_t head,
                    const float* scratch) {
  with_type(p, [&](auto type) { merge_partials_of<decltype(type)>(p, plan, head, scratch); });
}

}  // namespace intp::cpu::INTP_CPU_LEVEL
