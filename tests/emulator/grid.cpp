// grid.cpp - runs a grid: its blocks one after another, the threads of a block as fibers that run until they wait.
#include "fiber.h"
#include "internal.h"

#include <string.h>

#include <string>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {

namespace {
enum ThreadState { READY, AT_BLOCK, AT_WARP, ENDED };

struct Thread {
    ThreadState state;
    uint3 index;
    Place place; // where it waits, for the rest
    unsigned mask;
    Combine combine;
    void *operand;
};

// A shared array of the running block. `key` NULL: the dynamic one.
struct Shared {
    const void *key;
    const char *name;
    char *data;
    size_t bytes;
};

const Launch *current;
Thread threads[THREADS_MOST];
int n_threads, self = -1;
unsigned at_warp[THREADS_MOST / 32];                 // by warp, the lanes that wait for others of it
int n_arrived, first_arrived, n_votes, result_votes; // at the block's barrier

alignas(256) char shared_memory[SHARED_MOST + 64 * 1024]; // room for the guards
size_t shared_end, shared_asked;
std::vector<Shared> shared;

std::string name_of(const Thread &t) {
    return "(" + std::to_string(t.index.x) + "," + std::to_string(t.index.y) + "," + std::to_string(t.index.z) +
           ")";
}

bool same_place(const Place &a, const Place &b) {
    return a.line == b.line && strcmp(a.file, b.file) == 0;
}

// ---- shared memory ----

// Adds an array between guards, filled with the poison. Its address is a multiple of `alignment` and of no more: a kernel
// that needs more has to ask for it.
char *shared_add(const void *key, const char *name, size_t bytes, size_t alignment) {
    if (alignment < 8) alignment = 8; // AddressSanitizer cannot guard the first half of 8 bytes
    shared_asked += bytes;
    if (shared_asked > SHARED_MOST)
        die("%zu bytes of shared memory with array %s: a block has %d", shared_asked, name, SHARED_MOST);
    size_t begin = (shared_end + GUARD_BYTES + 2 * alignment - 1) / (2 * alignment) * (2 * alignment) + alignment;
    if (begin + bytes + GUARD_BYTES > sizeof shared_memory) die("array %s: too many shared arrays", name);
    guard_set(shared_memory + shared_end, shared_memory + begin);
    memset(shared_memory + begin, POISON, bytes);
    shared_end = begin + bytes;
    guard_set(shared_memory + shared_end, shared_memory + shared_end + GUARD_BYTES);
    shared.push_back(Shared{key, name, shared_memory + begin, bytes});
    return shared_memory + begin;
}

void shared_begin() {
    guard_clear(shared_memory, shared_memory + sizeof shared_memory);
    shared.clear();
    shared_end = shared_asked = 0;
    if (current->dynamic_bytes) shared_add(nullptr, "(dynamic)", current->dynamic_bytes, 16);
}

void shared_check() {
    for (const Shared &s : shared)
        if (!guard_intact(s.data - GUARD_BYTES, s.data) ||
            !guard_intact(s.data + s.bytes, s.data + s.bytes + GUARD_BYTES))
            die("wrote outside of shared array %s (%zu bytes)", s.name, s.bytes);
}

// ---- the threads of a block ----

void thread_body(int index) {
    current->run();
    threads[index].state = ENDED;
}

void thread_resume(int index) {
    self = index;
    threadIdx = threads[index].index;
    fiber_resume(index, thread_body);
    self = -1;
}

// Nobody can go on: says what the first waiting thread waits for.
[[noreturn]] void report_stuck() {
    int waiting = 0, missing = -1;
    while (threads[waiting].state == ENDED) waiting++;
    const Thread &t = threads[waiting];
    self = waiting;
    threadIdx = t.index;
    int first = t.state == AT_WARP ? waiting / 32 * 32 : 0, end = t.state == AT_WARP ? first + 32 : n_threads;
    for (int i = first; i < end && missing < 0; i++) {
        if (t.state == AT_WARP && !(t.mask >> (i - first) & 1)) continue;
        const Thread &o = threads[i];
        if (o.state != t.state || !same_place(o.place, t.place) || (t.state == AT_WARP && o.mask != t.mask))
            missing = i;
    }
    if (missing < 0)
        die("waits at %s (%s:%d) with values of another type than others bring", t.place.what, t.place.file,
            t.place.line);
    const Thread &o = threads[missing];
    std::string where = o.state == ENDED ? "which has ended"
                                         : std::string("which waits at ") + o.place.what + " (" + o.place.file +
                                               ":" + std::to_string(o.place.line) + ")";
    if (o.state == AT_WARP) where += " with another mask or another partner";
    if (t.state == AT_WARP)
        die("waits at %s (%s:%d) with mask 0x%08x for thread %s, %s", t.place.what, t.place.file, t.place.line,
            t.mask, name_of(o).c_str(), where.c_str());
    die("waits at %s (%s:%d) for thread %s, %s", t.place.what, t.place.file, t.place.line, name_of(o).c_str(),
        where.c_str());
}

void block_run() {
    static std::vector<int64_t> order;
    n_arrived = n_votes = 0;
    memset(at_warp, 0, sizeof at_warp);
    for (int i = 0; i < n_threads; i++) threads[i].state = READY;
    shared_begin();
    copies_forget();
    order_make(order, n_threads);
    for (int left = n_threads; left;) {
        bool moved = false;
        for (int64_t i : order) {
            if (threads[i].state != READY) continue;
            thread_resume((int)i);
            moved = true;
            if (threads[i].state == ENDED) left--;
        }
        if (!moved) report_stuck();
        if (left && state().order == ORDER_RANDOM) order_make(order, n_threads);
    }
    shared_check();
}

uint3 index_in(int64_t i, dim3 extent) {
    return uint3{(unsigned)(i % extent.x), (unsigned)(i / extent.x % extent.y),
                 (unsigned)(i / extent.x / extent.y)};
}
} // namespace

void grid_run(const Launch &launch) {
    std::vector<int64_t> order;
    current = &launch;
    blockDim = launch.block;
    gridDim = launch.grid;
    n_threads = (int)(blockDim.x * blockDim.y * blockDim.z);
    for (int i = 0; i < n_threads; i++) threads[i].index = index_in(i, blockDim);
    order_make(order, (int64_t)gridDim.x * gridDim.y * gridDim.z);
    for (int64_t i : order) {
        blockIdx = index_in(i, gridDim);
        block_run();
    }
    memory_check();
    guard_clear(shared_memory, shared_memory + sizeof shared_memory);
    current = nullptr;
}

const Launch *running_launch() {
    return current;
}
bool running_thread() {
    return self >= 0;
}
int thread_number() {
    return self;
}

bool shared_holds(const void *p, size_t bytes) {
    const char *begin = static_cast<const char *>(p);
    for (const Shared &s : shared)
        if (begin >= s.data && begin + bytes <= s.data + s.bytes) return true;
    return false;
}

void *shared_dynamic() {
    if (!current->dynamic_bytes) die("uses dynamic shared memory, but was launched without");
    return shared[0].data;
}

void *shared_array(const void *key, const char *name, size_t bytes, size_t alignment) {
    for (const Shared &s : shared)
        if (s.key == key) return s.data;
    return shared_add(key, name, bytes, alignment);
}

// ---- waiting for each other ----

int block_wait(int value, Place place) {
    Thread &t = threads[self];
    if (n_arrived == 0) first_arrived = self;
    const Thread &first = threads[first_arrived];
    if (n_arrived > 0 && !same_place(first.place, place))
        die("comes to %s (%s:%d) while thread %s waits at %s (%s:%d)", place.what, place.file, place.line,
            name_of(first).c_str(), first.place.what, first.place.file, first.place.line);
    t.place = place;
    t.state = AT_BLOCK;
    n_votes += value;
    if (++n_arrived == n_threads) {
        result_votes = n_votes; // stays until all have come to the next barrier
        n_arrived = n_votes = 0;
        for (int i = 0; i < n_threads; i++) threads[i].state = READY;
    }
    fiber_yield();
    return result_votes;
}

unsigned lane_id() {
    return (unsigned)self % 32;
}

unsigned warp_present() {
    unsigned mask = 0;
    for (int i = self / 32 * 32; i < n_threads && i < self / 32 * 32 + 32; i++)
        if (threads[i].state != ENDED) mask |= 1u << (i % 32);
    return mask;
}

void warp_wait(unsigned mask, void *operand, Combine combine, Place place) {
    int first = self / 32 * 32, size = n_threads - first < 32 ? n_threads - first : 32;
    unsigned there = size == 32 ? 0xffffffffu : (1u << size) - 1;
    if (!(mask >> (self - first) & 1))
        die("comes to %s (%s:%d) with a mask, 0x%08x, that does not name it", place.what, place.file, place.line,
            mask);
    if (mask & ~there)
        die("comes to %s (%s:%d) with a mask, 0x%08x, of more threads than the %d of its warp", place.what,
            place.file, place.line, mask, size);
    Thread &t = threads[self];
    t.place = place, t.mask = mask, t.combine = combine, t.operand = operand;
    t.state = AT_WARP;
    at_warp[self / 32] |= 1u << (self - first);
    void *operands[32] = {};
    bool all = (at_warp[self / 32] & mask) == mask;
    for (int lane = 0; lane < size && all; lane++) {
        if (!(mask >> lane & 1)) continue;
        const Thread &o = threads[first + lane];
        all = o.mask == mask && o.combine == combine && same_place(o.place, place);
        operands[lane] = o.operand;
    }
    if (all) {
        combine(operands, mask);
        at_warp[self / 32] &= ~mask;
        for (int lane = 0; lane < size; lane++)
            if (mask >> lane & 1) threads[first + lane].state = READY;
    }
    fiber_yield(); // the last one to come wakes them all
}

void shuffle_refused(int source) {
    die("takes the value of lane %d, which is not in the mask", source);
}

void vote_combine(void *const operands[32], unsigned mask) {
    unsigned result = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1 && static_cast<Voted *>(operands[lane])->predicate) result |= 1u << lane;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) static_cast<Voted *>(operands[lane])->result = result;
}

unsigned vote(unsigned mask, bool predicate, Place place) {
    Voted own = {predicate, 0};
    warp_wait(mask, &own, vote_combine, place);
    return own.result;
}

} // namespace emulator
