#include "model/ops.h"

#include "device/cpu/cpu.h"
#ifdef POLAR_CUDA
#include "model/cuda/ops.h"
#endif

CPU_DECLARE_TABLES(LayerOps, layer_ops, f32);
CPU_DECLARE_TABLES(LayerOps, layer_ops, f64);
CPU_DECLARE_TABLES(LayerOps, layer_ops, bf16);

const LayerOps *layer_ops(const Device *device, Type type) {
#ifdef POLAR_CUDA
    if (device->kind == DEVICE_CUDA)
        return type == TYPE_F32 ? &layer_ops_cuda_f32 : type == TYPE_BF16 ? &layer_ops_cuda_bf16 : NULL;
#endif
    static const LayerOps *const tables[TYPE_COUNT][ISA_COUNT] = {[TYPE_F32] = CPU_TABLES(layer_ops, f32),
                                                                  [TYPE_F64] = CPU_TABLES(layer_ops, f64),
                                                                  [TYPE_BF16] = CPU_TABLES(layer_ops, bf16)};
    return device->kind == DEVICE_CPU ? tables[type][cpu_isa()] : NULL;
}
