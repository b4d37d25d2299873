#include "model/ops.h"

#include "device/cpu/cpu.h"
#ifdef POLAR_CUDA
#include "model/cuda/ops.h"
#endif

CPU_DECLARE_TABLES(LayerOps, layer_ops);

const LayerOps *layer_ops(const Device *device, Type type) {
#ifdef POLAR_CUDA
    if (device->kind == DEVICE_CUDA)
        return type == TYPE_F32 ? &layer_ops_cuda_f32 : type == TYPE_BF16 ? &layer_ops_cuda_bf16 : NULL;
#endif
    static const LayerOps *const tables[TYPE_COUNT][ISA_COUNT] = CPU_TABLES(layer_ops);
    return device->kind == DEVICE_CPU ? tables[type][cpu_isa()] : NULL;
}
