// tests/device_fixture.h - the CPU device with `DEVICE_THREADS` threads (to be defined before; 0: all) and a stream, for
// all tests of a program: cmocka_run_group_tests(tests, open_device, close_device). Where the program is built with CUDA
// and finds a GPU, real or imitated, also that.
#ifndef POLAR_TESTS_DEVICE_FIXTURE_H
#define POLAR_TESTS_DEVICE_FIXTURE_H

#include "device/device.h"

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
    if (device_open(&gpu, "cuda", 0, &err)) gpu_stream = stream_create(gpu);
    else gpu = NULL;
    return 0;
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

// Whether tests that are about a GPU alone can run: they are a group of their own, which is not there without one.
static inline bool there_is_a_gpu(void) {
    Error err;
    Device *opened;
    if (!device_open(&opened, "cuda", 0, &err)) return false;
    device_close(opened);
    return true;
}

#endif
