// emulator_warp.h - what the threads of a block and of a warp do together. Every thread named in the mask must come
// to the same call; the last one there computes for all of them. A call that others never reach ends the program
// with a word about which.
#ifndef POLAR_CUDA_EMULATOR_WARP_H
#define POLAR_CUDA_EMULATOR_WARP_H

#include <cuda_bf16.h>

#include <functional>
#include <type_traits>

namespace emulator {

struct Place { // in the source, for messages, and to see that all threads stand at the same call
    const char *what, *file;
    int line;
};

// Waits for all threads of the block; how many of them came with a nonzero value.
int block_wait(int value, Place place);

// Waits until every thread of `mask` is here with the same `combine`, which the last one calls with what each lane
// brought (NULL for lanes not in the mask).
typedef void (*Combine)(void *const operands[32], unsigned mask);
void warp_wait(unsigned mask, void *operand, Combine combine, Place place);

unsigned warp_present(); // lanes of the running thread's warp that have not ended
unsigned lane_id();
[[noreturn]] void shuffle_refused(int source); // a lane that is not there was asked for its value

template <class T> struct Shuffled {
    T value, result;
    int source;
};

template <class T> void shuffle_combine(void *const operands[32], unsigned mask) {
    for (int lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        Shuffled<T> *to = static_cast<Shuffled<T> *>(operands[lane]);
        if (!(mask >> to->source & 1)) shuffle_refused(to->source);
        to->result = static_cast<Shuffled<T> *>(operands[to->source])->value;
    }
}

template <class T> T shuffle(unsigned mask, T value, int source, Place place) {
    Shuffled<T> own = {value, value, source};
    warp_wait(mask, &own, shuffle_combine<T>, place);
    return own.result;
}

struct Voted {
    bool predicate;
    unsigned result;
};
void vote_combine(void *const operands[32], unsigned mask);
unsigned vote(unsigned mask, bool predicate, Place place);

template <class T> struct Reduced { T value; };

template <class T, class Op> void reduce_combine(void *const operands[32], unsigned mask) {
    T total{};
    bool first = true;
    for (int lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        T value = static_cast<Reduced<T> *>(operands[lane])->value;
        total = first ? value : Op()(total, value);
        first = false;
    }
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) static_cast<Reduced<T> *>(operands[lane])->value = total;
}

template <class Op, class T> T reduce(unsigned mask, T value, Place place) {
    Reduced<T> own = {value};
    warp_wait(mask, &own, reduce_combine<T, Op>, place);
    return own.value;
}

struct Least {
    template <class T> T operator()(T a, T b) const { return b < a ? b : a; }
};
struct Greatest {
    template <class T> T operator()(T a, T b) const { return a < b ? b : a; }
};

} // namespace emulator

// The place of the call: defaults of parameters are evaluated where the call stands.
#define CUDA_EMULATOR_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_EMULATOR_PLACE) {
    emulator::block_wait(0, {"__syncthreads", file, line});
}
inline int __syncthreads_count(int predicate, CUDA_EMULATOR_PLACE) {
    return emulator::block_wait(predicate != 0, {"__syncthreads_count", file, line});
}
inline int __syncthreads_or(int predicate, CUDA_EMULATOR_PLACE) {
    return emulator::block_wait(predicate != 0, {"__syncthreads_or", file, line}) != 0;
}
inline int __syncthreads_and(int predicate, CUDA_EMULATOR_PLACE) {
    return emulator::block_wait(predicate == 0, {"__syncthreads_and", file, line}) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_EMULATOR_PLACE) {
    emulator::warp_wait(mask, nullptr, [](void *const *, unsigned) {}, {"__syncwarp", file, line});
}
inline unsigned __activemask() {
    return emulator::warp_present();
}

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATOR_PLACE) {
    int lane = (int)emulator::lane_id(), first = lane & ~(width - 1);
    return emulator::shuffle(mask, value, first + (source & (width - 1)), {"__shfl_sync", file, line});
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_EMULATOR_PLACE) {
    int lane = (int)emulator::lane_id(), source = lane ^ bits;
    if (source >= (lane & ~(width - 1)) + width) source = lane;
    return emulator::shuffle(mask, value, source, {"__shfl_xor_sync", file, line});
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, CUDA_EMULATOR_PLACE) {
    int lane = (int)emulator::lane_id(), source = lane - (int)by;
    if (source < (lane & ~(width - 1))) source = lane;
    return emulator::shuffle(mask, value, source, {"__shfl_up_sync", file, line});
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, CUDA_EMULATOR_PLACE) {
    int lane = (int)emulator::lane_id(), source = lane + (int)by;
    if (source >= (lane & ~(width - 1)) + width) source = lane;
    return emulator::shuffle(mask, value, source, {"__shfl_down_sync", file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
    return emulator::vote(mask, predicate != 0, {"__ballot_sync", file, line});
}
inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
    return emulator::vote(mask, predicate != 0, {"__any_sync", file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
    return emulator::vote(mask, predicate != 0, {"__all_sync", file, line}) == mask;
}

#define CUDA_EMULATOR_REDUCE(name, op)                                                                             \
    template <class T> T name(unsigned mask, T value, CUDA_EMULATOR_PLACE) {                                       \
        static_assert(std::is_integral<T>::value && sizeof(T) == 4, "int or unsigned");                            \
        return emulator::reduce<op>(mask, value, {#name, file, line});                                             \
    }
CUDA_EMULATOR_REDUCE(__reduce_add_sync, std::plus<T>)
CUDA_EMULATOR_REDUCE(__reduce_min_sync, emulator::Least)
CUDA_EMULATOR_REDUCE(__reduce_max_sync, emulator::Greatest)
CUDA_EMULATOR_REDUCE(__reduce_and_sync, std::bit_and<T>)
CUDA_EMULATOR_REDUCE(__reduce_or_sync, std::bit_or<T>)
CUDA_EMULATOR_REDUCE(__reduce_xor_sync, std::bit_xor<T>)
#undef CUDA_EMULATOR_REDUCE

#endif
