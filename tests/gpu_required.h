// tests/gpu_required.h - whether tests on a GPU run: where there is one, real or imitated, and where one has to be there.
#ifndef POLAR_TESTS_GPU_REQUIRED_H
#define POLAR_TESTS_GPU_REQUIRED_H

#include "device/device.h"

#include <stdlib.h>
#include <string.h>

// Whether a program without a GPU would leave out what it is there to test: where the GPU is imitated, and where TEST_GPU is
// set, as scripts/gpu_check.sh sets it.
static inline bool gpu_is_required(void) {
#ifdef CUDA_ON_CPU
    return true;
#else
    return getenv("TEST_GPU") != NULL;
#endif
}

// Whether tests that are about a GPU alone run: they are a group of their own, which is not there without one. Where one is
// required they run in any case, and fail when they open it.
static inline bool there_is_a_gpu(void) {
    Error err;
    Device *opened;
    if (!device_open(&opened, "cuda", 0, &err)) return gpu_is_required();
    device_close(opened);
    return true;
}

// Whether solves (LAPACK, cuSOLVER) can be tested on a device; err says why not. Again true of a GPU that is required but not
// there.
static inline bool solves_on(const char *name, Error *err) {
    Device *opened;
    if (!device_open(&opened, name, 1, err)) return strcmp(name, "cpu") != 0 && gpu_is_required();
    bool solves = device_can_solve(opened, err);
    device_close(opened);
    return solves;
}

#endif
