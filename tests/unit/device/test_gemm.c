// GEMM: device_gemm (OpenBLAS if installed) and the built-in kernel on every instruction set,
// against sums in long double.
#include "device/cpu/blas_check.h"
#include "device/cpu/gemm.h"
#include "tests/fixtures/ops_check.h"

#include <unistd.h>

typedef struct {
    int64_t m, n, k, batch;
    bool ta, tb, bias;
    double alpha, beta;
    bool own; // call the own kernel instead of the device
} Case;

static void check_case(const Instance *in, const Case *c) {
    // Rows longer than they need be, and space between the products of a batch.
    int64_t lda = (c->ta ? c->m : c->k) + 3, ldb = (c->tb ? c->k : c->n) + 1, ldc = c->n + 2;
    int64_t sa = lda * (c->ta ? c->k : c->m) + 5, sb = ldb * (c->tb ? c->n : c->k), sc = ldc * c->m + 4;
    double *a = draw(sa * c->batch, 0.1, 1), *b = draw(sb * c->batch, 0, 1), *bias = draw(c->n, 0, 1);
    double *before = draw(sc * c->batch, 0, 1), *ref = case_doubles(sc * c->batch);
    for (int64_t i = 0; i < sc * c->batch; i++) ref[i] = before[i];
    for (int64_t z = 0; z < c->batch; z++)
        for (int64_t i = 0; i < c->m; i++)
            for (int64_t j = 0; j < c->n; j++) {
                long double sum = 0;
                for (int64_t p = 0; p < c->k; p++)
                    sum += (long double)a[z * sa + (c->ta ? p * lda + i : i * lda + p)] *
                           b[z * sb + (c->tb ? j * ldb + p : p * ldb + j)];
                double *x = &before[z * sc + i * ldc + j];
                ref[z * sc + i * ldc + j] =
                    (double)(c->alpha * sum + c->beta * (long double)*x + (c->bias ? bias[j] : 0));
                if (c->beta == 0) *x = (double)NAN; // must not be read
            }
    // OpenBLAS may sum in another order with another number of threads: that is its business.
    for (int run = 0; run < (c->own ? RUNS : 1); run++) {
        run_begin(run);
        if (!c->own) omp_set_num_threads(device->n_threads);
        Type type = in->type;
        void *aa = typed(type, a, sa * c->batch), *bb = typed(type, b, sb * c->batch);
        void *cc = typed(type, before, sc * c->batch);
        if (!c->own)
            device_gemm(in->stream, &(Gemm){.type = type,
                                            .c_type = type,
                                            .transpose_a = c->ta,
                                            .transpose_b = c->tb,
                                            .m = c->m,
                                            .n = c->n,
                                            .k = c->k,
                                            .alpha = c->alpha,
                                            .beta = c->beta,
                                            .a = aa,
                                            .lda = lda,
                                            .stride_a = sa,
                                            .b = bb,
                                            .ldb = ldb,
                                            .stride_b = sb,
                                            .c = cc,
                                            .ldc = ldc,
                                            .stride_c = sc,
                                            .batch = c->batch == 1 ? 0 : c->batch,
                                            .bias = c->bias ? typed(type, bias, c->n) : NULL});
        else if (type == TYPE_F32)
            cpu_gemm_builtin_f32(c->ta, c->tb, c->m, c->n, c->k, (float)c->alpha, aa, lda, bb, ldb, (float)c->beta,
                                 cc, ldc, c->bias ? typed(type, bias, c->n) : NULL);
        else
            cpu_gemm_builtin_f64(c->ta, c->tb, c->m, c->n, c->k, c->alpha, aa, lda, bb, ldb, c->beta, cc, ldc,
                                 c->bias ? typed(type, bias, c->n) : NULL);
        expect(in, c->own ? "own product" : "device_gemm", cc, ref, sc * c->batch, 2 + sqrt((double)c->k), 1);
        run_end();
    }
    case_end();
}

// alpha and beta exact as floats, so that the reference is the same for both types.
static const double ALPHAS[] = {1, -0.75}, BETAS[] = {0, 1, 0.625};

static void check_shapes(const Instance *in, int64_t m, int64_t n, int64_t k, int64_t batch, bool own) {
    for (int transposes = 0; transposes < 4; transposes++)
        for (int ia = 0; ia < 2; ia++)
            for (int ib = 0; ib < 3; ib++)
                check_case(
                    in, &(Case){m, n, k, batch, transposes & 1, transposes & 2, false, ALPHAS[ia], BETAS[ib], own});
}

#ifndef CUDA_EMULATOR // the built-in GEMM is tested in the CPU build
static void check_builtin(const Instance *in) {
    if (in->type == TYPE_BF16) return; // has kernels of its own
    check_shapes(in, 1, 1, 1, 1, true);
    check_shapes(in, 5, 7, 3, 1, true);
    check_shapes(in, 67, 35, 29, 1, true);
    // Across the kernel's blocks in every direction, and large enough for the threads.
    check_case(in, &(Case){197, 141, 300, 1, false, true, true, 1, 0, true});
    check_case(in, &(Case){45, 530, 519, 1, false, false, true, 1, 0.625, true});
    check_case(in, &(Case){530, 45, 519, 1, true, true, true, 1, 0, true});
    check_case(in, &(Case){130, 261, 517, 1, true, false, false, 0.5, 1, true});
}
#endif

static void check_device(const Instance *in) {
    check_shapes(in, 1, 1, 1, 1, false);
    check_shapes(in, 37, 29, 53, 3, false);
    check_case(in, &(Case){1, 130, 70, 1, false, true, true, 1, 0, false});
    check_case(in, &(Case){19, 31, 23, 2, false, true, true, -2, 0, false});
    check_case(in, &(Case){150, 131, 40, 1, true, false, true, 1, 0, false});
    check_case(in, &(Case){130, 261, 517, 1, false, true, true, 1, 0, false});
}

// Products that are symmetric, of exact symmetry: A A^T and A^T A of one array and of two, and S S of symmetric S.
typedef struct {
    int64_t n, k, batch;
    bool ta, tb, one_array, symmetric_a;
    double alpha, beta;
    bool add; // a matrix of its own in place of C
} SymmetricCase;

static void check_symmetric_case(const Instance *in, const SymmetricCase *c) {
    int64_t n = c->n, k = c->k, ld = (c->ta ? n : k) + 3, stride = ld * (c->ta ? k : n) + 5, ldc = n + 2,
            sc = ldc * n + 4;
    double *a = draw(stride * c->batch, 0.1, 1), *d = draw(sc * c->batch, 0, 1), *ref = case_doubles(sc * c->batch);
    double *before = draw(sc * c->batch, 0, 1);
    for (int64_t z = 0; z < c->batch; z++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) {
                d[z * sc + j * ldc + i] = d[z * sc + i * ldc + j];
                if (c->symmetric_a) a[z * stride + j * ld + i] = a[z * stride + i * ld + j];
            }
    for (int64_t i = 0; i < sc * c->batch; i++) ref[i] = c->add ? before[i] : d[i];
    for (int64_t z = 0; z < c->batch; z++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                long double sum = 0;
                const double *x = a + z * stride;
                for (int64_t p = 0; p < k; p++)
                    sum += (long double)x[c->ta ? p * ld + i : i * ld + p] * x[c->ta ? p * ld + j : j * ld + p];
                int64_t at = z * sc + i * ldc + j;
                ref[at] = (double)(c->alpha * sum + c->beta * (long double)d[at]);
                before[at] = c->beta == 0 ? (double)NAN : before[at]; // must not be read
                if (c->beta == 0) d[at] = (double)NAN;
            }
    Type type = in->type;
    run_begin(0);
    omp_set_num_threads(device->n_threads);
    void *aa = typed(type, a, stride * c->batch), *other = typed(type, a, stride * c->batch);
    void *cc = typed(type, c->add ? before : d, sc * c->batch);
    device_gemm(in->stream, &(Gemm){.type = type,
                                    .c_type = type,
                                    .transpose_a = c->ta,
                                    .transpose_b = c->tb,
                                    .m = n,
                                    .n = n,
                                    .k = k,
                                    .alpha = c->alpha,
                                    .beta = c->beta,
                                    .a = aa,
                                    .lda = ld,
                                    .stride_a = stride,
                                    .b = c->one_array ? aa : other,
                                    .ldb = ld,
                                    .stride_b = stride,
                                    .c = cc,
                                    .ldc = ldc,
                                    .stride_c = sc,
                                    .batch = c->batch,
                                    .c_in = c->add ? typed(type, d, sc * c->batch) : NULL,
                                    .symmetric = true});
    expect(in, "symmetric device_gemm", cc, ref, sc * c->batch, 2 + sqrt((double)k), 1);
    const double *out = values_of(cc, sc * c->batch);
    bool exact = in->stream->device->kind == DEVICE_CPU; // a backend need not compute one triangle only
    for (int64_t z = 0; z < c->batch && exact; z++)
        for (int64_t i = 0; i < n * n; i++)
            assert_true(out[z * sc + i / n * ldc + i % n] == out[z * sc + i % n * ldc + i / n]);
    run_end();
    case_end();
}

static void check_symmetric(const Instance *in) {
    static const int64_t sizes[][2] = {{1, 1}, {5, 3}, {64, 20}, {67, 130}, {129, 31}, {300, 17}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int variant = 0; variant < (s < 5 ? 24 : 4); variant++)
            check_symmetric_case(in, &(SymmetricCase){.n = sizes[s][0],
                                                      .k = sizes[s][1],
                                                      .batch = s < 4 ? 2 : 1,
                                                      .ta = variant & 1,
                                                      .tb = !(variant & 1),
                                                      .one_array = variant & 2,
                                                      .add = variant & 4,
                                                      .alpha = ALPHAS[variant & 1],
                                                      .beta = BETAS[s < 5 ? variant / 8 : 2]});
    // Both as they are, or both transposed, and above the size of the largest tile.
    for (int variant = 0; variant < 4; variant++)
        check_symmetric_case(
            in, &(SymmetricCase){131, 131, 1, variant & 1, variant & 1, variant & 2, true, 1, 0.625, true});
    check_symmetric_case(in, &(SymmetricCase){545, 9, 1, false, true, true, false, -0.75, 0.625, true});
}

#define TEST(name, instances)                                                                                      \
    static void test_gemm_##name(void **state) {                                                                   \
        (void)state;                                                                                               \
        instances(check_##name);                                                                                   \
    }
#ifndef CUDA_EMULATOR
TEST(builtin, for_each_cpu_instance)
#endif
TEST(device, for_each_instance)
TEST(symmetric, for_each_instance)

// Once with the library and, where there is one, once more without.
#ifndef CUDA_EMULATOR
// The kernels that OpenBLAS is told to take follow from the instruction set, whoever made the processor: never the
// oldest ones where there is AVX2.
static void test_blas_core_type(void **state) {
    (void)state;
    for (int amd = 0; amd < 2; amd++) {
        assert_string_equal(cpu_blas_core_type(ISA_AVX512, true, amd), "Cooperlake");
        assert_string_equal(cpu_blas_core_type(ISA_AVX512, false, amd), "SkylakeX");
        assert_string_equal(cpu_blas_core_type(ISA_AVX2, true, amd), amd ? "Zen" : "Haswell");
        assert_null(cpu_blas_core_type(ISA_BASE, false, amd));
    }
    for (Isa isa = ISA_AVX2; isa < ISA_COUNT; isa++) {
        assert_false(cpu_blas_core_suits(isa, "Prescott"));
        assert_false(cpu_blas_core_suits(isa, "Sandybridge"));
        assert_true(cpu_blas_core_suits(isa, cpu_blas_core_type(isa, false, false)));
        assert_true(cpu_blas_core_suits(isa, cpu_blas_core_type(isa, true, true)));
    }
    assert_true(cpu_blas_core_suits(ISA_BASE, "Prescott"));
}

// Kernels that compute wrong: the last row, or only with a transposed operand.
static void sgemm_wrong_row(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                            const float *b, int ldb, float beta, float *c, int ldc) {
    (void)order;
    cpu_gemm_builtin_f32(ta == 112, tb == 112, m - 1, n, k, alpha, a, lda, b, ldb, beta, c, ldc, NULL);
}

static void sgemm_right(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc) {
    (void)order;
    cpu_gemm_builtin_f32(ta == 112, tb == 112, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, NULL);
}

static void dgemm_right(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a, int lda,
                        const double *b, int ldb, double beta, double *c, int ldc) {
    (void)order;
    cpu_gemm_builtin_f64(ta == 112, tb == 112, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, NULL);
}

static void dgemm_wrong_transpose(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a,
                                  int lda, const double *b, int ldb, double beta, double *c, int ldc) {
    dgemm_right(order, ta, tb == 112 && m > 100 ? 111 : tb, m, n, k, alpha, a, lda, b,
                tb == 112 && m > 100 ? n : ldb, beta, c, ldc);
}

static void ssyrk_writes_all(int order, int triangle, int ta, int n, int k, float alpha, const float *a, int lda,
                             float beta, float *c, int ldc) {
    (void)triangle;
    sgemm_right(order, ta, ta == 112 ? 111 : 112, n, n, k, alpha, a, lda, a, lda, beta, c, ldc);
}

static void dsyrk_writes_all(int order, int triangle, int ta, int n, int k, double alpha, const double *a, int lda,
                             double beta, double *c, int ldc) {
    (void)triangle;
    dgemm_right(order, ta, ta == 112 ? 111 : 112, n, n, k, alpha, a, lda, a, lda, beta, c, ldc);
}

static void test_wrong_blas_is_refused(void **state) {
    (void)state;
    assert_true(blas_check(&(Blas){sgemm_right, dgemm_right, NULL, NULL}));
    assert_false(blas_check(&(Blas){sgemm_wrong_row, dgemm_right, NULL, NULL}));
    assert_false(blas_check(&(Blas){sgemm_right, dgemm_wrong_transpose, NULL, NULL}));
    assert_false(blas_check(&(Blas){sgemm_right, dgemm_right, ssyrk_writes_all, dsyrk_writes_all}));
}
#endif

int main(int argc, char **argv) {
    (void)argc;
    const struct CMUnitTest tests[] = {
#ifndef CUDA_EMULATOR
        cmocka_unit_test(test_gemm_builtin),          cmocka_unit_test(test_blas_core_type),
        cmocka_unit_test(test_wrong_blas_is_refused),
#endif
        cmocka_unit_test(test_gemm_device),           cmocka_unit_test(test_gemm_symmetric),
    };
    int failed = cmocka_run_group_tests(tests, open_device, close_device);
#ifdef CUDA_EMULATOR
    (void)argv;
    return failed;
#else
    if (failed || getenv("POLAR_BLAS")) return failed;
    setenv("POLAR_BLAS", "none", 1);
    execv("/proc/self/exe", argv);
    return 1;
#endif
}
