// device/cpu/processor.h - the name of the processor.
#ifndef POLAR_DEVICE_CPU_PROCESSOR_H
#define POLAR_DEVICE_CPU_PROCESSOR_H

#include <stddef.h>
#include <stdio.h>

// Writes the name of the first processor in the text of /proc/cpuinfo: its "model name" or, on aarch64, where there
// is none, the name of its implementer and part, or their numbers. "unknown processor" if `cpuinfo` is NULL or says
// nothing.
void cpu_processor_name(char *name, size_t size, FILE *cpuinfo);
#endif
