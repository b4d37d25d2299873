#include "device/cuda/check.h"

#include "base/error.h"

#include <cuda_runtime_api.h>
#include <stdio.h>

void cuda_failed(int error, const char *call, const char *file, int line) {
    const char *name = cudaGetErrorName((cudaError_t)error), *text = cudaGetErrorString((cudaError_t)error);
    fprintf(stderr, "error: the GPU failed at %s:%d: %s (%s) in %.200s; checkpoints are intact: %s\n", file, line,
            text, name, call,
            error == cudaErrorMemoryAllocation
                ? "continue from the last one with --resume and a smaller --micro-batch"
                : "continue from the last one with --resume, and if it happens again "
                  "check the GPU's health in `nvidia-smi -q` and `dmesg`");
    error_exit();
}
