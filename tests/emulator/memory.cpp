// memory.cpp - device memory: between guards and pages without access, poisoned when it is new, and out of the host's
// reach: the device's first touch of an allocation faults and opens it, until the device has done what it does. (To open
// all of them for every piece of work was two thirds of the tests' time.)
#include "internal.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <deque>
#include <map>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {

#ifdef __SANITIZE_ADDRESS__
void guard_set(char *begin, char *end) {
    ASAN_POISON_MEMORY_REGION(begin, (size_t)(end - begin));
}
void guard_clear(char *begin, char *end) {
    ASAN_UNPOISON_MEMORY_REGION(begin, (size_t)(end - begin));
}
bool guard_intact(const char *, const char *) {
    return true;
}
#else
void guard_set(char *begin, char *end) {
    memset(begin, POISON, (size_t)(end - begin));
}
void guard_clear(char *, char *) {}
bool guard_intact(const char *begin, const char *end) {
    for (; begin < end; begin++)
        if ((unsigned char)*begin != POISON) return false;
    return true;
}
#endif

namespace {
const size_t PAGE = 4096, ALIGNMENT = 256; // cudaMalloc promises no more

struct Allocation {
    char *map, *data; // a page without access, pages with the data, a page without access
    size_t map_size, size;
    bool open;
};

std::map<char *, Allocation> allocations, pinned;
std::vector<Allocation *> opened; // with room for all, as it is added to while a signal is handled
bool exposed;

char *pages_begin(const Allocation &a) {
    return a.map + PAGE;
}
char *pages_end(const Allocation &a) {
    return a.map + a.map_size - PAGE;
}

void allocation_expose(Allocation &a, bool open) {
    if (mprotect(pages_begin(a), (size_t)(pages_end(a) - pages_begin(a)),
                 open ? PROT_READ | PROT_WRITE : PROT_NONE)) {
        perror("emulator: mprotect");
        abort();
    }
    a.open = open;
}

// Gives the memory back, but keeps its addresses out of use for a while, so that who still has them is found.
void retire(const Allocation &a) {
    static std::deque<Allocation> retired;
    const size_t kept = 256;
    if (mmap(a.map, a.map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
        MAP_FAILED)
        die("mmap of freed memory");
    retired.push_back(a);
    if (retired.size() <= kept) return;
    munmap(retired.front().map, retired.front().map_size);
    retired.pop_front();
}

// The allocation that holds p, or NULL.
const std::pair<char *const, Allocation> *find(const std::map<char *, Allocation> &where, const void *p) {
    auto after = where.upper_bound(const_cast<char *>(static_cast<const char *>(p)));
    if (after == where.begin()) return nullptr;
    auto &found = *--after;
    return static_cast<const char *>(p) < found.first + (found.second.size ? found.second.size : 1) ? &found
                                                                                                    : nullptr;
}
} // namespace

void memory_expose(bool open) {
    if (open) faults_catch();
    exposed = open;
    for (Allocation *a : opened) allocation_expose(*a, false);
    opened.clear();
}

bool memory_open(const void *p) {
    if (!exposed) return false;
    for (auto &a : allocations) {
        if (p < pages_begin(a.second) || p >= pages_end(a.second) || a.second.open) continue;
        allocation_expose(a.second, true);
        opened.push_back(&a.second);
        return true;
    }
    return false;
}

void memory_check() {
    for (const Allocation *a : opened) { // nobody can have written to others
        char *data = a->data, *end = data + a->size;
        if (!guard_intact(data - GUARD_BYTES, data) || !guard_intact(end, pages_end(*a)))
            die("wrote outside of an allocation of %zu bytes", a->size);
    }
}

bool memory_is_device(const void *p, size_t bytes) {
    auto a = find(allocations, p);
    return a && bytes <= a->second.size - (size_t)(static_cast<const char *>(p) - a->first);
}

bool memory_is_pinned(const void *p) {
    return find(pinned, p) != nullptr;
}

size_t memory_owner(const void *p) {
    for (auto &a : allocations)
        if (p >= a.second.map && p < a.second.map + a.second.map_size) return a.second.size;
    return 0;
}

} // namespace emulator

using namespace emulator;

extern "C" {

cudaError_t cudaMalloc(void **memory, size_t size) {
    Entry entry;
    State &s = state();
    *memory = nullptr;
    if (cudaError_t refused = capture_forbids()) return entry.leave(refused);
    if (s.fail_alloc > 0 && --s.fail_alloc == 0) return entry.leave(cudaErrorMemoryAllocation);
    if (size > s.memory_size - s.memory_used) return entry.leave(cudaErrorMemoryAllocation);
    if (size == 0) return entry.leave(cudaSuccess);
    // The data end close to the page without access, with an alignment of 256 and no more.
    size_t inner = (ALIGNMENT + size + ALIGNMENT + GUARD_BYTES + PAGE - 1) / PAGE * PAGE;
    size_t offset = (inner - size - GUARD_BYTES) / ALIGNMENT * ALIGNMENT;
    if (offset / ALIGNMENT % 2 == 0) offset -= ALIGNMENT;
    Allocation a = {nullptr, nullptr, inner + 2 * PAGE, size, false};
    void *map = mmap(nullptr, a.map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return entry.leave(cudaErrorMemoryAllocation);
    a.map = static_cast<char *>(map);
    char *data = a.data = pages_begin(a) + offset;
    allocation_expose(a, true);
    memset(data, POISON, size);
    guard_set(pages_begin(a), data);
    guard_set(data + size, pages_end(a));
    allocation_expose(a, false);
    allocations[data] = a;
    opened.reserve(allocations.size());
    faults_catch();
    s.memory_used += size;
    *memory = data;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaFree(void *memory) {
    Entry entry;
    if (cudaError_t refused = capture_forbids()) return entry.leave(refused);
    streams_finish();
    if (!memory) return entry.leave(cudaSuccess);
    auto found = allocations.find(static_cast<char *>(memory));
    if (found == allocations.end()) return entry.leave(cudaErrorInvalidValue);
    Allocation a = found->second;
    guard_clear(pages_begin(a), pages_end(a));
    retire(a);
    state().memory_used -= a.size;
    allocations.erase(found);
    return entry.leave(cudaSuccess);
}

cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned) {
    Entry entry;
    if (cudaError_t refused = capture_forbids()) return entry.leave(refused);
    State &s = state();
    if (size > s.pinned_size - s.pinned_used) return entry.leave(cudaErrorMemoryAllocation);
    if (posix_memalign(memory, ALIGNMENT, size ? size : 1)) return entry.leave(cudaErrorMemoryAllocation);
    memset(*memory, POISON, size);
    s.pinned_used += size;
    pinned[static_cast<char *>(*memory)] = Allocation{nullptr, nullptr, 0, size, false};
    return entry.leave(cudaSuccess);
}

cudaError_t cudaMallocHost(void **memory, size_t size) {
    return cudaHostAlloc(memory, size, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory) {
    Entry entry;
    if (cudaError_t refused = capture_forbids()) return entry.leave(refused);
    streams_finish();
    if (!memory) return entry.leave(cudaSuccess);
    auto found = pinned.find(static_cast<char *>(memory));
    if (found == pinned.end()) return entry.leave(cudaErrorInvalidValue);
    state().pinned_used -= found->second.size;
    pinned.erase(found);
    free(memory);
    return entry.leave(cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    Entry entry;
    *total = state().memory_size;
    *available = state().memory_size - state().memory_used;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *p) {
    Entry entry;
    *attributes = cudaPointerAttributes{};
    attributes->type = memory_is_device(p, 0) ? cudaMemoryTypeDevice
                       : memory_is_pinned(p)  ? cudaMemoryTypeHost
                                              : cudaMemoryTypeUnregistered;
    if (attributes->type == cudaMemoryTypeDevice) attributes->devicePointer = const_cast<void *>(p);
    else attributes->hostPointer = const_cast<void *>(p);
    return entry.leave(cudaSuccess);
}
}
