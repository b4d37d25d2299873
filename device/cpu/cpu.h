// device/cpu/cpu.h - definitions shared by all CPU operations: element type, instruction set, threads, GEMM.
//
// A file of CPU operations is compiled once per element type (REAL_F32 or REAL_F64) and instruction set (the Makefile
// defines ISA). Its table of functions is exported as OP_TABLE(name); the instance is selected at run time by
// cpu_isa().
#ifndef POLAR_DEVICE_CPU_CPU_H
#define POLAR_DEVICE_CPU_CPU_H

#include "base/error.h"
#include "device/backend.h"
#include "device/cpu/blas.h"
#include "device/cpu/isa.h"
#include "device/cpu/threads.h"

#if defined(REAL_F64)
typedef double real;
#define REAL_TYPE TYPE_F64
#define REAL_NAME f64
#elif defined(REAL_F32)
typedef float real;
#define REAL_TYPE TYPE_F32
#define REAL_NAME f32
#endif

// OP_TABLE(layer_ops) is layer_ops_f32_avx2 in the instance for float and AVX2.
#define OP_PASTE_(a, b, c) a##_##b##_##c
#define OP_PASTE(a, b, c) OP_PASTE_(a, b, c)
#define OP_TABLE(name) OP_PASTE(name, REAL_NAME, ISA)

// CPU_DECLARE_TABLES(LayerOps, layer_ops) declares the tables of all instances; CPU_TABLES(layer_ops) lists them:
//   static const LayerOps *const tables[TYPE_COUNT][ISA_COUNT] = CPU_TABLES(layer_ops);
#if defined(__x86_64__)
#define CPU_DECLARE_TABLES(Table, name)                                                                            \
    extern const Table name##_f32_base, name##_f64_base, name##_f32_avx2, name##_f64_avx2, name##_f32_avx512,      \
        name##_f64_avx512
#define CPU_TABLES(name)                                                                                           \
    {                                                                                                              \
        [TYPE_F32] = {&name##_f32_base, &name##_f32_avx2, &name##_f32_avx512}, [TYPE_F64] = {                      \
            &name##_f64_base,                                                                                      \
            &name##_f64_avx2,                                                                                      \
            &name##_f64_avx512                                                                                     \
        }                                                                                                          \
    }
#else
#define CPU_DECLARE_TABLES(Table, name) extern const Table name##_f32_base, name##_f64_base
#define CPU_TABLES(name)                                                                                           \
    {                                                                                                              \
        [TYPE_F32] = {&name##_f32_base}, [TYPE_F64] = { &name##_f64_base }                                         \
    }
#endif
#endif
