#include "rearrange/op.h"

#include "cpu/workers.h"
#include "rearrange/cpu/kernel.h"

namespace intp {
namespace {

void run_rearrange(const RearrangeParams& params, const Tensor&) {
  check_order_range(kRearrange, params.order, params.batch, params.length, params.rows);
  auto* rearrange_rows = cpu::rearrange_rows();
  torch::stable::parallel_for(
      0, params.batch * params.length, cpu::worker_parts(2 * params.row_bytes),
      [&](int64_t begin, int64_t end) { rearrange_rows(params, begin, end); });
}

}  // namespace
}  // namespace intp

INTP_REGISTER_REARRANGE(CPU, intp::run_rearrange)
