#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)

// Saves the callee-saved registers and the stack pointer at *from, and goes on where `to` was
// saved.
extern "C" void cuda_on_host_switch(void** from, void* to);
asm(R"(
.text
.type cuda_on_host_switch, @function
cuda_on_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_on_host_switch, .-cuda_on_host_switch
)");

#else

#include <ucontext.h>

// Portable; each switch takes two system calls.
static void cuda_on_host_switch(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

#endif

namespace cuda_on_host {
namespace {

constexpr size_t kGuard = 1 << 16, kStack = 1 << 18;

// AddressSanitizer must know which stack is in use.
void before_switch([[maybe_unused]] const void* stack, [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(nullptr, stack, size);
#endif
}

void after_switch([[maybe_unused]] const void** stack, [[maybe_unused]] size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, stack, size);
#endif
}

thread_local const void* outside_stack;
thread_local size_t outside_size;
thread_local void (*entry_of_new_fiber)();

void begin() {
  after_switch(&outside_stack, &outside_size);
  entry_of_new_fiber();
}

}  // namespace

Fiber::Fiber() {
  void* memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  mprotect(memory_, kGuard, PROT_NONE);  // an overflow ends the process at once
}

Fiber::~Fiber() { munmap(memory_, kGuard + kStack); }

void Fiber::prepare(void (*entry)()) {
  char* stack = memory_ + kGuard;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, kStack);  // frames that were left for good
#endif
  entry_of_new_fiber = entry;
#if defined(__x86_64__)
  // what cuda_on_host_switch() pops: six registers, where to go on; then no way back
  auto* top = reinterpret_cast<void**>(stack + kStack);
  top[-1] = nullptr;
  top[-2] = reinterpret_cast<void*>(&begin);
  inside_ = top - 8;
#else
  auto* context = reinterpret_cast<ucontext_t*>(stack);
  getcontext(context);
  context->uc_stack.ss_sp = context + 1;
  context->uc_stack.ss_size = kStack - sizeof(ucontext_t);
  makecontext(context, &begin, 0);
  inside_ = context;
#endif
}

void Fiber::enter() {
  before_switch(memory_ + kGuard, kStack);
  cuda_on_host_switch(&outside_, inside_);
  after_switch(nullptr, nullptr);
}

void Fiber::leave() {
  before_switch(outside_stack, outside_size);
  cuda_on_host_switch(&inside_, outside_);
  after_switch(nullptr, nullptr);
}

}  // namespace cuda_on_host
