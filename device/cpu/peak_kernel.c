// The peak rate of multiply-adds: a loop that keeps everything in registers. Compiled once per instance.
#include "device/cpu/peak.h"
#include "device/cpu/vector.h"

// Runs `iterations` of the loop on the calling thread; returns its FLOPs. The result is stored so that the loop is
// not removed.
double OP_TABLE(multiply_adds)(int64_t iterations, volatile double *result) {
    Vec sum[MR][NV], factor = (Vec){0} + (real)*result, term = factor + (real)0.5;
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) sum[i][v] = term + (real)(i * NV + v);
    for (int64_t n = 0; n < iterations; n++)
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) sum[i][v] = sum[i][v] * factor + term;
    for (int i = 1; i < MR * NV; i++) sum[0][0] += sum[i / NV][i % NV];
    *result = (double)sum[0][0][0];
    return 2.0 * (double)iterations * MR * NV * LANES;
}
