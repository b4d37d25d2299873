#include "optim/ops.h"

#include "optim/cpu/ops.h"
#if defined(POLAR_CUDA)
#include "optim/cuda/ops.h"
#endif

const OptimOps *optim_ops(const Device *device, Type type) {
#if defined(POLAR_CUDA)
    static const OptimOps *const cuda[TYPE_COUNT] = {
        [TYPE_F32] = &optim_ops_cuda_f32, [TYPE_F64] = &optim_ops_cuda_f64, [TYPE_BF16] = &optim_ops_cuda_bf16};
    if (device->kind == DEVICE_CUDA) return cuda[type];
#endif
    static const OptimOps *const cpu[TYPE_COUNT][ISA_COUNT] = {[TYPE_F32] = CPU_TABLES(optim_ops, f32),
                                                               [TYPE_F64] = CPU_TABLES(optim_ops, f64),
                                                               [TYPE_BF16] = CPU_TABLES(optim_ops, bf16)};
    return device->kind == DEVICE_CPU ? cpu[type][cpu_isa()] : NULL;
}
