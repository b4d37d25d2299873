// device/cpu/cpu.h - definitions shared by all CPU operations: element type, instruction set, threads, GEMM.
//
// A file of CPU operations is compiled once per element type (REAL_F32, REAL_F64 or REAL_BF16) and instruction set
// (the Makefile defines ISA). Its table of functions is exported as OP_TABLE(name); the instance is selected at run
// time by cpu_isa().
#ifndef POLAR_DEVICE_CPU_CPU_H
#define POLAR_DEVICE_CPU_CPU_H

#include "base/error.h"
#include "device/backend.h"
#include "device/cpu/bf16.h"
#include "device/cpu/blas.h"
#include "device/cpu/isa.h"
#include "device/cpu/threads.h"

// `real` is the type that is computed with: accumulators, statistics, master weights and gradients. `elem` is the type
// of activations and weights in memory; from_elem and to_elem convert. They differ in the bf16 instance only.
#if defined(REAL_F64)
typedef double real, elem;
#define REAL_TYPE TYPE_F64
#define REAL_NAME f64
#elif defined(REAL_F32)
typedef float real, elem;
#define REAL_TYPE TYPE_F32
#define REAL_NAME f32
#elif defined(REAL_BF16)
typedef float real;
typedef Bf16 elem;
#define REAL_TYPE TYPE_BF16
#define REAL_NAME bf16
#endif

#if defined(REAL_BF16)
static inline real from_elem(elem x) {
    return bf16_to_float(x);
}
static inline elem to_elem(real x) {
    return bf16_from_float(x);
}
#elif defined(REAL_NAME)
static inline real from_elem(elem x) {
    return x;
}
static inline elem to_elem(real x) {
    return x;
}
#endif

// OP_TABLE(layer_ops) is layer_ops_f32_avx2 in the instance for float and AVX2.
#define OP_PASTE_(a, b, c) a##_##b##_##c
#define OP_PASTE(a, b, c) OP_PASTE_(a, b, c)
#define OP_TABLE(name) OP_PASTE(name, REAL_NAME, ISA)

// CPU_DECLARE_TABLES(LayerOps, layer_ops, f32) declares the tables of all instruction sets for float, and
// CPU_TABLES(layer_ops, f32) lists them, by Isa.
#if defined(__x86_64__)
#define CPU_DECLARE_TABLES(Table, name, type)                                                                      \
    extern const Table name##_##type##_base, name##_##type##_avx2, name##_##type##_avx512
#define CPU_TABLES(name, type)                                                                                     \
    { &name##_##type##_base, &name##_##type##_avx2, &name##_##type##_avx512 }
#else
#define CPU_DECLARE_TABLES(Table, name, type) extern const Table name##_##type##_base
#define CPU_TABLES(name, type)                                                                                     \
    { &name##_##type##_base, &name##_##type##_base, &name##_##type##_base }
#endif
#endif
