// device/cpu/isa.h - instruction set detection.
#ifndef POLAR_DEVICE_CPU_ISA_H
#define POLAR_DEVICE_CPU_ISA_H

// Instruction sets that the CPU operations are compiled for: x86-64 baseline (the only one on other machines), v3, v4.
typedef enum { ISA_BASE, ISA_AVX2, ISA_AVX512, ISA_COUNT } Isa;

// The best instruction set that the processor and the operating system support. The environment variable POLAR_ISA
// (base, avx2, avx512) can lower it, but not raise it: for tests and comparisons.
Isa cpu_isa(void);
const char *isa_name(Isa isa);
#endif
