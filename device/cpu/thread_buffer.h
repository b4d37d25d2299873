// device/cpu/thread_buffer.h - scratch memory of a thread, for arrays that are too large for its stack.
#ifndef POLAR_DEVICE_CPU_THREAD_BUFFER_H
#define POLAR_DEVICE_CPU_THREAD_BUFFER_H

#include <stddef.h>

// Returns at least `bytes` of memory, aligned to 64 bytes, that belong to the calling thread until its next call;
// the contents are undefined. Kernels that call each other must share one buffer: only the outermost may call this.
// Freed when the thread ends. Users may limit stacks to 64 KiB (OMP_STACKSIZE, ulimit -s).
void *cpu_thread_buffer(size_t bytes);

// Another buffer, for kernels that call some that use the first.
void *cpu_outer_thread_buffer(size_t bytes);
#endif
