// base/host_memory.h - memory available to this process: of the machine, and within the limits of its cgroups, which
// containers and batch systems use to divide a machine.
#ifndef POLAR_BASE_HOST_MEMORY_H
#define POLAR_BASE_HOST_MEMORY_H

#include <stdint.h>

// Bytes that this process can still allocate, as far as the system reports; 0 if unknown.
int64_t host_memory_available(void);
#endif
