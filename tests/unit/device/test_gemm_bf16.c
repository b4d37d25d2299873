// GEMMs of bf16 matrices on the CPU by every kernel, against sums in double: all transposes, sizes that are and are
// not whole tiles, split depths, epilogues, symmetric results. On a processor without AMX its tile code runs on a C
// model of the instructions; without AVX-512, or on aarch64 without BFMMLA, only the widened GEMM is tested.
#include "base/random.h"
#include "device/cpu/blas.h"
#include "device/cpu/gemm_bf16.h"
#include "device/cpu/isa.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#if defined(__x86_64__)
#define AMX_MODEL
#define bf16_kernel_amx bf16_kernel_amx_model
#include "tests/fixtures/amx_model.h"
#include "device/cpu/gemm_bf16_amx.c"
#undef bf16_kernel_amx
extern const Bf16Kernel bf16_kernel_amx;
#endif

// Bounds of relative errors: of a sum (products that are exact, added in any order, some flushed to zero), and of its
// rounding to bf16.
static const double SUM_ROUNDING = 0x1p-23, BF16_ROUNDING = 0x1p-8;

typedef struct {
    int64_t m, n, k;
    bool ta, tb, bias, symmetric, in_place;
    Type c_type;
    double alpha, beta;
} Case;

static uint64_t drawn;

static double draw(void) {
    double x = (double)(float)random_normal(11, RANDOM_TEST, drawn++);
    return (double)bf16_to_float(bf16_from_float((float)x));
}

static Bf16 *random_matrix(double *values, int64_t n) {
    Bf16 *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = bf16_from_float((float)(values[i] = draw()));
    return x;
}

static double *doubles(int64_t n) {
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static double get(const void *c, Type type, int64_t i) {
    return type == TYPE_F32 ? (double)((const float *)c)[i] : (double)bf16_to_float(((const Bf16 *)c)[i]);
}

static void put(void *c, Type type, int64_t i, double x) {
    if (type == TYPE_F32) ((float *)c)[i] = (float)x;
    else ((Bf16 *)c)[i] = bf16_from_float((float)x);
}

// Runs a case with 1, 2 and 3 threads. The gaps between the rows of C must stay as they are.
static void check_case(const Bf16Kernel *kernel, const char *name, const Case *c) {
    int64_t lda = (c->ta ? c->m : c->k) + 3, ldb = (c->tb ? c->k : c->n) + 1, ldc = c->n + 2;
    int64_t rows_a = c->ta ? c->k : c->m, rows_b = c->tb ? c->n : c->k, size = ldc * c->m;
    double *a = doubles(lda * rows_a), *b = doubles(ldb * rows_b), *d = doubles(size), *bias = doubles(c->n);
    Bf16 *aa = random_matrix(a, lda * rows_a), *bb = c->symmetric ? aa : random_matrix(b, ldb * rows_b);
    if (c->symmetric) free(b), b = a, ldb = lda;
    for (int64_t i = 0; i < size; i++) d[i] = draw();
    for (int64_t i = 0; i < c->m * c->m && c->symmetric; i++)
        if (i / c->m < i % c->m) d[i % c->m * ldc + i / c->m] = d[i / c->m * ldc + i % c->m];
    for (int64_t j = 0; j < c->n; j++) bias[j] = draw();
    static char out[3][1 << 18], in[1 << 18], bias_bits[1 << 12];
    assert_true(size * 4 <= (int64_t)sizeof in && c->n * 4 <= (int64_t)sizeof bias_bits);
    for (int64_t i = 0; i < size; i++) put(in, c->c_type, i, d[i]);
    for (int64_t j = 0; j < c->n; j++) put(bias_bits, c->c_type, j, bias[j]);
    const Gemm g = {.type = TYPE_BF16,
                    .c_type = c->c_type,
                    .transpose_a = c->ta,
                    .transpose_b = c->tb,
                    .m = c->m,
                    .n = c->n,
                    .k = c->k,
                    .alpha = c->alpha,
                    .beta = c->beta,
                    .lda = lda,
                    .ldb = ldb,
                    .ldc = ldc,
                    .bias = c->bias ? bias_bits : NULL,
                    .symmetric = c->symmetric};
    for (int run = 0; run < 3; run++) {
        omp_set_num_threads(run + 1);
        for (int64_t i = 0; i < size; i++) put(out[run], c->c_type, i, c->in_place ? d[i] : (double)NAN);
        const GemmBf16 p = {&g, aa, bb, out[run], c->in_place ? out[run] : in};
        if (kernel) cpu_gemm_bf16_packed(kernel, &p);
        else cpu_gemm_bf16_widened(&p);
        if (kernel) assert_memory_equal(out[0], out[run], (size_t)size * type_size(c->c_type));
    }
    for (int64_t i = 0; i < c->m; i++)
        for (int64_t j = 0; j < ldc; j++) {
            int64_t at = i * ldc + j;
            double got = get(out[0], c->c_type, at), sum = 0, terms = 0;
            if (j >= c->n) {
                assert_true(c->in_place ? got == d[at] : isnan(got));
                continue;
            }
            for (int64_t p = 0; p < c->k; p++) {
                double term = a[c->ta ? p * lda + i : i * lda + p] * b[c->tb ? j * ldb + p : p * ldb + j];
                sum += term, terms += fabs(term);
            }
            double ref = c->alpha * sum + (c->bias ? bias[j] : 0) + (c->beta != 0 ? c->beta * d[at] : 0);
            double bound = SUM_ROUNDING * (double)(c->k + 3) * (fabs(c->alpha) * terms + fabs(ref) + fabs(d[at]));
            if (c->c_type == TYPE_BF16) bound += BF16_ROUNDING * (fabs(ref) + bound);
            if (!(fabs(got - ref) <= bound))
                fail_msg("%s, %lld x %lld x %lld%s%s: (%lld, %lld) is %.9g, not %.9g +- %.2g", name,
                         (long long)c->m, (long long)c->n, (long long)c->k, c->ta ? ", A^T" : "",
                         c->tb ? ", B^T" : "", (long long)i, (long long)j, got, ref, bound);
            if (c->symmetric) assert_true(got == get(out[0], c->c_type, j * ldc + i));
        }
    if (!c->symmetric) free(b), free(bb);
    free(a), free(aa), free(d), free(bias);
}

static void check_kernel(const Bf16Kernel *kernel, const char *name) {
    static const int64_t sizes[][3] = {{1, 1, 1},    {5, 3, 2},    {12, 32, 32}, {32, 32, 64},
                                       {33, 31, 33}, {45, 97, 70}, {96, 64, 5},  {13, 33, 0}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int v = 0; v < 16; v++) {
            const int64_t *size = sizes[s];
            check_case(kernel, name,
                       &(Case){size[0], size[1], size[2], v & 1, v & 2, v & 4 && !(v & 8), false, v & 4,
                               v & 1 ? TYPE_F32 : TYPE_BF16, v & 2 ? 1 : -0.75, v & 8 ? 0.625 : 0});
        }
    for (int v = 0; v < 4; v++) { // the depth is split
        check_case(kernel, name, &(Case){33, 40, 1601, v & 1, v & 2, false, false, false, TYPE_BF16, 1, 0});
        check_case(kernel, name, &(Case){14, 35, 2400, v & 1, v & 2, true, false, false, TYPE_F32, 0.5, 0});
    }
    static const int64_t sides[] = {1, 12, 32, 33, 95, 130};
    for (size_t s = 0; s < sizeof sides / sizeof *sides; s++)
        for (int v = 0; v < 4; v++)
            check_case(kernel, name,
                       &(Case){sides[s], sides[s], 40, v & 1, !(v & 1), false, true, v & 2,
                               v & 1 ? TYPE_F32 : TYPE_BF16, 0.5, v & 2 ? 0.625 : 0});
    omp_set_num_threads(2);
}

static void test_widened(void **state) {
    (void)state;
    check_kernel(NULL, "widened");
}

#if defined(__x86_64__)
static void test_packed(void **state) {
    (void)state;
    if (cpu_isa() < ISA_AVX512) return; // such processors take the widened GEMM
    check_kernel(&bf16_kernel_fma, "AVX-512");
    if (__builtin_cpu_supports("avx512bf16")) check_kernel(&bf16_kernel_dot, "AVX512-BF16");
    check_kernel(&bf16_kernel_amx_model, "a model of AMX");
    if (cpu_bf16_unit() == BF16_AMX) check_kernel(&bf16_kernel_amx, "AMX");
}
#elif defined(__aarch64__)
static void test_packed(void **state) {
    (void)state;
    if (cpu_bf16_unit() != BF16_MMLA) skip();
    check_kernel(&bf16_kernel_mmla, "BFMMLA");
}
#endif

// POLAR_ISA lowers the choice of the kernel, on every processor.
static void test_lowered(void **state) {
    (void)state;
    char asked[32];
    const char *setting = getenv("POLAR_ISA");
    snprintf(asked, sizeof asked, "%s", setting ? setting : "");
    setenv("POLAR_ISA", "base", 1);
    Bf16Unit lowered = cpu_bf16_unit();
    const Bf16Kernel *kernel = cpu_bf16_kernel();
    if (setting) setenv("POLAR_ISA", asked, 1);
    else unsetenv("POLAR_ISA");
    assert_int_equal(lowered, BF16_WIDEN);
    assert_null(kernel);
    assert_null(bf16_unit_instructions(lowered));
}

// Numbers that are not finite arrive in the results that they concern, and only there.
static void test_not_finite(void **state) {
    (void)state;
    enum { M = 40, N = 50, K = 70 };
    Bf16 a[M * K], b[K * N], c[M * N];
    for (int i = 0; i < M * K; i++) a[i] = bf16_from_float(1);
    for (int i = 0; i < K * N; i++) b[i] = bf16_from_float(2);
    a[3 * K + 7] = bf16_from_float(INFINITY);
    b[9 * N + 45] = bf16_from_float(NAN);
    const Gemm g = {
        .type = TYPE_BF16, .c_type = TYPE_BF16, .m = M, .n = N, .k = K, .alpha = 1, .lda = K, .ldb = N, .ldc = N};
    for (int packed = 0; packed < 2; packed++) {
        const GemmBf16 p = {&g, a, b, c, c};
        if (packed) cpu_gemm_bf16(&p);
        else cpu_gemm_bf16_widened(&p);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                float x = bf16_to_float(c[i * N + j]);
                assert_true(j == 45 ? isnan(x) : i == 3 ? isinf(x) : x == 2 * K);
            }
    }
}

int main(void) {
    Error err;
    char text[256];
    if (!cpu_blas_load(2, text, sizeof text, &err)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widened),
#if defined(__x86_64__) || defined(__aarch64__)
        cmocka_unit_test(test_packed),
#endif
        cmocka_unit_test(test_lowered),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
