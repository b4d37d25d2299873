// tests/device_fixture.h - the CPU device with `DEVICE_THREADS` threads (to be defined before; 0: all) and a stream, for
// all tests of a program: cmocka_run_group_tests(tests, open_device, close_device). Where the program is built with CUDA
// and finds a GPU, real or imitated, also that; where one has to be there, it is an error that it is not.
#ifndef POLAR_TESTS_DEVICE_FIXTURE_H
#define POLAR_TESTS_DEVICE_FIXTURE_H

#include "device/device.h"
#include "tests/gpu_required.h"

#include <stdio.h>

static Device *device;
static Stream *stream;
static Device *gpu; // NULL: there is none
static Stream *gpu_stream;

static inline int open_device_named(const char *name, void **state) {
    (void)state;
    Error err;
    if (!device_open(&device, name, DEVICE_THREADS, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    stream = stream_create(device);
    if (device_open(&gpu, "cuda", 0, &err)) {
        gpu_stream = stream_create(gpu);
        return 0;
    }
    gpu = NULL;
    if (gpu_is_required()) fprintf(stderr, "error: the tests need a GPU: %s\n", err.text);
    return gpu_is_required() ? -1 : 0;
}

static inline int open_device(void **state) {
    return open_device_named("cpu", state);
}

static inline int close_device(void **state) {
    (void)state;
    stream_destroy(stream);
    device_close(device);
    if (gpu) {
        stream_destroy(gpu_stream);
        device_close(gpu);
    }
    return 0;
}

#endif
