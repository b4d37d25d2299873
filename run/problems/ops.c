#include "run/problems/ops.h"

#include "run/problems/tables.h"

const ProblemOps *problem_ops(const Device *device, Type type) {
#if defined(POLAR_CUDA)
    if (device->kind == DEVICE_CUDA) return type == TYPE_F32 ? &problem_ops_cuda_f32 : NULL;
#endif
    static const ProblemOps *const cpu[TYPE_COUNT][ISA_COUNT] = {
        [TYPE_F32] = CPU_TABLES(problem_ops, f32), [TYPE_F64] = CPU_TABLES(problem_ops, f64)};
    return device->kind == DEVICE_CPU ? cpu[type][cpu_isa()] : NULL;
}
