#include "attention/cpu/kernel.h"
#include "attention/cpu/packed_decode.h"
#include "cpu/with_type.h"

namespace intp::cpu::INTP_CPU_TARGET {

void attend_pages(const AttentionParams& p, const AttentionPlan& plan, int64_t task,
                  float* scratch) {
  const int64_t partial = decode_partial(attention_rows(p), round_up(p.value_dim, kWidth));
  with_type(p.type, [&](auto type) {
    const KvCache& cache = p.packed->cache;
    with_widths(cache.key_bits, cache.value_bits, [&](auto keys, auto values) {
      PackedDecode<decltype(type), decltype(keys)::value, decltype(values)::value>(
          p, task / plan.splits, scratch + task * partial)
          .run(task % plan.splits - plan.row_splits);
    });
  });
}

}  // namespace intp::cpu::INTP_CPU_TARGET
