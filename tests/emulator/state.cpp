// state.cpp - settings of the emulator, its random order, its messages.
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <numeric>
#include <utility>

namespace emulator {

namespace {
int64_t number_of(const char *variable, int64_t otherwise) {
    const char *text = getenv(variable);
    if (!text || !*text) return otherwise;
    char *end;
    long long value = strtoll(text, &end, 10);
    if (*end || value < 0) die("%s=%s: not a number", variable, text);
    return value;
}

State state_make() {
    State s;
    s.devices = (int)number_of("CUDA_EMULATOR_DEVICES", s.devices);
    s.memory_size = (size_t)number_of("CUDA_EMULATOR_MEMORY", (int64_t)s.memory_size);
    if (int64_t pinned = number_of("CUDA_EMULATOR_PINNED", 0)) s.pinned_size = (size_t)pinned;
    s.fail_alloc = number_of("CUDA_EMULATOR_FAIL_ALLOC", 0);
    s.fail_launch = number_of("CUDA_EMULATOR_FAIL_LAUNCH", 0);
    const char *order = getenv("CUDA_EMULATOR_ORDER");
    if (!order || !*order || strcmp(order, "ascending") == 0) return s;
    unsigned long long seed = 1;
    if (strcmp(order, "descending") == 0) s.order = ORDER_DESCENDING;
    else if (strcmp(order, "random") == 0 || sscanf(order, "random:%llu", &seed) == 1) s.order = ORDER_RANDOM;
    else die("CUDA_EMULATOR_ORDER=%s: choose ascending, descending, random or random:SEED", order);
    s.random = seed;
    return s;
}

void counts_write() {
    const char *path = getenv("CUDA_EMULATOR_COUNTS");
    FILE *file = path && *path ? fopen(path, "w") : nullptr;
    if (!file) return;
    const State &s = state();
    fprintf(file, "launches %lld\nrecordings %lld\nreplays %lld\n", (long long)s.launches, (long long)s.recordings,
            (long long)s.replays);
    fclose(file);
}
} // namespace

State &state() {
    static State s = state_make();
    static const int counted = atexit(counts_write);
    (void)counted;
    return s;
}

std::recursive_mutex &lock() {
    static std::recursive_mutex mutex;
    return mutex;
}

cudaError_t Entry::leave(cudaError_t result) {
    State &s = state();
    if (s.dead != cudaSuccess) result = s.dead;
    if (result != cudaSuccess && result != cudaErrorNotReady) s.last = result;
    return result;
}

uint64_t random_next(uint64_t below) { // splitmix64
    uint64_t x = state().random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % below;
}

void order_make(std::vector<int64_t> &order, int64_t n) {
    order.resize((size_t)n);
    std::iota(order.begin(), order.end(), 0);
    if (state().order == ORDER_DESCENDING)
        for (int64_t i = 0; i < n; i++) order[(size_t)i] = n - 1 - i;
    if (state().order == ORDER_RANDOM)
        for (int64_t i = n - 1; i > 0; i--) std::swap(order[(size_t)i], order[random_next((uint64_t)i + 1)]);
}

void die(const char *format, ...) {
    fflush(stdout);
    fprintf(stderr, "emulator: ");
    if (const Launch *launch = running_launch()) {
        fprintf(stderr, "kernel %s, block (%u,%u,%u)", launch->name, blockIdx.x, blockIdx.y, blockIdx.z);
        if (running_thread()) fprintf(stderr, ", thread (%u,%u,%u)", threadIdx.x, threadIdx.y, threadIdx.z);
        fprintf(stderr, ": ");
    }
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

} // namespace emulator

using namespace emulator;

extern "C" {

void emulator_set_order(CudaOnCpuOrder order, uint64_t seed) {
    Entry entry;
    state().order = order;
    state().random = seed;
}

void emulator_fail_alloc(int64_t n) {
    Entry entry;
    state().fail_alloc = n;
}

void emulator_fail_launch(int64_t n) {
    Entry entry;
    state().fail_launch = n;
}

size_t emulator_memory_used(void) {
    Entry entry;
    return state().memory_used;
}

void emulator_set_memory(size_t bytes) {
    Entry entry;
    state().memory_size = bytes;
}
}
