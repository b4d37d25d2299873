// device/cpu/isa.h - instruction sets.
#ifndef POLAR_DEVICE_CPU_ISA_H
#define POLAR_DEVICE_CPU_ISA_H

// Instruction sets that the CPU files are compiled for: the x86-64 baseline (and all of any other machine), v3, v4.
typedef enum { ISA_BASE, ISA_AVX2, ISA_AVX512, ISA_COUNT } Isa;

// The best one this processor and operating system support. The environment variable POLAR_ISA (base, avx2, avx512)
// lowers it, never raises it: for tests and for comparing.
Isa cpu_isa(void);
const char *isa_name(Isa isa);
#endif
