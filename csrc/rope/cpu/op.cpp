#include <algorithm>

#include "rope/cpu/kernel.h"
#include "rope/op.h"

namespace intp {
namespace {

// Below this a second thread costs more than it saves.
constexpr int64_t kElementsPerTask = 1 << 15;

void run_rope(const RopeParams& params, const Tensor&) {
  if (params.order.data != nullptr) {
    check_order_range(kRope, params.order, params.batch, params.length, params.rows);
  }
  auto* rope_rows = cpu::rope_rows();
  int64_t row_elements = 0;
  for (int i = 0; i < params.tensor_count; ++i) {
    row_elements += params.tensors[i].heads * params.head_dim;
  }
  const int64_t grain = std::max<int64_t>(1, kElementsPerTask / row_elements);
  torch::stable::parallel_for(0, params.batch * params.length, grain,
                              [&](int64_t begin, int64_t end) {
                                std::vector<float> table(2 * kRopeBlock * params.frequencies);
                                rope_rows(params, begin, end, table.data());
                              });
}

}  // namespace
}  // namespace intp

INTP_REGISTER_ROPE(CPU, intp::run_rope)
