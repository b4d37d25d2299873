// The Newton-Schulz iterations against what they do to singular values: a matrix U S V^T goes in, U p(S) V^T must
// come out, with p composed of the method's triples in double.
#include "optim/polar.h"

#include "device/random.h" // defines: random_normal

#define DEVICE_THREADS 0
#include "tests/device_fixture.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static double polynomial(const PolarMethod *method, int steps, double s) {
    for (int i = 0; i < steps; i++) {
        PolarTriple t = polar_triple(method, i);
        s = t.a * s + t.b * s * s * s + t.c * s * s * s * s * s;
    }
    return s;
}

static double derivative(const PolarMethod *method, int steps, double s) {
    double slope = 1;
    for (int i = 0; i < steps; i++) {
        PolarTriple t = polar_triple(method, i);
        slope *= t.a + 3 * t.b * s * s + 5 * t.c * s * s * s * s;
        s = t.a * s + t.b * s * s * s + t.c * s * s * s * s * s;
    }
    return slope;
}

// At 0 for most methods; at 1 for those without a margin there.
static double steepest(const PolarMethod *method, int steps) {
    double most = 0;
    for (int i = 0; i <= 100000; i++) most = fmax(most, fabs(derivative(method, steps, i * 1e-5)));
    return most;
}

static const PolarMethod *method_named(const char *name) {
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int i = 0; i < count; i++)
        if (!strcmp(methods[i].name, name)) return &methods[i];
    fail_msg("no method %s", name);
    return NULL;
}

// k orthonormal rows of length n: Gram-Schmidt, twice, on normal vectors.
static void random_rows(double *q, int64_t k, int64_t n, uint64_t seed) {
    for (int64_t i = 0; i < k; i++) {
        double *row = q + i * n;
        for (int64_t j = 0; j < n; j++) row[j] = random_normal(seed, RANDOM_TEST, (uint64_t)(i * n + j));
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t other = 0; other < i; other++) {
                double dot = 0;
                for (int64_t j = 0; j < n; j++) dot += row[j] * q[other * n + j];
                for (int64_t j = 0; j < n; j++) row[j] -= dot * q[other * n + j];
            }
            double norm = 0;
            for (int64_t j = 0; j < n; j++) norm += row[j] * row[j];
            for (int64_t j = 0; j < n; j++) row[j] /= sqrt(norm);
        }
    }
}

// x (rows, cols) = sum_i s_i u_i v_i^T.
static void compose(double *x, const double *u, const double *s, const double *v, int64_t k, int64_t rows,
                    int64_t cols) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < cols; c++) {
            double sum = 0;
            for (int64_t i = 0; i < k; i++) sum += s[i] * u[i * rows + r] * v[i * cols + c];
            x[r * cols + c] = sum;
        }
    }
}

static double get(const void *x, int64_t i, Type type) {
    return type == TYPE_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static PolarProblem problem(const PolarMethod *method, int steps, Type type, int64_t rows, int64_t cols,
                            int batch) {
    return (PolarProblem){.stream = stream,
                          .ops = optim_ops(device, type),
                          .method = method,
                          .type = type,
                          .steps = steps,
                          .norm_eps = method->norm_eps,
                          .rows = rows,
                          .cols = cols,
                          .batch = batch};
}

// Runs `steps` on two matrices at once and returns the largest Frobenius error against U p(S) V^T.
static double iteration_error(const PolarMethod *method, int steps, int64_t rows, int64_t cols, Type type) {
    enum { BATCH = 2 };
    int64_t k = rows < cols ? rows : cols, size = rows * cols;
    double *u = calloc((size_t)(k * rows), sizeof *u), *v = calloc((size_t)(k * cols), sizeof *v);
    double *s = calloc((size_t)k, sizeof *s), *ref = calloc((size_t)(BATCH * size), sizeof *ref);
    void *x = device_alloc(device, (size_t)(BATCH * size) * type_size(type));
    PolarProblem p = problem(method, steps, type, rows, cols, BATCH);
    void *scratch = device_alloc(device, (size_t)polar_scratch_bytes(&p));
    double *row_sums = calloc((size_t)(BATCH * rows), sizeof *row_sums);
    for (int b = 0; b < BATCH; b++) {
        row_sums[b * rows] = pow((1 - method->norm_eps) / method->norm_factor, 2); // so that x is divided by 1
        random_rows(u, k, rows, 11 + (uint64_t)b);
        random_rows(v, k, cols, 23 + (uint64_t)b);
        for (int64_t i = 0; i < k; i++) s[i] = k == 1 ? 1 : pow(10, -4.0 * (double)i / (double)(k - 1));
        double *out = ref + b * size;
        compose(out, u, s, v, k, rows, cols);
        for (int64_t i = 0; i < size; i++) {
            if (type == TYPE_F64) ((double *)x)[b * size + i] = out[i];
            else ((float *)x)[b * size + i] = (float)out[i];
        }
        for (int64_t i = 0; i < k; i++) s[i] = polynomial(method, steps, s[i]);
        compose(out, u, s, v, k, rows, cols);
    }
    const void *o = polar_factor(&p, x, row_sums, scratch, NULL);
    stream_synchronize(stream);
    double worst = 0;
    for (int b = 0; b < BATCH; b++) {
        double error = 0;
        for (int64_t i = b * size; i < (b + 1) * size; i++) error += pow(get(o, i, type) - ref[i], 2);
        worst = fmax(worst, sqrt(error));
    }
    free(u), free(v), free(s), free(ref), free(row_sums);
    device_free(device, x);
    device_free(device, scratch);
    return worst;
}

// Whether the method is the polynomial of its triples: not those without any, nor Turbo-Muon, which scales first.
static bool of_singular_values(const PolarMethod *method) {
    return method->n_triples > 0 && strcmp(method->name, "turbo-muon") != 0;
}

// A rounding error of c eps in X comes out multiplied by at most the steepest slope of the composed polynomial;
// those of later steps by less. c = 8 covers the sums of a few dozen terms and the number of steps.
static void singular_values_follow_the_polynomial(void **state) {
    (void)state;
    const int64_t shapes[][2] = {{12, 12}, {9, 30}, {30, 9}, {1, 7}, {7, 1}, {1, 1}};
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        if (!of_singular_values(&methods[m])) continue;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (int f64 = 0; f64 < 2; f64++) {
                int steps = methods[m].default_steps;
                double eps = f64 ? 2.22e-16 : 1.19e-7;
                double bound = 8 * eps * steepest(&methods[m], steps);
                double error =
                    iteration_error(&methods[m], steps, shapes[i][0], shapes[i][1], f64 ? TYPE_F64 : TYPE_F32);
                if (!(error <= bound))
                    fail_msg("%s (%d, %d): error %g above %g", methods[m].name, (int)shapes[i][0],
                             (int)shapes[i][1], error, bound);
            }
        }
    }
}

// What is known of the sets: slope at 0, smallest s that reaches 0.7, and the range from there to 1.
static void ranges_are_the_published_ones(void **state) {
    (void)state;
    const struct {
        const char *name;
        double slope, s07, low, high;
    } known[] = {
        {"ns5", 484.9, 1.55e-3, 0.682, 1.202},
        {"you5", 492.7, 1.55e-3, 0.700, 1.145},
        {"polar-express", 976, 7.83e-4, 0.700, 1.124},
        {"polar-express-nanogpt", 989.5, 7.7e-4, 0.700, 1.141},
        {"polar-express-1.05", 803.9, 9.5e-4, 0.700, 1.124},
        {"cans5", 1049, 7.3e-4, 0.700, 1.120},
        {"cubic5", 119.3, 6.2e-3, 0.700, 1.300},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const PolarMethod *m = method_named(known[i].name);
        double first = 0, low = INFINITY, high = 0, ratio = 1.0001;
        for (double s = 1e-5; s <= 1; s *= ratio) {
            double p = polynomial(m, 5, s);
            if (first == 0 && p >= 0.7) first = s;
            if (first > 0) low = fmin(low, p), high = fmax(high, p);
        }
        assert_true(fabs(derivative(m, 5, 0) / known[i].slope - 1) < 1e-3);
        assert_true(fabs(first / known[i].s07 - 1) < 1e-2);
        assert_true(fabs(low - known[i].low) < 1e-3);
        assert_true(fabs(high - known[i].high) < 1e-3);
    }
}

// Up to sigma_max, in units of the divided norm, every method stays bounded and keeps the sign.
static void sigma_max_is_safe(void **state) {
    (void)state;
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        if (methods[m].n_triples == 0) continue;
        double most = methods[m].sigma_max / methods[m].norm_factor;
        for (double s = 1e-4; s <= most; s += 1e-5) {
            double p = polynomial(&methods[m], methods[m].default_steps, s);
            assert_true(p > 0 && p < 1.5);
        }
    }
}

// The methods that go on converge to the polar factor itself.
static void long_iterations_converge(void **state) {
    (void)state;
    const struct {
        const char *name;
        int steps;
    } cases[] = {{"polar-express", 12}, {"simple", 30}};
    for (int i = 0; i < 2; i++)
        for (double s = 1e-3; s <= 1; s *= 1.1)
            assert_true(fabs(polynomial(method_named(cases[i].name), cases[i].steps, s) - 1) < 1e-12);
}

static void zero_matrix_gives_zero(void **state) {
    (void)state;
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        if (methods[m].solves && !device_can_solve(device, &(Error){""})) continue;
        float *x = device_alloc(device, 12 * sizeof *x);
        PolarProblem p = problem(&methods[m], methods[m].default_steps, TYPE_F32, 4, 3, 1);
        void *scratch = device_alloc(device, (size_t)polar_scratch_bytes(&p));
        const double row_sums[4] = {0};
        const float *o = polar_factor(&p, x, row_sums, scratch, NULL);
        stream_synchronize(stream);
        for (int i = 0; i < 12; i++) assert_true(o[i] == 0);
        device_free(device, x);
        device_free(device, scratch);
    }
}

static void registry_is_consistent(void **state) {
    (void)state;
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        assert_string_equal(methods[m].name, POLAR_NAMES[m]);
        assert_true(methods[m].default_steps <= polar_max_steps(&methods[m]));
        assert_non_null(methods[m].summary);
        assert_non_null(methods[m].source);
    }
    assert_null(POLAR_NAMES[count]);
    // The eighth triple of Polar Express is the limit and is not divided.
    PolarTriple last = polar_triple(method_named("polar-express"), 7),
                more = polar_triple(method_named("polar-express"), 20);
    assert_true(last.a == 1.875 && last.b == -1.25 && last.c == 0.375);
    assert_memory_equal(&last, &more, sizeof last);
    assert_true(fabs(polar_triple(method_named("polar-express"), 6).a * 1.01 - 1.8750014808534479) < 1e-15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(singular_values_follow_the_polynomial),
        cmocka_unit_test(ranges_are_the_published_ones),
        cmocka_unit_test(sigma_max_is_safe),
        cmocka_unit_test(long_iterations_converge),
        cmocka_unit_test(zero_matrix_gives_zero),
        cmocka_unit_test(registry_is_consistent),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
