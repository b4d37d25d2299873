#include "run/problems/ops.h"

#include "device/cpu/cpu.h"
#include "run/problems/cpu/tables.h" // declares the tables
#if defined(POLAR_CUDA)
#include "run/problems/cuda/tables.h" // declares the table
#endif

const ProblemOps *problem_ops(const Device *device, Type type) {
#if defined(POLAR_CUDA)
    if (device->kind == DEVICE_CUDA) return type == TYPE_F32 ? &problem_ops_cuda_f32 : NULL;
#endif
    if (device->kind != DEVICE_CPU) return NULL;
#if defined(__x86_64__)
    static const ProblemOps *const tables[TYPE_COUNT][ISA_COUNT] = {
        [TYPE_F32] = {&problem_ops_f32_base, &problem_ops_f32_avx2, &problem_ops_f32_avx512},
        [TYPE_F64] = {&problem_ops_f64_base, &problem_ops_f64_avx2, &problem_ops_f64_avx512}};
#else
    static const ProblemOps *const tables[TYPE_COUNT][ISA_COUNT] = {
        [TYPE_F32] = {&problem_ops_f32_base}, [TYPE_F64] = {&problem_ops_f64_base}};
#endif
    return tables[type][cpu_isa()];
}
