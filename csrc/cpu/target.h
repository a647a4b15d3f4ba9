#pragma once

// The targets: sets of instructions that every cpu/*kernel.cpp is compiled for, each time into the
// namespace of that name. build_facts.json has the flags of each.

#include "common/macros.h"

namespace intp::cpu {

// Ascending. EACH(name, floats in a vector, vectors in registers, are there products of bfloat16
// pairs, ...)
#if defined(__x86_64__)
#define INTP_CPU_TARGETS(EACH, ...)         \
  EACH(portable, 4, 16, false, __VA_ARGS__) \
  EACH(avx2, 8, 16, false, __VA_ARGS__)     \
  EACH(avx512, 16, 32, false, __VA_ARGS__)  \
  EACH(avx512_bf16, 16, 32, true, __VA_ARGS__)
#elif defined(__aarch64__)
#define INTP_CPU_TARGETS(EACH, ...)         \
  EACH(portable, 4, 16, false, __VA_ARGS__) \
  EACH(neon, 4, 32, false, __VA_ARGS__)     \
  EACH(neon_bf16, 4, 32, true, __VA_ARGS__)
#else
#define INTP_CPU_TARGETS(EACH, ...) EACH(portable, 4, 16, false, __VA_ARGS__)
#endif

#define INTP_CPU_TARGET_ENUMERATOR(NAME, ...) NAME,
enum class Target { INTP_CPU_TARGETS(INTP_CPU_TARGET_ENUMERATOR, ) };
#undef INTP_CPU_TARGET_ENUMERATOR

struct TargetFacts {
  Target target;
  const char* name;
  int width;        // floats in a vector
  int registers;    // vectors that kernels count on
  bool dots_pairs;  // products of bfloat16 pairs
};

#define INTP_CPU_TARGET_FACTS(NAME, WIDTH, REGISTERS, PAIRS, ...) \
  {Target::NAME, #NAME, WIDTH, REGISTERS, PAIRS},
constexpr TargetFacts kTargets[] = {INTP_CPU_TARGETS(INTP_CPU_TARGET_FACTS, )};
#undef INTP_CPU_TARGET_FACTS

INTP_HD constexpr const TargetFacts& facts(Target target) {
  return kTargets[static_cast<int>(target)];
}

// The best target of this processor, or the one that INTP_EXT_CPU asks for by name. Throws
// std::invalid_argument for a target that is unknown or that this processor lacks.
Target target();

}  // namespace intp::cpu

// Declares a kernel of every target, and NAME() to get the one to call.
#define INTP_DECLARE_CPU_KERNEL(RETURN, NAME, ...)                      \
  namespace intp::cpu {                                                 \
  INTP_CPU_TARGETS(INTP_DECLARE_KERNEL_OF, RETURN, NAME, __VA_ARGS__)   \
  inline auto* NAME() {                                                 \
    switch (target()) { INTP_CPU_TARGETS(INTP_RETURN_KERNEL_OF, NAME) } \
    return portable::NAME;                                              \
  }                                                                     \
  }
#define INTP_DECLARE_KERNEL_OF(TARGET, WIDTH, REGISTERS, PAIRS, RETURN, NAME, ...) \
  namespace TARGET {                                                               \
  RETURN NAME(__VA_ARGS__);                                                        \
  }
#define INTP_RETURN_KERNEL_OF(TARGET, WIDTH, REGISTERS, PAIRS, NAME) \
  case Target::TARGET:                                               \
    return TARGET::NAME;
