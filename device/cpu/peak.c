#include "device/cpu/peak.h"

#include "device/cpu/gemm_bf16.h"
#include "device/cpu/isa.h"

#include <omp.h>

enum { ROUNDS = 5, ITERATIONS = 1 << 17 };

double cpu_peak_flops(Type type) {
#if defined(__x86_64__)
    static MultiplyAdds *const kernels[2][ISA_COUNT] = {
        {multiply_adds_f32_base, multiply_adds_f32_avx2, multiply_adds_f32_avx512},
        {multiply_adds_f64_base, multiply_adds_f64_avx2, multiply_adds_f64_avx512}};
    MultiplyAdds *run = kernels[type == TYPE_F64][cpu_isa()];
#else
    MultiplyAdds *run = type == TYPE_F64 ? multiply_adds_f64_base : multiply_adds_f32_base;
#endif
    const Bf16Kernel *bf16 = type == TYPE_BF16 ? cpu_bf16_kernel() : NULL;
    double best = 0;
    for (int round = 0; round <= ROUNDS; round++) { // the first one warms up: wide vectors raise the clock slowly
        double flops = 0, begin = omp_get_wtime();
#pragma omp parallel reduction(+ : flops)
        {
            volatile double result = 0.5;
            flops += bf16 && bf16->peak_loop ? bf16->peak_loop(ITERATIONS) : run(ITERATIONS, &result);
        }
        double rate = flops / (omp_get_wtime() - begin);
        if (round > 0 && rate > best) best = rate;
    }
    return best;
}
