#include "device/cpu/threads.h"

#include <stdlib.h>
#include <unistd.h>

// Long enough to bridge the gap between two parallel loops, short enough to yield the processor: with libgomp's
// default a step on a busy machine takes twenty times as long.
static const char SPIN_COUNT[] = "1000";

void cpu_threads_limit_spin(char *const *argv) {
    // Valgrind and similar tools use LD_PRELOAD and would not follow the exec.
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || getenv("LD_PRELOAD")) return;
    setenv("GOMP_SPINCOUNT", SPIN_COUNT, 1);
    execv("/proc/self/exe", argv); // returns only on failure: then continue unchanged
}
