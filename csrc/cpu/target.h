#pragma once

namespace intp::cpu {

// Every cpu/*kernel.cpp is compiled once for each level, into the namespace of that name.
enum class Level { kPortable, kAvx2, kAvx512, kAvx512Bf16 };

// The best level of this processor, or the one that INTP_EXT_CPU=portable|avx2|avx512|avx512_bf16
// asks for. Throws std::invalid_argument for a level that is unknown or that this processor lacks.
Level level();

const char* level_name(Level level);

// Floats in a vector: kWidth of cpu/simd.h.
constexpr int level_width(Level level) {
  return level >= Level::kAvx512 ? 16 : level == Level::kAvx2 ? 8 : 4;
}

// The kernel compiled for level().
template <class Kernel>
Kernel* dispatch(Kernel* portable, [[maybe_unused]] Kernel* avx2, [[maybe_unused]] Kernel* avx512,
                 [[maybe_unused]] Kernel* avx512_bf16) {
#if defined(__x86_64__)
  if (level() == Level::kAvx512Bf16) return avx512_bf16;
  if (level() == Level::kAvx512) return avx512;
  if (level() == Level::kAvx2) return avx2;
#endif
  return portable;
}

}  // namespace intp::cpu

// Declares a kernel at every level, and NAME() to get the one to call.
#if defined(__x86_64__)
#define INTP_DECLARE_CPU_KERNEL(RETURN, NAME, ...)                                \
  namespace intp::cpu {                                                           \
  namespace portable {                                                            \
  RETURN NAME(__VA_ARGS__);                                                       \
  }                                                                               \
  namespace avx2 {                                                                \
  RETURN NAME(__VA_ARGS__);                                                       \
  }                                                                               \
  namespace avx512 {                                                              \
  RETURN NAME(__VA_ARGS__);                                                       \
  }                                                                               \
  namespace avx512_bf16 {                                                         \
  RETURN NAME(__VA_ARGS__);                                                       \
  }                                                                               \
  inline auto* NAME() {                                                           \
    return dispatch(portable::NAME, avx2::NAME, avx512::NAME, avx512_bf16::NAME); \
  }                                                                               \
  }
#else
#define INTP_DECLARE_CPU_KERNEL(RETURN, NAME, ...) \
  namespace intp::cpu {                            \
  namespace portable {                             \
  RETURN NAME(__VA_ARGS__);                        \
  }                                                \
  inline auto* NAME() { return portable::NAME; }   \
  }
#endif
