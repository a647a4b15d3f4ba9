#pragma once

// How many threads share a call.

#include "common/tiles.h"

namespace intp::cpu {

// The least work of a thread, in bytes read and written. One takes about 15 us for them where they
// are in its cache. Waking another one takes 1 to 4 us where it spins, 10 to 60 where it sleeps,
// and beside other load it may wait for its turn, milliseconds, and the call with it.
constexpr int64_t kWorkerBytes = int64_t{1} << 20;

// Threads that share a call which reads and writes so many bytes.
INTP_HD constexpr int64_t workers(int64_t threads, int64_t bytes) {
  return least(threads, most(1, divide_up(bytes, kWorkerBytes)));
}

// Of equal parts, each of so many bytes, those that a thread takes at least: the grain of
// parallel_for.
INTP_HD constexpr int64_t worker_parts(int64_t bytes) {
  return most(1, kWorkerBytes / most(1, bytes));
}

}  // namespace intp::cpu
