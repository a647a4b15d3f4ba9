#include "rearrange/op.h"

#include <algorithm>

#include "rearrange/cpu/kernel.h"

namespace intp {
namespace {

constexpr int64_t kBytesPerTask = 1 << 16;  // below this a second thread costs more than it saves

void run_rearrange(const RearrangeParams& params, const Tensor&) {
  check_order_range(kRearrange, params.order, params.batch, params.length, params.rows);
  auto* rearrange_rows = cpu::rearrange_rows();
  const int64_t grain = std::max<int64_t>(1, kBytesPerTask / params.row_bytes);
  torch::stable::parallel_for(
      0, params.batch * params.length, grain,
      [&](int64_t begin, int64_t end) { rearrange_rows(params, begin, end); });
}

}  // namespace
}  // namespace intp

INTP_REGISTER_REARRANGE(CPU, intp::run_rearrange)
