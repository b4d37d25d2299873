// The Newton-Schulz iterations against their effect on singular values: for an input U S V^T the result must be
// U p(S) V^T, with p the composition of the method's triples, evaluated in double.
#include "optim/polar/polar.h"

#include "base/type.h"
#include "base/random.h"

#define DEVICE_THREADS 0
#include "tests/fixtures/device_fixture.h"

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

// The largest slope on [0, 1]: at 0 for most methods, at 1 for those without a margin there.
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

// Returns device memory with n elements of x, converted to a type.
static void *upload(Stream *on, const double *x, Type type, int64_t n) {
    size_t bytes = (size_t)n * type_size(type);
    void *host = malloc(bytes), *memory = device_alloc(on->device, bytes);
    assert_true(host && memory);
    for (int64_t i = 0; i < n; i++) {
        double value = type == TYPE_F64 ? x[i] : (double)(float)x[i];
        float_type_write((char *)host + (size_t)i * type_size(type), type, &value, 1);
    }
    device_copy(on, memory, host, bytes);
    stream_synchronize(on);
    free(host);
    return memory;
}

static void download(Stream *on, double *x, const void *memory, Type type, int64_t n) {
    size_t bytes = (size_t)n * type_size(type);
    void *host = malloc(bytes);
    assert_non_null(host);
    device_copy(on, host, memory, bytes);
    stream_synchronize(on);
    float_type_read(x, type, host, n);
    free(host);
}

static PolarProblem problem(Stream *on, const PolarMethod *method, int steps, Type type, int64_t rows, int64_t cols,
                            int batch) {
    return (PolarProblem){.stream = on,
                          .ops = optim_ops(on->device, type),
                          .method = method,
                          .type = type,
                          .steps = steps,
                          .norm_eps = method->norm_eps,
                          .rows = rows,
                          .cols = cols,
                          .batch = batch};
}

// Runs `steps` on a batch of two matrices with singular values from `most` to `least`; returns the larger Frobenius
// error against U p(S) V^T.
static double iteration_error(Stream *on, const PolarMethod *method, int steps, int64_t rows, int64_t cols,
                              Type type, double most, double least) {
    enum { BATCH = 2 };
    int64_t k = rows < cols ? rows : cols, size = rows * cols;
    double *u = calloc((size_t)(k * rows), sizeof *u), *v = calloc((size_t)(k * cols), sizeof *v);
    double *s = calloc((size_t)k, sizeof *s), *ref = calloc((size_t)(BATCH * size), sizeof *ref);
    double *in = calloc((size_t)(BATCH * size), sizeof *in), *out = calloc((size_t)(BATCH * size), sizeof *out);
    double *sums = calloc((size_t)(BATCH * rows), sizeof *sums), worst = 0;
    PolarProblem p = problem(on, method, steps, type, rows, cols, BATCH);
    for (int b = 0; b < BATCH; b++) {
        sums[b * rows] = pow((1 - method->norm_eps) / method->norm_factor, 2); // makes the divisor of x 1
        random_rows(u, k, rows, 11 + (uint64_t)b);
        random_rows(v, k, cols, 23 + (uint64_t)b);
        for (int64_t i = 0; i < k; i++) s[i] = most * (k == 1 ? 1 : pow(least / most, (double)i / (double)(k - 1)));
        compose(in + b * size, u, s, v, k, rows, cols);
        for (int64_t i = 0; i < k; i++) s[i] = polynomial(method, steps, s[i]);
        compose(ref + b * size, u, s, v, k, rows, cols);
    }
    void *x = upload(on, in, type, BATCH * size),
         *scratch = device_alloc(on->device, (size_t)polar_scratch_bytes(&p));
    double *row_sums = upload(on, sums, TYPE_F64, BATCH * rows);
    download(on, out, polar_factor(&p, x, row_sums, scratch, NULL), type, BATCH * size);
    for (int b = 0; b < BATCH; b++) {
        double error = 0;
        for (int64_t i = b * size; i < (b + 1) * size; i++) error += pow(out[i] - ref[i], 2);
        worst = fmax(worst, sqrt(error));
    }
    free(u), free(v), free(s), free(ref), free(in), free(out), free(sums);
    device_free(on->device, x);
    device_free(on->device, scratch);
    device_free(on->device, row_sums);
    return worst;
}

// Returns true if the method is the polynomial of its triples: not without triples, nor Turbo-Muon, which scales first.
static bool is_polynomial(const PolarMethod *method) {
    return method->n_triples > 0 && strcmp(method->name, "turbo-muon") != 0;
}

// Applies steps from .. to - 1 to a singular value.
static double steps_between(const PolarMethod *method, int from, int to, double s) {
    for (int i = from; i < to; i++) {
        PolarTriple t = polar_triple(method, i);
        s = t.a * s + t.b * s * s * s + t.c * s * s * s * s * s;
    }
    return s;
}

// Largest amplification of an error of R = X X^T in Q X, where Q = q(R) is a polynomial of R, computed in steps
// from .. to - 1, and R has eigenvalues s^2 for s up to `range`: with U the eigenvectors, Q changes by
// U (q[s_i^2, s_j^2] (U^T dR U)_ij) U^T, divided differences of q(s^2) = p(s) / s, and X multiplies by s_j. (It exceeds
// the slope of p: small eigenvalues of R are lost in rounding, and q is steep there.)
static double gram_gain(const PolarMethod *method, int from, int to, double range) {
    enum { N = 400 };
    double s[N], q[N], most = 0;
    for (int i = 0; i < N; i++) {
        s[i] = range * pow(1e-4, (double)(N - 1 - i) / (N - 1));
        q[i] = steps_between(method, from, to, s[i]) / s[i];
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            if (i != j) most = fmax(most, fabs((q[i] - q[j]) / (s[i] * s[i] - s[j] * s[j])) * s[j]);
    return most;
}

// The same at the end of all steps: the larger of the gains of the parts before and after the restart at step 2 (an
// error of the first part is multiplied by at most the slope of the second).
static double gram_error_gain(const PolarMethod *method, int steps) {
    enum { RESTART = 2 };
    double range = 0, slope = 0, h = 1e-6;
    for (int i = 0; i <= 1000; i++) range = fmax(range, steps_between(method, 0, RESTART, i * 1e-3));
    for (int i = 0; i <= 1000; i++) {
        double s = range * i * 1e-3;
        slope = fmax(slope, fabs(steps_between(method, RESTART, steps, s + h) -
                                 steps_between(method, RESTART, steps, s - h)) /
                                (2 * h));
    }
    return fmax(gram_gain(method, 0, RESTART, 1) * slope, gram_gain(method, RESTART, steps, range) * range * range);
}

// A rounding error of c eps in X is multiplied by at most the steepest slope of the composed polynomial; errors of
// later steps by less. c = 8 covers sums of a few dozen terms and the number of steps. An error of the Gram matrix,
// on which gram-ns iterates until its restart, has its own gain.
static const int64_t shapes[][2] = {{12, 12}, {9, 30}, {30, 9}, {1, 7}, {7, 1}, {1, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void check_polynomial(Stream *on, const PolarMethod *method, int64_t rows, int64_t cols, Type type) {
    int steps = method->default_steps;
    double eps = type == TYPE_F64 ? 2.22e-16 : 1.19e-7, gain = steepest(method, steps);
    if (strcmp(method->name, "gram-ns") == 0 && rows != cols) gain = fmax(gain, gram_error_gain(method, steps));
    double bound = 8 * eps * gain;
    double error = iteration_error(on, method, steps, rows, cols, type, 1, 1e-4);
    if (!(error <= bound))
        fail_msg("%s (%d, %d): error %g above %g", method->name, (int)rows, (int)cols, error, bound);
}

static void singular_values_follow_the_polynomial(void **state) {
    (void)state;
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        if (!is_polynomial(&methods[m])) continue;
        for (int i = 0; i < SHAPES; i++) {
            int64_t rows = shapes[i][0], cols = shapes[i][1];
            check_polynomial(stream, &methods[m], rows, cols, TYPE_F32);
            check_polynomial(stream, &methods[m], rows, cols, TYPE_F64);
            if (gpu) check_polynomial(gpu_stream, &methods[m], rows, cols, TYPE_F32);
        }
    }
}

// Largest amplification until the end of an error of the iterate before step `from`, for singular values that start in
// [0.2, 0.8]: the slope of the remaining polynomial, or the ratio of its value to its argument.
static double gain(const PolarMethod *method, int steps, int from) {
    double most = 0;
    for (double start = 0.2; start <= 0.8; start += 1e-4) {
        double s = polynomial(method, from, start), slope = 1, before = s;
        for (int i = from; i < steps; i++) {
            PolarTriple t = polar_triple(method, i);
            slope *= t.a + 3 * t.b * s * s + 5 * t.c * s * s * s * s;
            s = t.a * s + t.b * s * s * s + t.c * s * s * s * s * s;
        }
        most = fmax(most, fmax(fabs(slope), s / before));
    }
    return most;
}

// Every step rounds X, its Gram matrix A and the polynomial P of A to bf16, by at most 2^-9 of each element and
// independently, so that squared errors add. At a singular value s the three change the result of the step by 2^-9
// times a s, |b| s^3 + 2 |c| s^5 and |b s^2 + c s^4| s. Singular values below 0.2 would be lost in the first rounding.
static void check_bf16(const PolarMethod *method, int64_t rows, int64_t cols) {
    int steps = method->default_steps;
    int64_t k = rows < cols ? rows : cols;
    double squares = 0;
    for (int i = 0; i < steps; i++) {
        PolarTriple t = polar_triple(method, i);
        double now = gain(method, steps, i), later = gain(method, steps, i + 1);
        for (int64_t j = 0; j < k; j++) {
            double start = 0.8 * (k == 1 ? 1 : pow(0.25, (double)j / (double)(k - 1)));
            double s = polynomial(method, i, start), s3 = s * s * s, s5 = s3 * s * s;
            squares += pow(0x1p-9 * now * s, 2) + pow(0x1p-9 * later * (fabs(t.b) * s3 + 2 * fabs(t.c) * s5), 2) +
                       pow(0x1p-9 * later * (t.b * s3 + t.c * s5), 2);
        }
    }
    double error = iteration_error(gpu_stream, method, steps, rows, cols, TYPE_BF16, 0.8, 0.2);
    double bound = sqrt(squares) + 0x1p-9 * sqrt((double)k) * 1.2; // the result is rounded too
    if (!(error <= bound))
        fail_msg("%s (%d, %d) in bf16: error %g above %g", method->name, (int)rows, (int)cols, error, bound);
}

static void factors_in_bf16(void **state) {
    (void)state;
    int count, in_bf16 = 0;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        if (polar_factor_type(&methods[m], TYPE_BF16) != TYPE_BF16) continue;
        in_bf16++;
        for (int i = 0; i < SHAPES && is_polynomial(&methods[m]); i++)
            check_bf16(&methods[m], shapes[i][0], shapes[i][1]);
    }
    assert_int_equal(in_bf16, 9); // all polynomials but cans5 and cubic5, which have no margin above 1
}

// Known properties of the coefficients: slope at 0, smallest s that reaches 0.7, and the range of values from there
// to 1.
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

// Up to sigma_max, relative to the divisor of the norm, every method stays bounded and keeps the sign.
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

// Methods with unlimited steps converge to the exact polar factor.
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

// For the methods that need a solver, or for the others. Device memory is initially zero.
static void check_zero_matrix(Stream *on, bool solves) {
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        if (methods[m].solves != solves) continue;
        float *x = device_alloc(on->device, 12 * sizeof *x), o[12];
        PolarProblem p = problem(on, &methods[m], methods[m].default_steps, TYPE_F32, 4, 3, 1);
        void *scratch = device_alloc(on->device, (size_t)polar_scratch_bytes(&p));
        double *row_sums = device_alloc(on->device, 4 * sizeof *row_sums);
        device_copy(on, o, polar_factor(&p, x, row_sums, scratch, NULL), sizeof o);
        stream_synchronize(on);
        for (int i = 0; i < 12; i++) assert_true(o[i] == 0);
        device_free(on->device, x);
        device_free(on->device, scratch);
        device_free(on->device, row_sums);
    }
}

static void zero_matrix_gives_zero(void **state) {
    (void)state;
    check_zero_matrix(stream, false);
    if (gpu) check_zero_matrix(gpu_stream, false);
}

static void zero_matrix_gives_zero_with_solvers(void **state) {
    (void)state;
    Error err;
    bool on_cpu = device_can_solve(device, &err), on_gpu = gpu && device_can_solve(gpu, &(Error){""});
    if (!on_cpu && !on_gpu) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    if (on_cpu) check_zero_matrix(stream, true);
    if (on_gpu) check_zero_matrix(gpu_stream, true);
}

static void registry_is_consistent(void **state) {
    (void)state;
    int count;
    const PolarMethod *methods = polar_methods(&count);
    for (int m = 0; m < count; m++) {
        for (int i = 0; i < m; i++) assert_string_not_equal(methods[m].name, methods[i].name);
        assert_true(methods[m].default_steps <= polar_max_steps(&methods[m]));
        assert_non_null(methods[m].summary);
        assert_non_null(methods[m].source);
    }
    assert_null(methods[count].name);
    // The eighth triple of Polar Express is the limit and is not divided by the safety factor.
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
        cmocka_unit_test(zero_matrix_gives_zero_with_solvers),
        cmocka_unit_test(registry_is_consistent),
    };
    const struct CMUnitTest on_gpu[] = {cmocka_unit_test(factors_in_bf16)};
    int failed = cmocka_run_group_tests(tests, open_device, close_device);
    return there_is_a_gpu() ? failed + cmocka_run_group_tests(on_gpu, open_device, close_device) : failed;
}
