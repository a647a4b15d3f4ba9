#include <algorithm>

#include "rearrange/op.h"

namespace intp {
namespace {

constexpr int64_t kBytesPerTask = 1 << 16;  // below this a second thread costs more than it saves

void rearrange_out_cpu(Tensor features, Tensor order, Tensor out) {
  const RearrangeParams params = rearrange_args(features, order, out);
  if (out.numel() == 0) return;
  check_order_range("rearrange", params.order, params.batch, params.length, params.rows);
  auto* rearrange_rows = cpu::rearrange_rows();
  const int64_t grain = std::max<int64_t>(1, kBytesPerTask / params.row_bytes);
  torch::stable::parallel_for(
      0, params.batch * params.length, grain,
      [&](int64_t begin, int64_t end) { rearrange_rows(params, begin, end); });
}

Tensor rearrange_cpu(Tensor features, Tensor order) {
  Tensor out = rearrange_output(features, order);
  rearrange_out_cpu(features, order, out);
  return out;
}

}  // namespace
}  // namespace intp

STABLE_TORCH_LIBRARY_IMPL(intp_ext, CPU, m) {
  m.impl("rearrange", TORCH_BOX(&intp::rearrange_cpu));
  m.impl("rearrange.out", TORCH_BOX(&intp::rearrange_out_cpu));
}
