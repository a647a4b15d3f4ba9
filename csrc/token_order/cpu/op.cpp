#include "token_order/op.h"

#include "cpu/workers.h"

namespace intp {
namespace {

constexpr int64_t kIndexBytes = 256;  // which take as long as an index, its divisions

void run_token_order(const TokenOrderParams& p, const Tensor&) {
  torch::stable::parallel_for(0, p.length, cpu::worker_parts(kIndexBytes),
                              [&](int64_t begin, int64_t end) {
                                for (int64_t t = begin; t < end; ++t) {
                                  p.rows[t] = static_cast<int32_t>(storage_row(p.grouping, t));
                                }
                              });
}

}  // namespace
}  // namespace intp

INTP_REGISTER_TOKEN_ORDER(CPU, intp::run_token_order)
