#include "cpu/target.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace intp::cpu {
namespace {

#if defined(__x86_64__)
// By CPUID: Clang's __builtin_cpu_supports does not know the name.
bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}
#endif

bool supported([[maybe_unused]] Level level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (level == Level::kAvx2) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (level == Level::kAvx512) return avx512;
  if (level == Level::kAvx512Bf16) return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
  return level == Level::kPortable;
}

Level choose() {
  constexpr Level kBestFirst[] = {Level::kAvx512Bf16, Level::kAvx512, Level::kAvx2,
                                  Level::kPortable};
  const char* wanted = std::getenv("INTP_EXT_CPU");
  for (Level level : kBestFirst) {
    if (wanted == nullptr) {
      if (supported(level)) return level;
    } else if (std::string(wanted) == level_name(level)) {
      if (supported(level)) return level;
      throw std::invalid_argument(std::string("INTP_EXT_CPU: this processor has no ") + wanted);
    }
  }
  throw std::invalid_argument(
      std::string("INTP_EXT_CPU: expected portable, avx2, avx512 or avx512_bf16, got '") + wanted +
      "'");
}

}  // namespace

Level level() {
  static const Level chosen = choose();
  return chosen;
}

const char* level_name(Level level) {
  switch (level) {
    case Level::kAvx512Bf16:
      return "avx512_bf16";
    case Level::kAvx512:
      return "avx512";
    case Level::kAvx2:
      return "avx2";
    default:
      return "portable";
  }
}

}  // namespace intp::cpu
