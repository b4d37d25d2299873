// device/cpu/threads.h - the threads of parallel loops.
#ifndef POLAR_DEVICE_CPU_THREADS_H
#define POLAR_DEVICE_CPU_THREADS_H

// To be called first in main: makes idle threads sleep after a short spin, which libgomp only reads from the
// environment before main. So the program starts itself again, once; a user's own GOMP_SPINCOUNT or OMP_WAIT_POLICY
// is left as it is.
void cpu_threads_limit_spin(char *const *argv);

// Work below this many elements is not worth waking the threads for.
enum { CPU_PARALLEL_MIN = 16384 };
#endif
