#include "cpu/target.h"

#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace intp::cpu {
namespace {

#if defined(__x86_64__)

// By CPUID: Clang's __builtin_cpu_supports does not know the name.
bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

bool is_supported(Target target) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  switch (target) {
    case Target::portable:
      return true;
    case Target::avx2:
      return avx2;
    case Target::avx512:
      return avx512;
    case Target::avx512_bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16");
  }
  return false;
}

#elif defined(__aarch64__)

bool is_supported(Target target) {
  return target != Target::neon_bf16 || (getauxval(AT_HWCAP2) & HWCAP2_BF16);
}

#else

bool is_supported(Target) { return true; }

#endif

Target best() {
  Target found = Target::portable;
  for (const TargetFacts& candidate : kTargets) {
    if (is_supported(candidate.target)) found = candidate.target;
  }
  return found;
}

// "portable, avx2, avx512 or avx512_bf16"
std::string names() {
  std::string text;
  const TargetFacts& last = *(std::end(kTargets) - 1);
  for (const TargetFacts& each : kTargets) {
    if (!text.empty()) text += &each == &last ? " or " : ", ";
    text += each.name;
  }
  return text;
}

Target choose() {
  const char* wanted = std::getenv("INTP_EXT_CPU");
  if (wanted == nullptr) return best();
  for (const TargetFacts& candidate : kTargets) {
    if (std::string(wanted) != candidate.name) continue;
    if (is_supported(candidate.target)) return candidate.target;
    throw std::invalid_argument(std::string("INTP_EXT_CPU: this processor has no ") + wanted);
  }
  throw std::invalid_argument("INTP_EXT_CPU: expected " + names() + ", got '" + wanted + "'");
}

}  // namespace

Target target() {
  static const Target chosen = choose();
  return chosen;
}

}  // namespace intp::cpu
