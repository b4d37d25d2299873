// The solves of device/device.h against their contracts, on the CPU and, if available, a GPU, in both types: shapes,
// singular and not positive definite matrices, non-finite values.
#include "device/device.h"
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

enum { MAX = 40 };

static double eps_of(Type type) {
    return type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
}

// A dense matrix of a type on the host, and the same on the device.
typedef struct {
    Type type;
    int64_t rows, cols;
    void *data, *there;
} Matrix;

static size_t bytes_of(const Matrix *x) {
    return (size_t)(x->rows * x->cols) * type_size(x->type);
}

static double at(const Matrix *x, int64_t r, int64_t c) {
    int64_t i = r * x->cols + c;
    return x->type == TYPE_F64 ? ((const double *)x->data)[i] : (double)((const float *)x->data)[i];
}

static void set(Matrix *x, int64_t r, int64_t c, double value) {
    int64_t i = r * x->cols + c;
    if (x->type == TYPE_F64) ((double *)x->data)[i] = value;
    else ((float *)x->data)[i] = (float)value;
}

static Matrix matrix(Type type, int64_t rows, int64_t cols) {
    Matrix x = {.type = type, .rows = rows, .cols = cols};
    x.data = calloc(1, bytes_of(&x));
    x.there = device_alloc(device, bytes_of(&x));
    assert_true(x.data && x.there);
    return x;
}

static Matrix random_matrix(Type type, int64_t rows, int64_t cols, uint64_t seed) {
    Matrix x = matrix(type, rows, cols);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            set(&x, r, c, random_normal(seed, RANDOM_TEST, (uint64_t)(r * cols + c)));
    return x;
}

static Matrix copy(const Matrix *x) {
    Matrix y = matrix(x->type, x->rows, x->cols);
    memcpy(y.data, x->data, bytes_of(x));
    return y;
}

static void release(Matrix *x) {
    free(x->data);
    device_free(device, x->there);
}

// What a solve reads goes to the device, what it wrote comes back.
static void *sent(Matrix *x) {
    device_copy(stream, x->there, x->data, bytes_of(x));
    return x->there;
}

static void fetch(Matrix *x) {
    device_copy(stream, x->data, x->there, bytes_of(x));
    stream_synchronize(stream);
}

// ||a b - c||_F, of double sums; a is transposed where ta is set. c NULL: the identity.
static double residual(bool ta, const Matrix *a, const Matrix *b, const Matrix *c, int64_t m, int64_t n,
                       int64_t k) {
    double error = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) sum += (ta ? at(a, l, i) : at(a, i, l)) * at(b, l, j);
            double wanted = c ? at(c, i, j) : i == j;
            error += (sum - wanted) * (sum - wanted);
        }
    return sqrt(error);
}

static double norm(const Matrix *x) {
    double sum = 0;
    for (int64_t r = 0; r < x->rows; r++)
        for (int64_t c = 0; c < x->cols; c++) sum += at(x, r, c) * at(x, r, c);
    return sqrt(sum);
}

static void expect_all_nan(const Matrix *x) {
    for (int64_t r = 0; r < x->rows; r++)
        for (int64_t c = 0; c < x->cols; c++) assert_true(isnan(at(x, r, c)));
}

static const int64_t shapes[][2] = {{1, 1}, {5, 1}, {7, 7}, {40, 3}, {33, 20}};
enum { SHAPES = 5 };
#define FOR_TYPES for (Type type = TYPE_F32; type <= TYPE_F64; type++)

// Errors of sums of m terms in a backward stable algorithm: 4 sqrt(m) eps times the norms at hand, m <= 40.
static double tolerance(Type type) {
    return 4 * sqrt((double)MAX) * eps_of(type);
}

static void orthonormal_columns_span_the_matrix(void **state) {
    (void)state;
    FOR_TYPES for (int i = 0; i < SHAPES; i++) for (int deficient = 0; deficient < 2; deficient++) {
        int64_t m = shapes[i][0], n = shapes[i][1];
        Matrix a = random_matrix(type, m, n, 1), r = matrix(type, n, n);
        for (int64_t k = 0; deficient && k < m; k++) set(&a, k, 0, n > 1 ? at(&a, k, n - 1) : 0); // still a basis
        Matrix q = copy(&a);
        device_qr_q(stream, sent(&q), type, m, n);
        fetch(&q);
        assert_true(residual(true, &q, &q, NULL, n, n, m) <= tolerance(type) * sqrt((double)n));
        for (int64_t k = 0; k < n; k++)
            for (int64_t l = 0; l < n; l++) {
                double sum = 0;
                for (int64_t p = 0; p < m; p++) sum += at(&q, p, k) * at(&a, p, l);
                set(&r, k, l, sum);
                if (k > l) assert_true(fabs(sum) <= tolerance(type) * norm(&a)); // upper triangular
            }
        assert_true(residual(false, &q, &r, &a, m, n, n) <= tolerance(type) * norm(&a));
        release(&a), release(&q), release(&r);
    }
}

static void solutions_from_the_right(void **state) {
    (void)state;
    FOR_TYPES for (int i = 0; i < SHAPES; i++) {
        int64_t m = shapes[i][0], n = shapes[i][1];
        Matrix b = random_matrix(type, m, n, 2), g = random_matrix(type, n, n, 3), z = matrix(type, n, n);
        for (int64_t r = 0; r < n; r++)
            for (int64_t c = 0; c < n; c++) {
                double sum = r == c ? 1 : 0; // condition number below 1 + ||g||^2
                for (int64_t k = 0; k < n; k++) sum += at(&g, k, r) * at(&g, k, c);
                set(&z, r, c, sum);
            }
        Matrix x = copy(&b), factor = copy(&z);
        device_cholesky_solve_right(stream, sent(&x), sent(&factor), type, m, n);
        fetch(&x);
        assert_true(residual(false, &x, &z, &b, m, n, n) <= tolerance(type) * (norm(&x) * norm(&z) + norm(&b)));
        release(&b), release(&g), release(&z), release(&x), release(&factor);
    }
}

static void solving_needs_positive_definite(void **state) {
    (void)state;
    const double bad[] = {-1, 0, NAN}; // a diagonal element of z
    FOR_TYPES for (int b = 0; b < 3; b++) {
        Matrix x = random_matrix(type, 3, 4, 4), z = matrix(type, 4, 4);
        for (int i = 0; i < 4; i++) set(&z, i, i, i == 2 ? bad[b] : 1);
        device_cholesky_solve_right(stream, sent(&x), sent(&z), type, 3, 4);
        fetch(&x);
        bool any = false;
        for (int r = 0; r < 3; r++) any = any || isnan(at(&x, r, 2));
        assert_true(any);
        release(&x), release(&z);
    }
}

static void inverse_of_the_upper_triangle(void **state) {
    (void)state;
    FOR_TYPES for (int64_t n = 1; n <= 21; n += 5) {
        Matrix r = random_matrix(type, n, n, 5), x = matrix(type, n, n);
        for (int64_t i = 0; i < n; i++) set(&r, i, i, 2 + fabs(at(&r, i, i)));
        memcpy(x.data, r.data, (size_t)(n * n) * type_size(type)); // with numbers below the diagonal, to be ignored
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) set(&r, i, j, 0);
        device_trtri(stream, sent(&x), type, n);
        fetch(&x);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) assert_true(at(&x, i, j) == 0);
        assert_true(residual(false, &x, &r, NULL, n, n, n) <= tolerance(type) * norm(&x) * norm(&r));
        set(&r, n / 2, n / 2, 0);
        device_trtri(stream, sent(&r), type, n);
        fetch(&r);
        expect_all_nan(&r);
        release(&r), release(&x);
    }
}

static void decompositions(void **state) {
    (void)state;
    FOR_TYPES for (int i = 0; i < SHAPES; i++) for (int wide = 0; wide < 2; wide++) for (int singular = 0;
                                                                                         singular < 2; singular++) {
        int64_t m = shapes[i][wide], n = shapes[i][!wide], k = m < n ? m : n;
        Matrix a = random_matrix(type, m, n, 6);
        for (int64_t c = 0; singular && c < n; c++) set(&a, m - 1, c, m > 1 ? at(&a, 0, c) : 0);
        Matrix work = copy(&a), again = copy(&a), values = matrix(type, 1, k), alone = matrix(type, 1, k),
               u = matrix(type, m, k), vt = matrix(type, k, n), v = matrix(type, n, k);
        device_svd(stream, values.there, u.there, vt.there, sent(&work), type, m, n);
        device_svd(stream, alone.there, NULL, NULL, sent(&again), type, m, n);
        fetch(&values), fetch(&alone), fetch(&u), fetch(&vt);
        for (int64_t j = 0; j < k; j++) {
            assert_true(at(&values, 0, j) >= 0 && (j == 0 || at(&values, 0, j) <= at(&values, 0, j - 1)));
            assert_true(fabs(at(&values, 0, j) - at(&alone, 0, j)) <= tolerance(type) * norm(&a));
        }
        assert_true(residual(true, &u, &u, NULL, k, k, m) <= tolerance(type) * sqrt((double)k));
        for (int64_t r = 0; r < k; r++)
            for (int64_t c = 0; c < n; c++) set(&v, c, r, at(&vt, r, c));
        assert_true(residual(false, &vt, &v, NULL, k, k, n) <= tolerance(type) * sqrt((double)k));
        for (int64_t r = 0; r < m; r++)
            for (int64_t c = 0; c < k; c++) set(&u, r, c, at(&u, r, c) * at(&values, 0, c));
        assert_true(residual(false, &u, &vt, &a, m, n, k) <= tolerance(type) * norm(&a));
        release(&a), release(&work), release(&again), release(&values), release(&alone), release(&u), release(&vt);
        release(&v);
    }
}

static void not_finite_becomes_nan(void **state) {
    (void)state;
    const double bad[] = {NAN, INFINITY};
    FOR_TYPES for (int b = 0; b < 2; b++) {
        Matrix a = random_matrix(type, 6, 4, 7), values = matrix(type, 1, 4), u = matrix(type, 6, 4),
               vt = matrix(type, 4, 4);
        set(&a, 3, 2, bad[b]);
        Matrix q = copy(&a);
        device_qr_q(stream, sent(&q), type, 6, 4);
        device_svd(stream, values.there, u.there, vt.there, sent(&a), type, 6, 4);
        fetch(&q), fetch(&values), fetch(&u), fetch(&vt);
        expect_all_nan(&q), expect_all_nan(&values), expect_all_nan(&u), expect_all_nan(&vt);
        release(&a), release(&q), release(&values), release(&u), release(&vt);
    }
}

static int on_cpu(void **state) {
    return open_device_named("cpu", state);
}
static int on_gpu(void **state) {
    return open_device_named("cuda", state);
}

static bool can_solve(const char *name) {
    Error err;
    bool solves = solves_on(name, &err), skipped = strcmp(name, "cpu") == 0 || there_is_a_gpu();
    if (!solves) printf("%s solves_on_%s: %s\n", skipped ? "skipped" : "without", name, err.text);
    return solves;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orthonormal_columns_span_the_matrix),
        cmocka_unit_test(solutions_from_the_right),
        cmocka_unit_test(solving_needs_positive_definite),
        cmocka_unit_test(inverse_of_the_upper_triangle),
        cmocka_unit_test(decompositions),
        cmocka_unit_test(not_finite_becomes_nan),
    };
    int failed = 0;
    if (can_solve("cpu")) failed += cmocka_run_group_tests_name("cpu", tests, on_cpu, close_device);
    if (can_solve("cuda")) failed += cmocka_run_group_tests_name("cuda", tests, on_gpu, close_device);
    return failed;
}
