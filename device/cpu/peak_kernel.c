// The peak rate of multiply-adds: a loop that keeps everything in registers. Compiled once per instance.
#include "device/cpu/peak.h"
#include "device/cpu/vector.h"

// A multiply-add that overwrites `sum`: a factor on x86-64, the addend on aarch64, as their instructions do, without
// a copy. There assembly keeps the product, which is the same in every iteration, in the loop.
#if !defined(__aarch64__)
#define MULTIPLY_ADD(sum, factor, term) ((sum) = (sum) * (factor) + (term))
#elif defined(REAL_F64)
#define MULTIPLY_ADD(sum, factor, term) __asm__("fmla %0.2d, %1.2d, %2.2d" : "+w"(sum) : "w"(factor), "w"(term))
#else
#define MULTIPLY_ADD(sum, factor, term) __asm__("fmla %0.4s, %1.4s, %2.4s" : "+w"(sum) : "w"(factor), "w"(term))
#endif

// Runs `iterations` of the loop on the calling thread; returns its FLOPs. The result is stored so that the loop is
// not removed.
double OP_TABLE(multiply_adds)(int64_t iterations, volatile double *result) {
    Vec sum[MR][NV], total = {0}, factor = (Vec){0} + (real)*result, term = factor + (real)0.5;
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) sum[i][v] = term + (real)(i * NV + v);
    for (int64_t n = 0; n < iterations; n++)
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) MULTIPLY_ADD(sum[i][v], factor, term);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) total += sum[i][v];
    *result = (double)total[0];
    return 2.0 * (double)iterations * MR * NV * LANES;
}
