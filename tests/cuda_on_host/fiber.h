#pragma once

#include <cstddef>

namespace cuda_on_host {

// A stack that code runs on, left and entered again at will, all within one thread of the system.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;

  // The next enter() begins with entry(), which must not return.
  void prepare(void (*entry)());

  // From outside: runs the fiber until it leaves. From inside: back to whoever entered.
  void enter();
  void leave();

 private:
  char* memory_;
  void* inside_ = nullptr;   // where the fiber waits
  void* outside_ = nullptr;  // where its user waits
};

}  // namespace cuda_on_host
