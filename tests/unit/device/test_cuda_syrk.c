// Symmetric GEMMs by the kernel of device/cuda/syrk.cu, on a GPU, real or emulated, against sums in double: every
// element within its bound, exact symmetry, no out-of-bounds access, the same bits in every order of
// threads.
#include "device/device.h"
#ifdef POLAR_CUDA
#include "device/cuda/syrk.h"
#endif
#include "base/type.h"
#include "base/random.h"

#define DEVICE_THREADS 1
#include "tests/fixtures/device_fixture.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#ifdef CUDA_EMULATOR
#include <emulator.h>
#endif

#ifdef POLAR_CUDA

enum { RUNS = 3 };

static const double ROUNDING_F32 = 0x1p-23, ROUNDING_BF16 = 0x1p-8; // of a sum (which may be cut off); to nearest

typedef struct {
    int64_t m, k, batch;
    bool transposed, two_arrays, in_place; // in_place: D is C
    Type c_type;
    double alpha, beta;
    int64_t pad; // of C's rows: what is not a multiple of 16 bytes is stored by elements
    bool by_device_gemm;
    bool
        circulant; // A and B are two symmetric circulant matrices (k = m): their product is symmetric but for rounding
} Case;

// A host array of doubles, exact in a type, and its copy on the device.
typedef struct {
    double *x;
    void *device;
    int64_t n;
    Type type;
} Array;

static double *doubles(int64_t n) {
    double *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    return x;
}

static void upload(Array *a) {
    size_t bytes = (size_t)a->n * type_size(a->type);
    void *bits = malloc(bytes);
    assert_non_null(bits);
    float_type_write(bits, a->type, a->x, (size_t)a->n);
    float_type_read(a->x, a->type, bits, (size_t)a->n);
    if (a->device == NULL) a->device = device_alloc(device, bytes);
    assert_non_null(a->device);
    device_copy(stream, a->device, bits, bytes);
    stream_synchronize(stream);
    free(bits);
}

// All NaN: what the case does not set must not be read.
static Array array(Type type, int64_t n) {
    Array a = {doubles(n), NULL, n, type};
    for (int64_t i = 0; i < n; i++) a.x[i] = (double)NAN;
    return a;
}

static void release(Array *a) {
    device_free(device, a->device);
    free(a->x);
}

static double draw(int64_t i) {
    return random_normal(7, RANDOM_TEST, (uint64_t)i);
}

static void check_case(const Case *c) {
    int64_t m = c->m, k = c->k, rows = c->transposed ? k : m, columns = c->transposed ? m : k;
    int64_t lda = (columns + 7) / 8 * 8 + 8, sa = lda * rows + 16, ldc = m + c->pad,
            sc = ldc * m + (c->pad ? c->pad : 0);
    Array a = array(TYPE_BF16, sa * c->batch), b = array(TYPE_BF16, sa * c->batch);
    Array d = array(c->c_type, sc * c->batch), out = array(c->c_type, sc * c->batch);
    for (int64_t z = 0; z < c->batch; z++) {
        for (int64_t i = 0; i < rows * columns; i++) {
            int64_t row = i / columns, col = i % columns, apart = llabs(row - col), at = z * sa + row * lda + col;
            if (2 * apart > m) apart = m - apart;
            a.x[at] = draw(c->circulant ? apart : z * rows * columns + i) + 0.1;
            b.x[at] = c->circulant ? draw(m + apart) : a.x[at];
        }
        for (int64_t i = 0; i < m * m && c->beta != 0; i++) {
            int64_t row = i / m, col = i % m, low = row > col ? row * m + col : col * m + row;
            d.x[z * sc + row * ldc + col] = draw((int64_t)1 << 40 | low);
        }
    }
    upload(&a), upload(&b), upload(&d);
    Gemm g = {.type = TYPE_BF16,
              .c_type = c->c_type,
              .transpose_a = c->transposed,
              .transpose_b = !c->transposed,
              .m = m,
              .n = m,
              .k = k,
              .alpha = c->alpha,
              .beta = c->beta,
              .a = a.device,
              .lda = lda,
              .stride_a = sa,
              .b = c->two_arrays ? b.device : a.device,
              .ldb = lda,
              .stride_b = sa,
              .ldc = ldc,
              .stride_c = sc,
              .batch = c->batch,
              .c_in = c->in_place ? NULL : d.device,
              .symmetric = true};
    assert_true(cuda_syrk_is_supported(&g));
    size_t bytes = (size_t)out.n * type_size(c->c_type);
    char *first = malloc(bytes), *now = malloc(bytes);
    assert_true(first && now);
    for (int run = 0; run < RUNS; run++) {
#ifdef CUDA_EMULATOR
        emulator_set_order(run == 0 ? ORDER_ASCENDING : run == 1 ? ORDER_DESCENDING : ORDER_RANDOM, 5);
#endif
        if (c->in_place) memcpy(out.x, d.x, (size_t)d.n * sizeof *d.x);
        else
            for (int64_t i = 0; i < out.n; i++) out.x[i] = (double)NAN;
        upload(&out);
        g.c = out.device;
        if (c->by_device_gemm) device_gemm(stream, &g);
        else cuda_syrk(stream, &g);
        device_copy(stream, run ? now : first, out.device, bytes);
        stream_synchronize(stream);
        if (run) assert_memory_equal(first, now, bytes);
    }
#ifdef CUDA_EMULATOR
    emulator_set_order(ORDER_ASCENDING, 0);
#endif
    float_type_read(out.x, c->c_type, first, (size_t)out.n);
    double rounding = c->c_type == TYPE_BF16 ? ROUNDING_BF16 : ROUNDING_F32;
    for (int64_t z = 0; z < c->batch; z++)
        for (int64_t i = 0; i < m; i++) {
            const double *row = out.x + z * sc + i * ldc;
            for (int64_t j = 0; j <= i; j++) {
                const double *x = a.x + z * sa, *y = b.x + z * sa;
                double sum = 0, size = 0, before = c->beta == 0 ? 0 : c->beta * d.x[z * sc + i * ldc + j];
                for (int64_t p = 0; p < k; p++) {
                    double term = c->transposed ? x[p * lda + i] * y[p * lda + j] : x[i * lda + p] * y[j * lda + p];
                    sum += term, size += fabs(term);
                }
                double ref = c->alpha * sum + before;
                // k products added in any order, times alpha, plus beta D; then rounded.
                double bound = (double)(k + 2) * ROUNDING_F32 * (fabs(c->alpha) * size + fabs(before));
                bound += rounding * (fabs(ref) + bound);
                if (!(fabs(row[j] - ref) <= bound))
                    fail_msg("m %lld k %lld: (%lld, %lld) of matrix %lld is %.9g, not %.9g +- %.2g", (long long)m,
                             (long long)k, (long long)i, (long long)j, (long long)z, row[j], ref, bound);
                assert_true(row[j] == out.x[z * sc + j * ldc + i]);
            }
            for (int64_t j = m; j < ldc; j++) assert_true(isnan(row[j]));
        }
    free(first), free(now);
    release(&a), release(&b), release(&d), release(&out);
}

// One tile and several, whole and cut, in both directions; one stage and several; rows of C aligned and not.
static void shapes(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 2},    {5, 3, 3},    {64, 8, 1},    {67, 130, 2},
                                       {128, 64, 2}, {129, 31, 1}, {264, 200, 1}, {300, 17, 1}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int variant = 0; variant < 8; variant++)
            check_case(&(Case){.m = sizes[s][0],
                               .k = sizes[s][1],
                               .batch = sizes[s][2],
                               .transposed = variant & 1,
                               .two_arrays = variant & 2,
                               .in_place = variant & 4,
                               .c_type = (variant >> 1 ^ variant) & 1 ? TYPE_F32 : TYPE_BF16,
                               .alpha = variant & 4 ? -0.75 : 1,
                               .beta = variant & 4   ? 0.625
                                       : variant & 2 ? 1
                                                     : 0,
                               .pad = (int64_t)s % 3 == 0   ? 0
                                      : (int64_t)s % 3 == 1 ? 16
                                                            : 3});
}

// Above the diagonal other orders of the same terms: C is symmetric only if one triangle is a copy of the other.
static void products_symmetric_but_for_rounding(void **state) {
    (void)state;
    for (int transposed = 0; transposed < 2; transposed++)
        check_case(&(Case){.m = 136,
                           .k = 136,
                           .batch = 1,
                           .transposed = transposed,
                           .two_arrays = true,
                           .circulant = true,
                           .c_type = TYPE_F32,
                           .alpha = 1,
                           .pad = transposed});
}

// More than a band of tiles, the last of which is not whole.
static void many_tiles(void **state) {
    (void)state;
    check_case(&(Case){.m = 1153, .k = 5, .batch = 1, .c_type = TYPE_F32, .alpha = 1, .pad = 3});
}

static void what_suits(void **state) {
    (void)state;
    char memory[32] = {0};
    Gemm good = {.type = TYPE_BF16,
                 .c_type = TYPE_BF16,
                 .transpose_b = true,
                 .m = 64,
                 .n = 64,
                 .k = 64,
                 .alpha = 1,
                 .lda = 64,
                 .ldb = 64,
                 .ldc = 64,
                 .stride_a = 4096,
                 .stride_b = 4096,
                 .stride_c = 4096,
                 .batch = 2,
                 .symmetric = true};
    good.a = good.b = memory + 16 - (uintptr_t)memory % 16;
    assert_true(cuda_syrk_is_supported(&good));
    Gemm g = good;
    g.symmetric = false;
    assert_false(cuda_syrk_is_supported(&g));
    g = good, g.type = TYPE_F32;
    assert_false(cuda_syrk_is_supported(&g));
    g = good, g.transpose_a = true;
    assert_false(cuda_syrk_is_supported(&g));
    g = good, g.lda = 65;
    assert_false(cuda_syrk_is_supported(&g));
    g = good, g.b = (const char *)good.b + 2;
    assert_false(cuda_syrk_is_supported(&g));
    g = good, g.stride_b = 4097;
    assert_false(cuda_syrk_is_supported(&g));
    g.batch = 1; // then the stride says nothing
    assert_true(cuda_syrk_is_supported(&g));
}

static void when_it_pays(void **state) {
    (void)state;
    assert_true(cuda_syrk_is_faster(80, 2048, 2048, 1));
    assert_true(cuda_syrk_is_faster(80, 768, 3072, 12));
    assert_false(cuda_syrk_is_faster(80, 768, 768, 5)); // 105 tiles for 108 SMs
    assert_true(cuda_syrk_is_faster(80, 768, 768, 6));
    assert_false(cuda_syrk_is_faster(80, 4096, 64, 1));
    assert_false(cuda_syrk_is_faster(90, 4096, 4096, 12));
    assert_false(cuda_syrk_is_faster(100, 4096, 4096, 12));
    assert_true(cuda_syrk_is_faster(120, 4096, 4096, 1));
}

#ifdef CUDA_EMULATOR
// device_gemm takes it where it pays: the emulator has compute capability 8.0, and its cuBLASLt computes the whole.
static void device_gemm_takes_it(void **state) {
    (void)state;
    check_case(&(Case){.m = 136, .k = 256, .batch = 36, .c_type = TYPE_BF16, .alpha = 1, .by_device_gemm = true});
}
#endif

static int open_gpu(void **state) {
    return open_device_named("cuda", state);
}

#endif

int main(void) {
#ifdef POLAR_CUDA
    const struct CMUnitTest choosing[] = {cmocka_unit_test(what_suits), cmocka_unit_test(when_it_pays)};
    const struct CMUnitTest working[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(products_symmetric_but_for_rounding),
        cmocka_unit_test(many_tiles),
#ifdef CUDA_EMULATOR
        cmocka_unit_test(device_gemm_takes_it),
#endif
    };
    int failed = cmocka_run_group_tests(choosing, NULL, NULL);
    if (there_is_a_gpu()) failed += cmocka_run_group_tests(working, open_gpu, close_device);
    return failed;
#else
    puts("skipped cuda_syrk: built without CUDA");
    return 0;
#endif
}
