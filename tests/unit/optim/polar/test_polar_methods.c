// The methods that are not a plain polynomial of the singular values, on matrices with every kind of spectrum:
// converging methods against the polar factor, Turbo-Muon against its equations, QDWH and the polynomials against the
// results of the authors' programs for the same matrices.
#include "optim/polar/accuracy.h"

#include "base/random.h"

#define DEVICE_THREADS 1
#include "tests/fixtures/device_fixture.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Stream *exact; // creates matrices and measures factors: the CPU, or the GPU if the CPU has no solver

static int open_devices(void **state) {
    int status = open_device(state);
    if (status == 0) exact = gpu && !device_can_solve(device, &(Error){""}) ? gpu_stream : stream;
    return status;
}

static const PolarMethod *method_named(const char *name) {
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int i = 0; i < count; i++)
        if (!strcmp(methods[i].name, name)) return &methods[i];
    fail_msg("no method %s", name);
    return NULL;
}

// ---- calling a method ----

typedef struct {
    Stream *on; // NULL: the CPU's
    const PolarMethod *method;
    Type type;
    int steps, batch;
    int64_t rows, cols;
    void *a, *u; // (batch, rows, cols) of type
    int steps_taken;
} Call;

static double eps_of(Type type) {
    return type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
}

static double get(const void *x, int64_t i, Type type) {
    return type == TYPE_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static void put(void *x, int64_t i, Type type, double value) {
    if (type == TYPE_F64) ((double *)x)[i] = value;
    else ((float *)x)[i] = (float)value;
}

// Scratch is filled with NaN, to detect reads of scratch that was not written.
static void call(Call *c, const double *matrix) {
    int64_t n = c->batch * c->rows * c->cols;
    size_t bytes = (size_t)n * type_size(c->type);
    Stream *on = c->on ? c->on : stream;
    PolarProblem p = {.stream = on,
                      .ops = optim_ops(on->device, c->type),
                      .method = c->method,
                      .type = c->type,
                      .steps = c->steps,
                      .norm_eps = c->method->norm_eps,
                      .rows = c->rows,
                      .cols = c->cols,
                      .batch = c->batch};
    size_t scratch_bytes = (size_t)polar_scratch_bytes(&p),
           sums_bytes = (size_t)(c->batch * c->rows) * sizeof(double);
    void *x = device_alloc(on->device, bytes), *scratch = device_alloc(on->device, scratch_bytes);
    double *row_sums = calloc(1, sums_bytes), *device_sums = device_alloc(on->device, sums_bytes);
    char *poison = malloc(scratch_bytes);
    c->a = malloc(bytes), c->u = malloc(bytes);
    memset(poison, 0xff, scratch_bytes);
    for (int64_t i = 0; i < n; i++) {
        put(c->a, i, c->type, matrix[i]);
        row_sums[i / c->cols] += pow(get(c->a, i, c->type), 2);
    }
    device_copy(on, scratch, poison, scratch_bytes);
    device_copy(on, x, c->a, bytes);
    device_copy(on, device_sums, row_sums, sums_bytes);
    const void *u = polar_factor(&p, x, device_sums, scratch, &c->steps_taken);
    device_copy(on, c->u, u, bytes);
    stream_synchronize(on);
    free(row_sums), free(poison);
    device_free(on->device, x);
    device_free(on->device, scratch);
    device_free(on->device, device_sums);
}

static void call_free(Call *c) {
    free(c->a), free(c->u);
}

static double *matrix_of(const char *spectrum, int64_t rows, int64_t cols, uint64_t seed) {
    Error err = {""};
    Spectrum s;
    double *a = calloc((size_t)(rows * cols), sizeof *a);
    if (!spectrum_parse(&s, spectrum, &err)) fail_msg("%s", err.text);
    assert_true(spectrum_matrix(a, exact, s, rows, cols, seed, &err));
    return a;
}

static PolarReport measured(const void *a, const void *u, Type type, int64_t rows, int64_t cols) {
    Error err;
    PolarReport report;
    size_t bytes = (size_t)(rows * cols) * type_size(type);
    void *there[2] = {device_alloc(exact->device, bytes), device_alloc(exact->device, bytes)};
    device_copy(exact, there[0], a, bytes);
    device_copy(exact, there[1], u, bytes);
    if (!polar_measure(&report, exact, there[0], there[1], type, rows, cols, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++) device_free(exact->device, there[i]);
    return report;
}

static const char *const spectra[] = {"gaussian", "heavy-tailed", "half-rank",     "rank-2",        "two-large",
                                      "log:1e-3", "log:1e-10",    "condition:1e6", "condition:1e15"};
static const int64_t shapes[][2] = {{24, 24}, {50, 20}, {17, 45}, {1, 9}, {9, 1}, {1, 1}, {2, 3}};
static const char *const converging[] = {"precond-ns", "qdwh", "zolo-pd", "svd"};
enum { SPECTRA = 9, SHAPES = 7, CONVERGING = 4 };

// ---- exact methods ----

// Every GEMM and solve adds an error of sqrt(l) eps for sums of l terms; the iterations contract earlier errors, so
// that only those of the last few steps remain: c = 6. The measurement adds its own error in double.
static void expect_polar_factor(const Call *c, const char *spectrum) {
    PolarReport r = measured(c->a, c->u, c->type, c->rows, c->cols);
    double bound = 6 * sqrt((double)(c->rows + c->cols)) * eps_of(c->type);
    double least = 4 * eps_of(c->type); // smallest measured singular value, relative to the largest
    // If singular values continue below the cut-off of svd, those next to it lose a part to the dropped ones.
    bool cut =
        !strcmp(c->method->name, "svd") && (!strcmp(spectrum, "log:1e-10") || !strcmp(spectrum, "condition:1e15"));
    double orthogonal = cut ? 1e-3 : bound;
    if (!(r.rank >= 1 && r.orthogonality <= orthogonal && r.backward_error <= bound && r.asymmetry <= bound &&
          r.negative <= bound && fabs(r.nuclear_ratio - 1) <= bound &&
          r.sigma_min >= 1 - sqrt((double)r.rank) * orthogonal && r.sigma_max <= 1 + sqrt((double)r.rank) * bound))
        fail_msg(
            "%s, %s, (%d, %d), %s: orthogonality %g, backward %g, asymmetry %g, negative %g, nuclear %g, values "
            "%g..%g; bound %g",
            c->method->name, spectrum, (int)c->rows, (int)c->cols, type_name(c->type), r.orthogonality,
            r.backward_error, r.asymmetry, r.negative, r.nuclear_ratio - 1, r.sigma_min, r.sigma_max, bound);
    double condition = 1 / least;
    if (!strcmp(spectrum, "half-rank") || !strcmp(spectrum, "rank-2")) condition = 1;
    if (!strcmp(spectrum, "two-large") || !strcmp(spectrum, "log:1e-3")) condition = 1e3;
    // The reference factor comes from an SVD in double, which has its own error.
    double reference = 6 * sqrt((double)(c->rows + c->cols)) * DBL_EPSILON;
    if (!(r.forward_error <= (bound + reference) * condition))
        fail_msg("%s, %s, (%d, %d), %s: forward error %g", c->method->name, spectrum, (int)c->rows, (int)c->cols,
                 type_name(c->type), r.forward_error);
}

static void converging_methods_give_the_polar_factor(void **state) {
    (void)state;
    for (int m = 0; m < CONVERGING; m++)
        for (int s = 0; s < SPECTRA; s++)
            for (int i = 0; i < SHAPES; i++)
                for (Type type = TYPE_F32; type <= TYPE_F64; type++) {
                    double *a = matrix_of(spectra[s], shapes[i][0], shapes[i][1], 5);
                    Call c = {.method = method_named(converging[m]),
                              .type = type,
                              .batch = 1,
                              .rows = shapes[i][0],
                              .cols = shapes[i][1]};
                    call(&c, a);
                    expect_polar_factor(&c, spectra[s]);
                    call_free(&c);
                    free(a);
                }
}

// The same bounds on a GPU, with fewer spectra: one for each kind of step.
static void converging_methods_on_gpu(void **state) {
    (void)state;
    static const int some[] = {0, 2, 7};
    for (int m = 0; m < CONVERGING; m++)
        for (int s = 0; s < 3; s++)
            for (int i = 0; i < SHAPES; i++)
                for (Type type = TYPE_F32; type <= TYPE_F64; type++) {
                    double *a = matrix_of(spectra[some[s]], shapes[i][0], shapes[i][1], 5);
                    Call c = {.on = gpu_stream,
                              .method = method_named(converging[m]),
                              .type = type,
                              .batch = 1,
                              .rows = shapes[i][0],
                              .cols = shapes[i][1]};
                    call(&c, a);
                    expect_polar_factor(&c, spectra[some[s]]);
                    call_free(&c);
                    free(a);
                }
}

// Number of steps for matrices that are not small: 5 in float, 6 in double for condition numbers up to 1e6.
static void qdwh_takes_the_known_steps(void **state) {
    (void)state;
    for (Type type = TYPE_F32; type <= TYPE_F64; type++) {
        double *a = matrix_of("condition:1e6", 60, 40, 3);
        Call c = {.method = method_named("qdwh"), .type = type, .batch = 1, .rows = 60, .cols = 40};
        call(&c, a);
        assert_int_equal(c.steps_taken, type == TYPE_F32 ? 5 : 6);
        call_free(&c);
        free(a);
    }
}

// ||x - y|| / ||y|| of float factors.
static double distance_of(const void *x, const void *y, int64_t n) {
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        error += pow(get(x, i, TYPE_F32) - get(y, i, TYPE_F32), 2);
        norm += pow(get(y, i, TYPE_F32), 2);
    }
    return sqrt(error / norm);
}

// A batch is bitwise identical to its matrices one by one (on a GPU up to rounding: its library chooses algorithms by
// the batch size too); and a scale whose squares leave the range of a float changes only rounding.
static void check_batches_and_scales(Stream *on) {
    int count;
    const PolarMethod *methods = polar_methods(&count);
    enum { ROWS = 13, COLS = 7, SIZE = ROWS * COLS };
    for (int m = 0; m < count; m++) {
        double pair[2 * SIZE], *first = matrix_of("gaussian", ROWS, COLS, 8),
                               *second = matrix_of("two-large", ROWS, COLS, 9);
        for (int i = 0; i < SIZE; i++) pair[i] = first[i], pair[SIZE + i] = second[i];
        Call both = {.on = on,
                     .method = &methods[m],
                     .steps = methods[m].default_steps,
                     .batch = 2,
                     .rows = ROWS,
                     .cols = COLS};
        Call one = both;
        one.batch = 1;
        call(&both, pair);
        call(&one, first);
        // A batch iterates until all matrices have converged.
        bool same_steps = strcmp(methods[m].name, "precond-ns") != 0;
        if (same_steps && on->device->kind == DEVICE_CPU) assert_memory_equal(both.u, one.u, SIZE * sizeof(float));
        if (same_steps &&
            !(distance_of(both.u, one.u, SIZE) <= 1e3 * FLT_EPSILON)) // slopes of at most 1e3, as below
            fail_msg("%s, batch: %g", methods[m].name, distance_of(both.u, one.u, SIZE));
        for (int tiny = 0; tiny < 2; tiny++) {
            if (tiny && methods[m].n_triples > 0) continue; // norm_eps is larger
            Call scaled = one;
            for (int i = 0; i < SIZE; i++) pair[i] = (float)first[i] * (tiny ? 0x1p-100 : 0x1p100);
            call(&scaled, pair);
            double error = distance_of(scaled.u, one.u, SIZE);
            // norm_eps over a norm of about ten, and rounding, both multiplied by slopes of at most 1e3
            if (!(error <= 1e3 * (1e-8 + FLT_EPSILON)))
                fail_msg("%s, %s: %g", methods[m].name, tiny ? "tiny" : "huge", error);
            call_free(&scaled);
        }
        call_free(&both), call_free(&one);
        free(first), free(second);
    }
}

static void batches_and_scales(void **state) {
    (void)state;
    check_batches_and_scales(stream);
}

static void batches_and_scales_on_gpu(void **state) {
    (void)state;
    check_batches_and_scales(gpu_stream);
}

static void zero_columns_stay_zero(void **state) {
    (void)state;
    for (int m = 0; m < CONVERGING; m++) {
        double *a = matrix_of("gaussian", 12, 5, 2);
        for (int r = 0; r < 12; r++) a[r * 5 + 2] = 0;
        Call c = {.method = method_named(converging[m]), .type = TYPE_F64, .batch = 1, .rows = 12, .cols = 5};
        call(&c, a);
        expect_polar_factor(&c, "zero column");
        for (int r = 0; r < 12; r++)
            if (!(fabs(get(c.u, r * 5 + 2, TYPE_F64)) <= 1e-14))
                fail_msg("%s: a zero column became nonzero", converging[m]);
        call_free(&c);
        free(a);
    }
}

static void not_finite_gives_nan(void **state) {
    (void)state;
    int count;
    const PolarMethod *methods = polar_methods(&count);
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int m = 0; m < count; m++)
        for (int b = 0; b < 3; b++)
            for (int i = 0; i < 4; i++)
                for (Type type = TYPE_F32; type <= TYPE_F64; type++) {
                    double *a = matrix_of("gaussian", shapes[i][0], shapes[i][1], 4);
                    a[shapes[i][0] * shapes[i][1] / 2] = bad[b];
                    Call c = {.method = &methods[m],
                              .type = type,
                              .steps = methods[m].default_steps,
                              .batch = 1,
                              .rows = shapes[i][0],
                              .cols = shapes[i][1]};
                    call(&c, a);
                    int64_t n_bad = 0;
                    for (int64_t k = 0; k < c.rows * c.cols; k++) n_bad += !isfinite(get(c.u, k, type));
                    if (n_bad == 0) fail_msg("%s: all numbers are finite", methods[m].name);
                    PolarReport r = measured(c.a, c.u, type, c.rows, c.cols);
                    assert_true(isnan(r.orthogonality) && isnan(r.backward_error));
                    call_free(&c);
                    free(a);
                }
}

// ---- Turbo-Muon and Gram Newton-Schulz ----

// out (m, n) = a b, with a given by rows.
static void multiply(long double *out, const long double *a, const long double *b, int m, int n, int k) {
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            long double sum = 0;
            for (int l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
            out[i * n + j] = sum;
        }
}

// X <- p(X) for a wide matrix.
static void polynomial_step(long double *x, PolarTriple t, int k, int n) {
    long double xt[400], gram[400], square[400], next[400];
    for (int i = 0; i < k; i++)
        for (int j = 0; j < n; j++) xt[j * k + i] = x[i * n + j];
    multiply(gram, x, xt, k, k, n);
    multiply(square, gram, gram, k, k, k);
    for (int i = 0; i < k * k; i++) gram[i] = t.b * gram[i] + t.c * square[i] + (i % (k + 1) == 0 ? t.a : 0);
    multiply(next, gram, x, k, n, k);
    memcpy(x, next, (size_t)(k * n) * sizeof *x);
}

static void turbo_muon_scales_by_its_gram_matrix(void **state) {
    (void)state;
    const PolarMethod *method = method_named("turbo-muon");
    enum { K = 8, N = 14 };
    for (int tall = 0; tall < 2; tall++) {
        double *a = matrix_of("gaussian", K, N, 6), given[K * N];
        long double x[400];
        for (int i = 0; i < K; i++) {
            long double sum = 0;
            for (int j = 0; j < K; j++) {
                long double dot = 0;
                for (int l = 0; l < N; l++) dot += (long double)a[i * N + l] * a[j * N + l];
                sum += fabsl(dot);
            }
            for (int l = 0; l < N; l++) x[i * N + l] = a[i * N + l] / sqrtl(sum);
        }
        for (int step = 0; step < 4; step++) polynomial_step(x, polar_triple(method, step), K, N);
        for (int i = 0; i < K * N; i++) given[tall ? i % N * K + i / N : i] = a[i];
        Call c = {
            .method = method, .type = TYPE_F64, .steps = 4, .batch = 1, .rows = tall ? N : K, .cols = tall ? K : N};
        call(&c, given);
        for (int i = 0; i < K * N; i++) // steepest slope of the polynomial: 145
            assert_true(fabs(get(c.u, tall ? i % N * K + i / N : i, TYPE_F64) - (double)x[i]) <
                        145 * 8 * DBL_EPSILON);
        call_free(&c);
        free(a);
    }
}

// A single row or orthogonal rows have the singular value 1 after the scaling; the sign must not flip.
static void turbo_muon_keeps_the_sign(void **state) {
    (void)state;
    const double row[6] = {3, 0, 0, 0, 5, 0};
    for (int rows = 1; rows <= 2; rows++) {
        Call c = {.method = method_named("turbo-muon"),
                  .type = TYPE_F64,
                  .steps = 4,
                  .batch = 1,
                  .rows = rows,
                  .cols = 6 / rows};
        call(&c, row);
        for (int i = 0; i < 6; i++)
            if (row[i] > 0) assert_true(get(c.u, i, TYPE_F64) > 0.3);
        call_free(&c);
    }
}

static void square_gram_ns_is_the_plain_one(void **state) {
    (void)state;
    double *a = matrix_of("gaussian", 24, 24, 1);
    Call gram = {
        .method = method_named("gram-ns"), .type = TYPE_F32, .steps = 5, .batch = 1, .rows = 24, .cols = 24};
    Call plain = gram;
    plain.method = method_named("polar-express-1.05");
    call(&gram, a), call(&plain, a);
    assert_memory_equal(gram.u, plain.u, 24 * 24 * sizeof(float));
    call_free(&gram), call_free(&plain);
    free(a);
}

// ---- the authors' programs ----

typedef struct {
    double orthogonality, forward, nuclear, low, high;
} Published;

// Results of github.com/timlautk/polargrad (2026-08) for these matrices in float, to four digits; its Newton-Schulz and
// Polar Express with float instead of bfloat16. For its own random matrices, with bfloat16, it gives .195, .105, .898,
// [.803, .996] (first row), .445, .255, .746, [.736, .761] (500 x 5), .183, .097, .905, [.836, .980] (1000 x 100):
// eight samples of 500 x 100 range from .184 to .195. Only .421, .189 and .0087 instead of .406, .174 and 2e-7
// (orthogonality of ns5 and of Polar Express with 5 and 8 steps) are due to rounding in bfloat16.
static void published_programs_agree(void **state) {
    (void)state;
    const struct {
        int64_t rows, cols;
        const char *spectrum, *method;
        int steps;
        Published known;
    } cases[] = {
        {500, 100, "gaussian", "qdwh", 2, {.1859, .09961, .90293, .8163, .9964}},
        {500, 100, "gaussian", "ns5", 5, {.4064, .2341, .79678, .6818, 1.1343}},
        {500, 100, "gaussian", "polar-express", 5, {.1741, .0875, .99584, .8713, 1.1233}},
        {500, 100, "condition:1e6", "qdwh", 2, {.2752, .1554, .81883, .7282, 1}},
        {500, 100, "condition:1e6", "ns5", 5, {.7717, .7141, .91679, .0002, 1.2002}},
        {500, 100, "condition:1e6", "polar-express", 5, {.718, .6713, 1.00064, .0005, 1.1229}},
        {500, 100, "condition:1e6", "polar-express", 8, {.6113, .5618, .99981, .0031, 1}},
        {500, 5, "gaussian", "qdwh", 2, {.4396, .2514, .74901, .74, .7607}},
        {500, 5, "gaussian", "ns5", 5, {.2375, .1139, 1.06792, .8973, 1.1343}},
        {500, 5, "gaussian", "polar-express", 5, {.2008, .09785, 1.03961, .8869, 1.118}},
        {1000, 100, "gaussian", "qdwh", 2, {.1822, .09677, .90505, .8384, .9804}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double *a = matrix_of(cases[i].spectrum, cases[i].rows, cases[i].cols, 1);
        Call c = {.method = method_named(cases[i].method),
                  .steps = cases[i].steps,
                  .batch = 1,
                  .rows = cases[i].rows,
                  .cols = cases[i].cols};
        call(&c, a);
        PolarReport r = measured(c.a, c.u, TYPE_F32, c.rows, c.cols);
        const Published *k = &cases[i].known;
        // half a unit of the last given digit, and as much for rounding
        if (!(fabs(r.orthogonality / k->orthogonality - 1) < 1e-3 &&
              fabs(r.forward_error / k->forward - 1) < 1e-3 && fabs(r.nuclear_ratio - k->nuclear) < 2e-5 &&
              fabs(r.sigma_min - k->low) < 1e-4 && fabs(r.sigma_max - k->high) < 1e-4))
            fail_msg("%s %d, %d x %d, %s: %g %g %g [%g, %g]", cases[i].method, cases[i].steps, (int)c.rows,
                     (int)c.cols, cases[i].spectrum, r.orthogonality, r.forward_error, r.nuclear_ratio, r.sigma_min,
                     r.sigma_max);
        call_free(&c);
        free(a);
    }
}

// Published accuracy of the exact methods, QDWH with 5 steps in float and ZOLO-PD in double: rounding, which depends on
// the BLAS (OpenBLAS's kernels for Zen 4, Haswell, Sandy Bridge and Nehalem reach 1.8e-7 to 3.2e-7 and 2e-15). c = 6 as
// above, without the sqrt(l) of the worst element because norms are relative to sqrt(columns), and doubled for the two
// parts of a step of ZOLO-PD; the forward error grows by the condition number, fully for the smallest singular value.
static void published_accuracy_is_reached(void **state) {
    (void)state;
    const char *const names[] = {"gaussian", "condition:1e6"};
    for (int i = 0; i < 2; i++) {
        double *a = matrix_of(names[i], 500, 100, 1);
        Call qdwh = {.method = method_named("qdwh"), .steps = 5, .batch = 1, .rows = 500, .cols = 100}, zolo = qdwh;
        zolo.method = method_named("zolo-pd"), zolo.steps = 0, zolo.type = TYPE_F64;
        PolarReport r;
        call(&qdwh, a);
        r = measured(qdwh.a, qdwh.u, TYPE_F32, 500, 100);
        assert_true(r.orthogonality < 6 * FLT_EPSILON && r.forward_error < (i ? 1e6 : 6) * FLT_EPSILON &&
                    fabs(r.nuclear_ratio - 1) < 6 * FLT_EPSILON);
        call(&zolo, a);
        r = measured(zolo.a, zolo.u, TYPE_F64, 500, 100);
        assert_int_equal(zolo.steps_taken, 2);
        assert_true(r.orthogonality < 12 * DBL_EPSILON && r.forward_error < (i ? 1e6 : 12) * DBL_EPSILON &&
                    fabs(r.nuclear_ratio - 1) < 12 * DBL_EPSILON);
        call_free(&qdwh), call_free(&zolo);
        free(a);
    }
}

static void say_skipped(const struct CMUnitTest *tests, size_t n, const char *why) {
    for (size_t i = 0; i < n; i++) printf("skipped %s: %s\n", tests[i].name, why);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converging_methods_give_the_polar_factor),
        cmocka_unit_test(qdwh_takes_the_known_steps),
        cmocka_unit_test(batches_and_scales),
        cmocka_unit_test(zero_columns_stay_zero),
        cmocka_unit_test(not_finite_gives_nan),
        cmocka_unit_test(turbo_muon_scales_by_its_gram_matrix),
        cmocka_unit_test(turbo_muon_keeps_the_sign),
        cmocka_unit_test(square_gram_ns_is_the_plain_one),
        cmocka_unit_test(published_programs_agree),
        cmocka_unit_test(published_accuracy_is_reached),
    };
    const struct CMUnitTest on_gpu[] = {cmocka_unit_test(converging_methods_on_gpu),
                                        cmocka_unit_test(batches_and_scales_on_gpu)};
    Error err;
    int failed = 0;
    if (solves_on("cpu", &err)) failed += cmocka_run_group_tests(tests, open_devices, close_device);
    else say_skipped(tests, sizeof tests / sizeof *tests, err.text);
    if (!there_is_a_gpu()) return failed;
    if (solves_on("cuda", &err)) failed += cmocka_run_group_tests(on_gpu, open_devices, close_device);
    else say_skipped(on_gpu, sizeof on_gpu / sizeof *on_gpu, err.text);
    return failed;
}
