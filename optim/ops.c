#include "optim/ops.h"

#include "device/cpu/cpu.h"
#include "optim/cpu/tables.h" // declares the tables
#if defined(POLAR_CUDA)
#include "optim/cuda/tables.h" // declares the tables
#endif

const OptimOps *optim_ops(const Device *device, Type type) {
#if defined(POLAR_CUDA)
    static const OptimOps *const cuda[TYPE_COUNT] = {
        [TYPE_F32] = &optim_ops_cuda_f32, [TYPE_F64] = &optim_ops_cuda_f64, [TYPE_BF16] = &optim_ops_cuda_bf16};
    if (device->kind == DEVICE_CUDA) return cuda[type];
#endif
    if (device->kind != DEVICE_CPU) return NULL;
#if defined(__x86_64__)
    static const OptimOps *const tables[TYPE_COUNT][ISA_COUNT] = {
        [TYPE_F32] = {&optim_ops_f32_base, &optim_ops_f32_avx2, &optim_ops_f32_avx512},
        [TYPE_F64] = {&optim_ops_f64_base, &optim_ops_f64_avx2, &optim_ops_f64_avx512}};
#else
    static const OptimOps *const tables[TYPE_COUNT][ISA_COUNT] = {
        [TYPE_F32] = {&optim_ops_f32_base}, [TYPE_F64] = {&optim_ops_f64_base}};
#endif
    return tables[type][cpu_isa()];
}
