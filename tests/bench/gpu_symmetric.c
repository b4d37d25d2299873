// Part of gpu_ceilings: the symmetric GEMMs of polar factors by cuBLASLt and by the kernel of device/cuda/syrk.cu.
// cuda_syrk_is_faster is set by its times.
#ifdef POLAR_CUDA
#include "device/cuda/syrk.h"
#endif
#include "tests/bench/gpu_ceilings.h"

#include <stdio.h>

#ifdef POLAR_CUDA

static void run_whole(const Gpu *gpu, void *context) {
    device_gemm(gpu->stream, context);
}

static void run_symmetric(const Gpu *gpu, void *context) {
    cuda_syrk(gpu->stream, context);
}

// X X^T of `batch` matrices X (m, k), or with `add` A A + A for k = m; the nominal rates, of all 2 m^2 k operations.
static void measure(const Gpu *gpu, int64_t batch, int64_t m, int64_t k, bool add) {
    void *a = gpu_filled(gpu, TYPE_BF16, batch * m * k, 1);
    void *c = gpu_need(gpu, (size_t)(batch * m * m) * type_size(TYPE_BF16));
    Gemm g = {.type = TYPE_BF16, .c_type = TYPE_BF16, .transpose_b = true, .m = m, .n = m, .k = k, .alpha = 1};
    g.a = g.b = a, g.c = c, g.lda = g.ldb = k, g.ldc = m, g.batch = batch, g.c_in = add ? a : NULL, g.beta = add;
    g.stride_a = g.stride_b = m * k, g.stride_c = m * m;
    double whole = gpu_median_ms(gpu, run_whole, &g); // not said to be symmetric: cuBLASLt
    g.symmetric = true;
    double own = gpu_median_ms(gpu, run_symmetric, &g);
    double flops = 2e-9 * (double)batch * (double)m * (double)m * (double)k;
    printf("symmetric %s %lldx%lld x %lld: %.4f ms, %.1f TFLOP/s by our own kernel, %.2f of cuBLASLt's %.4f ms, "
           "%.1f TFLOP/s\n",
           add ? "A A + A" : "X X^T", (long long)m, (long long)k, (long long)batch, own, flops / own, own / whole,
           whole, flops / whole);
    fflush(stdout);
    device_free(gpu->device, a), device_free(gpu->device, c);
}

void gpu_measure_symmetric(const Gpu *gpu, int less) {
    static const int64_t sizes[] = {768, 1024, 2048, 4096};
    int64_t C = 768 / less / 8 * 8 > 8 ? 768 / less / 8 * 8 : 8;
    measure(gpu, 8, C, C, false);
    measure(gpu, 8, C, C, true);
    measure(gpu, 12, C, 4 * C, false);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int64_t batch = 1; batch <= 12; batch += 11) {
            int64_t m = sizes[i] / less / 8 * 8 > 8 ? sizes[i] / less / 8 * 8 : 8;
            measure(gpu, batch, m, m, true);
        }
}

#else

void gpu_measure_symmetric(const Gpu *gpu, int less) {
    (void)gpu, (void)less;
}

#endif
