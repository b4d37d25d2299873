// The matrix problems: gradients against finite differences in double, the minimum and the Newton direction,
// reproducible data, and convergence rates known from theory.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/random.h"
#include "optim/optimizer.h"
#include "run/problems/problem.h"
#include "run/problems/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_THREADS 2
#include "tests/fixtures/device_fixture.h"
#include "tests/fixtures/load_config.h"

static const ProblemSizes small[] = {
    {.rows = 13, .cols = 9, .x_rows = 7, .x_cols = 5},
    {.rows = 40, .cols = 6, .x_rows = 8, .x_cols = 5, .batch = 12},
    {.rows = 12, .cols = 10, .rank = 2, .mask = 0.6},
};

static const ProblemDef *nth(int i) {
    int n;
    const ProblemDef *const *all = problem_registry(&n);
    assert_int_equal(n, 3);
    return all[i];
}

static void make(Problem *p, int i, Type type, uint64_t seed) {
    Error err = {0};
    Error *e = &err;
    if (nth(i)->solves && !device_can_solve(device, e)) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    if (!problem_create(p, nth(i), &small[i], seed, type, device, e)) fail_msg("%s", err.text);
}

// Along random directions V: (f(X + h V) - f(X - h V)) / 2h = <G, V> with an error of h^2 |f'''| / 6 + eps |f| / h, at
// h = 1e-5 about 1e-10 |f'''| and 1e-11 |f|.
static void gradients_are_derivatives(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        Problem p;
        make(&p, i, TYPE_F64, 3);
        int64_t n = p.table.elements;
        double *x = p.x, *start = malloc((size_t)n * sizeof *start), *grads = malloc((size_t)n * sizeof *grads);
        double loss = problem_gradient(&p, 4), h = 1e-5;
        assert_true(loss == *p.loss && loss > 0);
        memcpy(start, x, (size_t)n * sizeof *start);
        memcpy(grads, p.grads, (size_t)n * sizeof *grads);
        for (uint64_t v = 0; v < 5; v++) {
            double slope = 0, norm = 0, f[2];
            for (int side = 0; side < 2; side++) {
                for (int q = 0; q < p.table.n_params; q++) {
                    const Param *param = &p.table.params[q];
                    for (int64_t j = param->offset; j < param->offset + param_elements(param); j++) {
                        double d = random_normal(v, RANDOM_TEST, (uint64_t)j);
                        x[j] = start[j] + (side ? h : -h) * d;
                        if (side) slope += grads[j] * d, norm += grads[j] * grads[j];
                    }
                }
                f[side] = problem_gradient(&p, 4);
            }
            double error = fabs((f[1] - f[0]) / (2 * h) - slope);
            if (error > 1e-7 * (sqrt(norm) + loss))
                fail_msg("%s: %.12g instead of %.12g", p.def->name, (f[1] - f[0]) / (2 * h), slope);
        }
        free(start);
        free(grads);
        problem_free(&p);
    }
}

// f is quadratic: one full Newton step reaches f*, and the reported loss is f - f*.
static void newton_solves_the_quadratic(void **state) {
    (void)state;
    Problem p;
    make(&p, 0, TYPE_F64, 5);
    double loss = problem_gradient(&p, 0), gap = p.def->reported(&p, loss);
    assert_true(fabs(gap - (loss - p.optimum)) <= 1e-12 * loss);
    p.def->newton_direction(&p);
    for (int64_t i = 0; i < p.table.elements; i++) ((double *)p.x)[i] -= ((double *)p.grads)[i];
    double after = problem_gradient(&p, 1);
    assert_true(fabs(after - p.optimum) <= 1e-12 * p.optimum);
    assert_true(p.def->reported(&p, after) <= 1e-20 * loss);
    problem_free(&p);
}

static void data_is_reproducible(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        Problem p, q, other;
        make(&p, i, TYPE_F32, 7);
        make(&q, i, TYPE_F32, 7);
        make(&other, i, TYPE_F32, 8);
        double first = problem_gradient(&p, 11);
        assert_true(first == problem_gradient(&q, 11) && first != problem_gradient(&other, 11));
        // Another step samples other rows; repeating a step gives the same rows.
        bool batches = p.sizes.batch > 0;
        assert_true((problem_gradient(&p, 12) != first) == batches);
        assert_true(problem_gradient(&p, 11) == first);
        problem_free(&p);
        problem_free(&q);
        problem_free(&other);
    }
}

// Losses and gradients in float on a GPU differ from the CPU's only by the rounding of GEMMs with up to 40 terms, one
// after the other; the data are bitwise identical.
static void check_gradients_on_gpu(bool solves) {
    Device *cpu = device;
    for (int i = 0; i < 3; i++) {
        if (nth(i)->solves != solves) continue;
        Problem p, q;
        make(&p, i, TYPE_F32, 3);
        device = gpu;
        make(&q, i, TYPE_F32, 3);
        device = cpu;
        double loss = problem_gradient(&p, 4), other = problem_gradient(&q, 4), error = 0, norm = 0;
        int64_t n = p.table.elements;
        double *a = malloc((size_t)n * sizeof *a), *b = malloc((size_t)n * sizeof *b);
        problem_download(&p, a, p.grads, TYPE_F32, n);
        problem_download(&q, b, q.grads, TYPE_F32, n);
        for (int64_t j = 0; j < n; j++) error += pow(a[j] - b[j], 2), norm += a[j] * a[j];
        if (!(sqrt(error / norm) < 1e-5 && fabs(loss - other) < 1e-5 * loss))
            fail_msg("%s: loss %.9g and %.9g, gradients %g off", p.def->name, loss, other, sqrt(error / norm));
        if (q.def->newton_direction) {
            q.def->newton_direction(&q);
            double reported = q.def->reported(&q, other), expected = p.def->reported(&p, loss);
            assert_true(fabs(reported - expected) < 1e-5 * expected);
        }
        free(a), free(b);
        problem_free(&p);
        problem_free(&q);
    }
}

static void gradients_on_a_gpu(void **state) {
    (void)state;
    check_gradients_on_gpu(false);
}

static void gradients_on_a_gpu_with_solves(void **state) {
    (void)state;
    Error err;
    if (!device_can_solve(gpu, &err)) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    check_gradients_on_gpu(true);
}

static void spectra_are_those_of_the_matrix(void **state) {
    (void)state;
    Problem p;
    make(&p, 0, TYPE_F64, 1);
    const double a[] = {0, 3, 0, -4, 0, 0}; // (2, 3) with singular values 4 and 3
    Spectrum s = problem_spectrum(&p, a, 2, 3);
    assert_true(fabs(s.condition - 4.0 / 3) < 1e-14 && fabs(s.nuclear - 7) < 1e-13);
    problem_free(&p);
}

// Gradient descent with learning rate 1/L, L = the largest eigenvalue of A^T A times that of B B^T, never increases the
// loss and contracts f - f* by at least (1 - 1/kappa)^2 per step, kappa = L / mu (Nesterov 2004, theorem 2.1.15).
static void descent_contracts(void **state) {
    (void)state;
    Error err;
    Problem p;
    make(&p, 0, TYPE_F64, 2);
    // Hessian-vector products are differences of gradients: power iteration on H gives L, and on L - H gives L - mu.
    int64_t n = p.table.elements;
    double *x = p.x, *start = malloc((size_t)n * sizeof *start), *v = malloc((size_t)n * sizeof *v);
    double *zero = malloc((size_t)n * sizeof *zero), eigenvalue[2] = {0, 0};
    memcpy(start, x, (size_t)n * sizeof *start);
    memset(x, 0, (size_t)n * sizeof *x);
    problem_gradient(&p, 0);
    memcpy(zero, p.grads, (size_t)n * sizeof *zero);
    for (int which = 0; which < 2; which++) {
        for (int64_t i = 0; i < n; i++)
            x[i] =
                i < param_elements(&p.table.params[0]) ? random_normal(which ? 1 : 0, RANDOM_TEST, (uint64_t)i) : 0;
        double length = 1;
        for (int turn = 0; turn < 4000; turn++) {
            problem_gradient(&p, 0);
            double sum = 0;
            for (int64_t i = 0; i < n; i++) {
                v[i] = ((double *)p.grads)[i] - zero[i];
                if (which) v[i] = eigenvalue[0] * x[i] - v[i];
                sum += v[i] * v[i];
            }
            length = sqrt(sum);
            for (int64_t i = 0; i < n; i++) x[i] = v[i] / length;
        }
        eigenvalue[which] = length;
    }
    double L = eigenvalue[0], mu = L - eigenvalue[1];
    memcpy(x, start, (size_t)n * sizeof *x);

    ParamGroupOptions settings[GROUP_COUNT] = {0};
    param_group_init(&settings[GROUP_HIDDEN], optimizer_find("sgd", &err));
    char rate[32];
    snprintf(rate, sizeof rate, "%.17g", 1 / L);
    assert_true(param_group_set(&settings[GROUP_HIDDEN], "lr", rate, &err));
    assert_true(param_group_set(&settings[GROUP_HIDDEN], "momentum", "0", &err));
    Optimizer *optimizer = optimizer_create(device, TYPE_F64, &p.table, settings, &err);
    assert_non_null(optimizer);
    double before = p.def->reported(&p, problem_gradient(&p, 0)), first = before;
    double bound = (1 - mu / L) * (1 - mu / L);
    for (int64_t t = 0; t < 200; t++) {
        problem_gradient(&p, t);
        optimizer_step(optimizer, p.stream, p.x, p.x, p.grads, p.loss, t, 200, 0, 1, INFINITY);
        double after = p.def->reported(&p, 0);
        assert_true(after <= before * bound * (1 + 1e-6));
        before = after;
    }
    assert_true(before < 0.5 * first); // not trivially
    optimizer_free(optimizer);
    free(start);
    free(v);
    free(zero);
    problem_free(&p);
}

// Alternating gradient descent, with one matrix fixed while the other moves: from a start near the solution the error
// over all of M decreases geometrically.
static void completion_recovers_the_matrix(void **state) {
    (void)state;
    Problem p;
    make(&p, 2, TYPE_F64, 4);
    double loss = problem_gradient(&p, 0), start = p.relative_error;
    for (int t = 0; t < 20000 && loss > 1e-22; t++)
        for (int which = 0; which < 2; which++) {
            double *x = problem_param(&p, p.x, which), *g = problem_param(&p, p.grads, which);
            for (int64_t i = 0; i < param_elements(&p.table.params[which]); i++) x[i] -= 1.0 * g[i];
            loss = problem_gradient(&p, t);
        }
    assert_true(start > 0.3 && loss <= 1e-22 && p.relative_error < 1e-8);
    problem_free(&p);
}

static void decay_is_a_staircase(void **state) {
    (void)state;
    Schedule s = {.kind = SCHEDULE_LINEAR, .decay_every = 25, .decay_factor = 0.5};
    assert_true(schedule_factor(&s, 0, 100) == 1);
    assert_true(fabs(schedule_factor(&s, 24, 100) - 0.76) < 1e-15);
    assert_true(fabs(schedule_factor(&s, 25, 100) - 0.5 * 0.75) < 1e-15);
    assert_true(fabs(schedule_factor(&s, 75, 100) - 0.125 * 0.25) < 1e-15);
}

static void configuration_round_trip(void **state) {
    (void)state;
    Error err;
    ProblemConfig *c = calloc(1, sizeof *c);
    const char *const argv[] = {"completion", "--optimizer", "altgd", "--lr", "0.5", "--decay-every", "3"};
    assert_true(problem_config_load(c, 7, argv, &err));
    assert_int_equal(c->direction, DIRECTION_ALTERNATING);
    assert_int_equal(c->sizes.rank, 5);
    assert_int_equal(c->steps, 1000);
    assert_true(group_number(&c->groups[GROUP_HIDDEN], "momentum") == 0);
    assert_int_equal(c->groups[GROUP_HIDDEN].schedule.decay_every, 3);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    problem_config_print(out, c);
    fclose(out);
    assert_non_null(strstr(text, "optimizer = altgd\n"));
    assert_non_null(strstr(text, "problem = completion\n"));
    free(text);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_derivatives), cmocka_unit_test(newton_solves_the_quadratic),
        cmocka_unit_test(data_is_reproducible),      cmocka_unit_test(spectra_are_those_of_the_matrix),
        cmocka_unit_test(descent_contracts),         cmocka_unit_test(completion_recovers_the_matrix),
        cmocka_unit_test(decay_is_a_staircase),      cmocka_unit_test(configuration_round_trip),
    };
    const struct CMUnitTest on_gpu[] = {cmocka_unit_test(gradients_on_a_gpu),
                                        cmocka_unit_test(gradients_on_a_gpu_with_solves)};
    int failed = cmocka_run_group_tests(tests, open_device, close_device);
    return there_is_a_gpu() ? failed + cmocka_run_group_tests(on_gpu, open_device, close_device) : failed;
}
