// base/host_memory.h - what memory is left to this process: of the machine, and within the limits of its control groups,
// which are how containers and batch systems cut a machine up.
#ifndef POLAR_BASE_HOST_MEMORY_H
#define POLAR_BASE_HOST_MEMORY_H

#include <stdint.h>

// Bytes that this process can still get, as far as the system tells; 0: not known.
int64_t host_memory_available(void);
#endif
