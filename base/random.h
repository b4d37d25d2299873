// base/random.h - counter-based random numbers: pure functions of (seed, stream, index).
//
// There is no state to save and no order to keep: every element of a tensor can be generated independently, on any
// rank. Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#ifndef POLAR_BASE_RANDOM_H
#define POLAR_BASE_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The streams in use; a new consumer of random numbers adds its own.
enum { RANDOM_INIT = 1, RANDOM_SAMPLE = 2, RANDOM_TEST = 3, RANDOM_PROBLEM = 4 };

// 128 random bits for the counter (index, stream) and the key `seed`.
void random_bits(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index);

// Uniform in [0, 1) with 53 bits.
double random_uniform(uint64_t seed, uint64_t stream, uint64_t index);

// Standard normal (Box-Muller on one counter).
double random_normal(uint64_t seed, uint64_t stream, uint64_t index);

// A separate stream for each named object, such as a parameter: a hash of its name mixed with `stream`, so that
// adding a parameter does not change the initialization of the others.
uint64_t random_stream(uint64_t stream, const char *name);

#ifdef __cplusplus
}
#endif
#endif
