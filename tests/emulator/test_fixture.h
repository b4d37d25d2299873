// test_fixture.h - shared by the tests of the emulator: device arrays, thread orders, expected crashes.
#ifndef POLAR_CUDA_EMULATOR_TEST_FIXTURE_H
#define POLAR_CUDA_EMULATOR_TEST_FIXTURE_H

#include "device/cuda/launch.h"

#include <emulator.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
extern "C" { // cmocka.h has no extern "C" of its own
#include <cmocka.h>
}

static const uint64_t SEEDS = 4; // of random orders

static inline void must(cudaError_t error) {
    if (error != cudaSuccess) fail_msg("%s", cudaGetErrorString(error));
}

template <class T> T *device_array(size_t n) {
    void *memory;
    must(cudaMalloc(&memory, n * sizeof(T)));
    return static_cast<T *>(memory);
}

template <class T> T *device_array(const std::vector<T> &values) {
    T *memory = device_array<T>(values.size());
    must(cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    return memory;
}

template <class T> std::vector<T> host_array(const T *memory, size_t n) {
    std::vector<T> values(n);
    must(cudaMemcpy(values.data(), memory, n * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
}

// Calls run() in ascending, descending and some random orders; returns the number of bitwise different results.
template <class Run> int different_results(Run run) {
    std::vector<std::vector<float>> seen;
    for (uint64_t i = 0; i < 2 + SEEDS; i++) {
        emulator_set_order(i == 0 ? ORDER_ASCENDING : i == 1 ? ORDER_DESCENDING : ORDER_RANDOM, i);
        std::vector<float> result = run();
        bool known = false;
        for (const std::vector<float> &s : seen)
            known = known || result.empty() || memcmp(s.data(), result.data(), result.size() * sizeof(float)) == 0;
        if (!known) seen.push_back(result);
    }
    emulator_set_order(ORDER_ASCENDING, 0);
    return (int)seen.size();
}

// Asserts that run(), in a child process, crashes with `word` in its output.
template <class Run> void expect_death(const char *word, Run run) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(stdout), fflush(stderr);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]), close(ends[1]);
        signal(SIGABRT, SIG_DFL), signal(SIGSEGV, SIG_DFL), signal(SIGILL, SIG_DFL); // not cmocka's
        device_array<char>(1); // reinstalls the emulator's handlers
        run();
        _exit(0);
    }
    close(ends[1]);
    char text[1 << 16];
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], text + n, sizeof text - 1 - n)) > 0;) n += (size_t)got;
    text[n] = 0;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) fail_msg("went through, with: %s", text);
    if (!strstr(text, word)) fail_msg("no \"%s\" in: %s", word, text);
}

#endif
