// What objects need that GCC's C++ library compiled into them, and that no glibc 2.28 has.

// glibc 2.32: whether there is one thread, so that counting references needs no atomic operations.
// "No" is always right.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
