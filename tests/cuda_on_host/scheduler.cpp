#include <cuda_runtime.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "cuda_on_host.h"
#include "fiber.h"

namespace cuda_on_host {
namespace {

constexpr int kWarp = 32;
constexpr int64_t kMostThreads = 1024, kMostShared = 227 << 10;  // of a block
constexpr size_t kSharedAlignment = 128;

struct Copy {
  void* to;
  const void* from;
  int bytes;
};

enum class State { kReady, kAtInstruction, kAtBarrier, kEnded };

struct Thread {
  Fiber* fiber;
  dim3 index;
  int lane, warp;
  State state = State::kReady;
  std::vector<Copy> open;                 // copies of the group that is not closed yet
  std::vector<std::vector<Copy>> closed;  // and of those that are, oldest first
};

struct Warp {
  std::vector<Thread*> threads;
  // the instruction that lanes wait at
  const char* instruction = nullptr;
  uint32_t mask = 0, arrived = 0;
  void* lanes[kWarp] = {};
};

struct Block {
  dim3 index, size, grid;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  int live = 0, at_barrier = 0;
  char* shared = nullptr;
  const std::function<void()>* body = nullptr;
  Thread* running = nullptr;
  std::string error;
};

thread_local Block* block = nullptr;
thread_local bool descending = false;
int multiprocessor_count = 2;
int64_t last_shared = 0;  // bytes that the last launch asked for
thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_message;

void leave(State state) {
  block->running->state = state;
  block->running->fiber->leave();
}

void release_barrier() {
  if (block->live == 0 || block->at_barrier != block->live) return;
  block->at_barrier = 0;
  for (Thread& thread : block->threads) {
    if (thread.state == State::kAtBarrier) thread.state = State::kReady;
  }
}

void run_thread() {
  (*block->body)();
  --block->live;
  release_barrier();
  leave(State::kEnded);
}

std::string text(const dim3& at) {
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) +
         ")";
}

// Every thread that has not ended waits, and nobody will come.
std::string waiting_for_ever() {
  std::string found = "threads wait for ever:";
  for (const Warp& warp : block->warps) {
    int at_barrier = 0, ended = 0;
    for (const Thread* thread : warp.threads) {
      at_barrier += thread->state == State::kAtBarrier;
      ended += thread->state == State::kEnded;
    }
    found += " warp " + std::to_string(warp.threads[0]->warp) + ": " + std::to_string(at_barrier) +
             " at __syncthreads, " + std::to_string(ended) + " ended";
    if (warp.arrived != 0) found += std::string(", others at ") + warp.instruction;
    found += ";";
  }
  return found;
}

template <class T, class Do>
void in_order(std::vector<T>& items, const Do& act) {
  const int count = static_cast<int>(items.size());
  for (int i = 0; i < count; ++i) act(items[descending ? count - 1 - i : i]);
}

// As far as the warp can go; false if nowhere.
bool run_warp(Warp& warp) {
  bool moved = false, again = true;
  while (again && block->error.empty()) {
    again = false;
    in_order(warp.threads, [&](Thread* thread) {
      if (thread->state != State::kReady || !block->error.empty()) return;
      again = moved = true;
      block->running = thread;
      thread->fiber->enter();
    });
  }
  return moved;
}

void run_block() {
  while (block->live > 0 && block->error.empty()) {
    bool moved = false;
    in_order(block->warps, [&](Warp& warp) { moved |= run_warp(warp); });
    if (!moved) block->error = waiting_for_ever();
  }
}

void prepare_block(std::vector<std::unique_ptr<Fiber>>& fibers) {
  const dim3& size = block->size;
  const int count = static_cast<int>(size.x * size.y * size.z);
  while (static_cast<int>(fibers.size()) < count) fibers.push_back(std::make_unique<Fiber>());
  block->threads.assign(count, Thread{});
  block->warps.assign((count + kWarp - 1) / kWarp, Warp{});
  block->live = count;
  block->at_barrier = 0;
  for (int i = 0; i < count; ++i) {
    Thread& thread = block->threads[i];
    thread.fiber = fibers[i].get();
    thread.index = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
    thread.lane = i % kWarp;
    thread.warp = i / kWarp;
    thread.fiber->prepare(run_thread);
    block->warps[thread.warp].threads.push_back(&thread);
  }
}

cudaError_t check_shape(const dim3& grid, const dim3& size, int64_t shared) {
  const int64_t threads = int64_t{size.x} * size.y * size.z;
  const bool empty = threads == 0 || grid.x == 0 || grid.y == 0 || grid.z == 0;
  if (empty || threads > kMostThreads || size.z > 64 || grid.x > 0x7fffffffu || grid.y > 0xffffu ||
      grid.z > 0xffffu) {
    return cudaErrorInvalidConfiguration;
  }
  return 0 <= shared && shared <= kMostShared ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

const dim3& thread_index() { return block->running->index; }
const dim3& block_index() { return block->index; }
const dim3& block_size() { return block->size; }
const dim3& grid_size() { return block->grid; }
int lane() { return block->running->lane; }
void* shared_memory() { return block->shared; }

void fail(const char* message) {
  block->error = std::string(message) + ", thread " + text(block->running->index);
  leave(State::kEnded);
  abort();  // nobody enters it again
}

void block_barrier() {
  ++block->at_barrier;
  block->running->state = State::kAtBarrier;
  release_barrier();
  if (block->running->state == State::kAtBarrier) block->running->fiber->leave();
}

void warp_instruction(const char* name, uint32_t mask, void* lane, void (*apply)(Lanes lanes)) {
  Thread& thread = *block->running;
  Warp& warp = block->warps[thread.warp];
  if ((mask >> thread.lane & 1) == 0) fail("warp instruction: expected the caller in its mask");
  if (warp.arrived == 0) {
    warp.instruction = name;
    warp.mask = mask;
  } else if (warp.mask != mask || strcmp(warp.instruction, name) != 0) {
    fail("warp instruction: expected all lanes of the mask at the same one");
  }
  warp.arrived |= 1u << thread.lane;
  warp.lanes[thread.lane] = lane;
  if (warp.arrived != mask) return leave(State::kAtInstruction);
  apply(warp.lanes);
  for (Thread* other : warp.threads) {
    if (warp.lanes[other->lane] != nullptr) other->state = State::kReady;
    warp.lanes[other->lane] = nullptr;
  }
  warp.arrived = 0;
}

void begin_copy(void* to, const void* from, int bytes) {
  memset(to, 0xff, bytes);
  block->running->open.push_back({to, from, bytes});
}

void close_copies() { block->running->closed.push_back(std::exchange(block->running->open, {})); }

void finish_copies(int pending) {
  auto& groups = block->running->closed;
  while (static_cast<int>(groups.size()) > pending) {
    for (const Copy& copy : groups.front()) {
      if (copy.from == nullptr) {
        memset(copy.to, 0, copy.bytes);
      } else {
        memcpy(copy.to, copy.from, copy.bytes);
      }
    }
    groups.erase(groups.begin());
  }
}

void run_grid(dim3 grid, dim3 size, int64_t shared, const std::function<void()>& thread) {
  last_error = check_shape(grid, size, shared);
  last_shared = shared;
  if (last_error != cudaSuccess) return;
  thread_local std::vector<std::unique_ptr<Fiber>> fibers;
  // on 128 bytes and no more, and ending where its allocation ends
  void* allocated = nullptr;
  if (posix_memalign(&allocated, 2 * kSharedAlignment, kSharedAlignment + shared) != 0) {
    throw std::bad_alloc();
  }
  const std::unique_ptr<void, decltype(&free)> memory(allocated, &free);
  Block one;
  one.grid = grid;
  one.size = size;
  one.body = &thread;
  one.shared = static_cast<char*>(allocated) + kSharedAlignment;
  block = &one;
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  for (int64_t i = 0; i < blocks && one.error.empty(); ++i) {
    const int64_t at = descending ? blocks - 1 - i : i;
    one.index =
        dim3(static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
             static_cast<unsigned>(at / grid.x / grid.y));
    memset(one.shared, 0xff, shared);
    prepare_block(fibers);
    run_block();
  }
  block = nullptr;
  if (!one.error.empty()) {
    last_error = cudaErrorLaunchFailure;
    last_message = one.error + ", block " + text(one.index);
  }
}

int multiprocessors() { return multiprocessor_count; }

}  // namespace cuda_on_host

// --- the CUDA runtime
// ------------------------------------------------------------------------------

cudaError_t cudaGetLastError() { return std::exchange(cuda_on_host::last_error, cudaSuccess); }

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidValue:
      return "invalid argument";
    default:
      return cuda_on_host::last_message.c_str();
  }
}

// --- for the tests
// ---------------------------------------------------------------------------------

// Threads, warps and blocks first to last, or last to first.
extern "C" __attribute__((visibility("default"))) void cuda_on_host_set_descending(int value) {
  cuda_on_host::descending = value != 0;
}

// What operators are told that the GPU has.
extern "C" __attribute__((visibility("default"))) void cuda_on_host_set_multiprocessors(int count) {
  cuda_on_host::multiprocessor_count = count;
}

// Bytes of shared memory that a block of the last launch had.
extern "C" __attribute__((visibility("default"))) int64_t cuda_on_host_last_shared() {
  return cuda_on_host::last_shared;
}
