// device/cpu/isa.h - instruction set detection.
#ifndef POLAR_DEVICE_CPU_ISA_H
#define POLAR_DEVICE_CPU_ISA_H

// Instruction sets that the CPU operations are compiled for: x86-64 baseline, v3, v4. Other processors have ISA_BASE
// only; on aarch64 that includes NEON with fused multiply-adds.
typedef enum { ISA_BASE, ISA_AVX2, ISA_AVX512, ISA_COUNT } Isa;

// The best instruction set that the processor and the operating system support. The environment variable POLAR_ISA
// (base, avx2, avx512) can lower it, but not raise it: for tests and comparisons.
Isa cpu_isa(void);
const char *isa_name(Isa isa);

// How bf16 matrices are multiplied: blocks widened to fp32, by fp32 multiply-adds of AVX-512, by VDPBF16PS
// (AVX512-BF16), or by TDPBF16PS on tiles (AMX); on aarch64 widened, or by BFMMLA (the BF16 extension of Armv8.2).
typedef enum { BF16_WIDEN, BF16_FMA, BF16_DOT, BF16_AMX, BF16_MMLA, BF16_UNIT_COUNT } Bf16Unit;

// The fastest that the processor and the operating system support. VDPBF16PS is twice as fast as fp32 multiply-adds
// on AMD's processors, but only half as fast on Intel's (Emerald Rapids: one in two cycles), where it is not chosen.
// POLAR_ISA chooses another: base and avx2 BF16_WIDEN, avx512 BF16_FMA, avx512bf16 BF16_DOT; on aarch64 base
// BF16_WIDEN. The first call asks the kernel for the tile registers of AMX.
Bf16Unit cpu_bf16_unit(void);
const char *bf16_unit_name(Bf16Unit unit); // as in POLAR_ISA

// The instructions of a unit that multiplies bf16 matrices faster than fp32 ones, "AMX"; NULL: it does not.
const char *bf16_unit_instructions(Bf16Unit unit);
#endif
