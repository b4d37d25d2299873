#include "model/ops.h"

#include "device/cpu/cpu.h"
#include "model/cpu/tables.h" // declares the tables
#ifdef POLAR_CUDA
#include "model/cuda/tables.h" // declares the tables
#endif

const LayerOps *layer_ops(const Device *device, Type type) {
#ifdef POLAR_CUDA
    if (device->kind == DEVICE_CUDA)
        return type == TYPE_F32 ? &layer_ops_cuda_f32 : type == TYPE_BF16 ? &layer_ops_cuda_bf16 : NULL;
#endif
    if (device->kind != DEVICE_CPU) return NULL;
#if defined(__x86_64__)
    static const LayerOps *const tables[TYPE_COUNT][ISA_COUNT] = {
        [TYPE_F32] = {&layer_ops_f32_base, &layer_ops_f32_avx2, &layer_ops_f32_avx512},
        [TYPE_F64] = {&layer_ops_f64_base, &layer_ops_f64_avx2, &layer_ops_f64_avx512}};
#else
    static const LayerOps *const tables[TYPE_COUNT][ISA_COUNT] = {
        [TYPE_F32] = {&layer_ops_f32_base}, [TYPE_F64] = {&layer_ops_f64_base}};
#endif
    return tables[type][cpu_isa()];
}
