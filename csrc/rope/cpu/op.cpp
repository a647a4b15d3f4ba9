#include "rope/op.h"

#include "cpu/workers.h"
#include "rope/cpu/kernel.h"

namespace intp {
namespace {

void run_rope(const RopeParams& params, const Tensor&) {
  if (params.order.data != nullptr) {
    check_order_range(kRope, params.order, params.batch, params.length, params.rows);
  }
  auto* rope_rows = cpu::rope_rows();
  int64_t row_bytes = 0;  // of float32, which is what a rotation takes in any type
  for (int i = 0; i < params.tensor_count; ++i) {
    row_bytes += 2 * sizeof(float) * params.tensors[i].heads * params.head_dim;
  }
  torch::stable::parallel_for(0, params.batch * params.length, cpu::worker_parts(row_bytes),
                              [&](int64_t begin, int64_t end) {
                                std::vector<float> table(2 * kRopeBlock * params.frequencies);
                                rope_rows(params, begin, end, table.data());
                              });
}

}  // namespace
}  // namespace intp

INTP_REGISTER_ROPE(CPU, intp::run_rope)
