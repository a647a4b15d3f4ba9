#include "rearrange/cpu/kernel.h"

#include "cpu/copy.h"

namespace intp::cpu::INTP_CPU_TARGET {

void rearrange_rows(const RearrangeParams& p, int64_t begin, int64_t end) {
  const bool stream = p.batch * p.length * p.row_bytes >= kStreamBytes;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / p.length, s = row % p.length;
    const char* from = static_cast<const char*>(p.features) + b * p.features_stride_b +
                       source_row(p.order, b, s) * p.features_stride_r;
    char* to = static_cast<char*>(p.out) + b * p.out_stride_b + s * p.out_stride_s;
    if (stream) {
      stream_copy(to, from, p.row_bytes);
    } else {
      memcpy(to, from, p.row_bytes);
    }
  }
  if (stream) stream_fence();
}

}  // namespace intp::cpu::INTP_CPU_TARGET
