// device/cpu/threads.h - OpenMP threads.
#ifndef POLAR_DEVICE_CPU_THREADS_H
#define POLAR_DEVICE_CPU_THREADS_H

// Call first in main. Makes idle OpenMP threads sleep after a short spin: sets GOMP_SPINCOUNT and, since libgomp
// reads it before main, re-executes the program once. Does nothing if the user has set GOMP_SPINCOUNT or
// OMP_WAIT_POLICY.
void cpu_threads_limit_spin(char *const *argv);

// Loops over fewer elements than this run on one thread.
enum { CPU_PARALLEL_MIN = 16384 };
#endif
