// emulator.h - what tests can ask the CUDA emulator: the order in which it runs things, faults, its size.
//
// The same can be set by the environment, read when the first CUDA function is called:
//   CUDA_EMULATOR_ORDER=ascending|descending|random[:SEED]   CUDA_EMULATOR_DEVICES=N (0: no GPU)
//   CUDA_EMULATOR_MEMORY=BYTES   CUDA_EMULATOR_FAIL_ALLOC=N   CUDA_EMULATOR_FAIL_LAUNCH=N
//   CUDA_EMULATOR_PINNED=BYTES: the most that the host can pin
//   CUDA_EMULATOR_COUNTS=FILE: at the end of the program, how many kernels the host launched (those that were captured, and
//   not those of replays), streams it captured and graphs it launched
#ifndef POLAR_CUDA_EMULATOR_H
#define POLAR_CUDA_EMULATOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The order of the threads of a block between two points where they wait for each other, of the blocks of a grid,
// and of the streams whose work is ready: ascending (what is waited for comes first), descending (it comes last),
// or shuffled anew at every turn, from a seed. A program that is right computes the same bits in all of them.
typedef enum { ORDER_ASCENDING, ORDER_DESCENDING, ORDER_RANDOM } CudaOnCpuOrder;
void emulator_set_order(CudaOnCpuOrder order, uint64_t seed);

// The n-th allocation of device memory from now on (1: the next) fails; 0: none does.
void emulator_fail_alloc(int64_t n);

// The n-th kernel from now on dies on the device, and every later call reports it as CUDA does; 0: none does.
void emulator_fail_launch(int64_t n);

// Bytes of device memory in use, without and with a new size of all of it.
size_t emulator_memory_used(void);
void emulator_set_memory(size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
