#include "attention/cpu/kernel.h"
#include "attention/cpu/packed_decode.h"
#include "cpu/with_type.h"

namespace intp::cpu::INTP_CPU_TARGET {

void attend_pages(const AttentionParams& p, const AttentionPlan& plan, int64_t task,
                  float* scratch) {
  const int64_t partial = decode_partial(attention_rows(p), round_up(p.value_dim, kWidth));
  with_type(p.type, [&](auto type) {
    with_bits(p.packed->cache.bits, [&](auto bits) {
      PackedDecode<decltype(type), decltype(bits)::value>(p, task / plan.splits,
                                                          scratch + task * partial)
          .run(task % plan.splits - plan.row_splits);
    });
  });
}

}  // namespace intp::cpu::INTP_CPU_TARGET
