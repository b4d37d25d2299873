// internal.h - shared by the files of the emulator: state of the GPU, execution order, messages.
#ifndef POLAR_CUDA_EMULATOR_IMITATION_H
#define POLAR_CUDA_EMULATOR_IMITATION_H

#include "emulator.h"
#include "emulator_launch.h"
#include "emulator_warp.h"

#include <mutex>
#include <vector>

namespace emulator {

// The emulated card: an A100 with few SMs, so that grid-stride loops really loop, little memory, and the smallest
// shared memory of all cards from sm_80 on (sm_86, sm_89, sm_120), so that kernels that fit run on all of them.
enum {
    SHARED_DEFAULT = 48 * 1024,
    SHARED_MOST = 99 * 1024, // with cudaFuncSetAttribute
    THREADS_MOST = 1024,
    PROCESSORS = 4
};

struct State {
    int devices = 1;
    size_t memory_size = (size_t)2 << 30, memory_used = 0;
    size_t pinned_size = SIZE_MAX, pinned_used = 0; // host memory
    int64_t fail_alloc = 0, fail_launch = 0;        // counted down; fails at 1
    int64_t launches = 0, recordings = 0,
            replays = 0; // kernels that the host launched, streams captured, graphs launched
    CudaOnCpuOrder order = ORDER_ASCENDING;
    uint64_t random = 1;
    cudaError_t last = cudaSuccess, dead = cudaSuccess; // `dead` is sticky: the device is unusable
};

State &state(); // made from the environment at first use
std::recursive_mutex &lock();

// Held by every runtime function: takes the lock and records the result; on a dead device nothing is done.
struct Entry {
    std::lock_guard<std::recursive_mutex> held{lock()};
    cudaError_t leave(cudaError_t result);
};

// A permutation of 0 .. n-1 in the current order; a new one at each call if that is random.
void order_make(std::vector<int64_t> &order, int64_t n);
uint64_t random_next(uint64_t below);

// Prints one line on stderr with the running kernel, block and thread, then calls abort().
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void faults_catch(); // from now on: a SIGSEGV opens memory to the device, or is explained, before whatever comes of it
const Launch *running_launch(); // NULL outside of kernels
bool running_thread();
int thread_number();                            // within its block
bool shared_holds(const void *p, size_t bytes); // within one array of the running block
void copies_forget();                           // called at the start of a block (ptx.cpp)

void grid_run(const Launch &launch);

// Memory. Its guards hold a pattern (and AddressSanitizer's poison): memory_check dies where one is overwritten.
// What the host may not touch is out of its reach: memory_expose(true) lets the device at it, allocation by allocation.
enum { POISON = 0xFF }; // NaN as float, double and bf16; -1 as an integer
enum { GUARD_BYTES = 64 };
void guard_set(char *begin, char *end);
void guard_clear(char *begin, char *end);
bool guard_intact(const char *begin, const char *end);
void memory_check();
void memory_expose(bool exposed);
bool memory_open(
    const void *p); // whether an access to it that faulted can be made again: the device's first to its allocation
bool memory_is_device(const void *p, size_t bytes); // all of it within one allocation
bool memory_is_pinned(const void *p);
size_t memory_owner(const void *p); // bytes of the allocation in or beside whose guards p lies; 0: none

// Queues work on a stream, or adds it to the graph that the stream is captured into.
cudaError_t stream_submit(cudaStream_t stream, std::function<void()> work);
cudaError_t stream_finish(cudaStream_t stream); // all of its work is done; refused where it is captured
bool stream_captured(cudaStream_t stream);
void streams_finish(); // everything queued anywhere

// What CUDA does not allow while a stream is captured, as to allocate: an error, which spoils the capture, or success.
cudaError_t capture_forbids();

} // namespace emulator

#endif
