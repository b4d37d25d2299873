// Invariants of every optimizer: bad steps change nothing, and finite gradients never give non-finite weights.
#include "tests/fixtures/optim_fixture.h"

#include "optim/ops.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

enum { WIDTH = 9 };

static Type type = TYPE_F32; // of the model

static const char *const all_settings[][2] = {
    {"adamw", "adamw"},
    {"sgd", "sgd"},
    {"lion", "lion"},
    {"signum", "signum momentum=0"},
    {"muon weight-decay=0.1", "adamw"},
    {"normuon", "adamw lr=0.1"},
    {"normuon form=official", "sgd nesterov=true"},
    {"polargrad polar=polar-express", "adamw"},
    {"polargrad polar=polar-express polar-first=yes row-norms=yes", "adamw"},
    {"polargrad polar=polar-express momentum=0 center-columns=yes", "adamw"},
    {"rownorm", "adamw"},
    {"normuon second-moment=column", "adamw"},
    {"normuon second-moment=longer normalize=before", "adamw"},
    {"normuon second-moment=element", "adamw"},
    {"muon split-heads=yes scale=nuclear", "adamw"}};
enum { ALL_SETTINGS = sizeof all_settings / sizeof *all_settings };

static void zero_gradients_are_harmless(void **state) {
    (void)state;
    for (int i = 0; i < ALL_SETTINGS; i++) {
        Fixture f;
        fixture_open(&f, type, WIDTH, all_settings[i][0], all_settings[i][1]);
        fixture_fill(&f, f.master, f.ref, 0.5, 1);
        for (int t = 0; t < 3; t++) fixture_step(&f, t, 10, 1);
        for (int64_t j = 0; j < f.table.elements; j++) // only weight decay changed them
            assert_true(fabs(fixture_get(&f, f.master, j)) <= fabs(f.ref[j]));
        assert_true(optimizer_report(f.optimizer, f.stream).grad_norm == 0);
        fixture_close(&f);
    }
}

// Divisions by the norm of a zero matrix must not give infinities.
static void factors_of_a_zero_matrix_are_finite(void **state) {
    (void)state;
    Fixture f;
    fixture_open(&f, type, WIDTH, "sgd", "sgd");
    StepInputs inputs = {.beta2 = {0.95}};
    StepReport report = {.ok = 1};
    float moments[3] = {0};
    double zeros[3] = {0}, factors[3] = {1, 1, 1}, *sums = fixture_upload(&f, zeros, sizeof zeros);
    StepInputs *device_inputs = fixture_upload(&f, &inputs, sizeof inputs);
    StepReport *device_report = fixture_upload(&f, &report, sizeof report);
    MatrixBatch x = {.count = 1,
                     .rows = 3,
                     .cols = 2,
                     .state = {NULL, fixture_upload(&f, moments, sizeof moments)},
                     .state_stride = {6, 3},
                     .inputs = device_inputs,
                     .report = device_report};
    for (int rule = 0; rule < SCALE_COUNT; rule++) {
        for (int normalize = 0; normalize < 2; normalize++) {
            RowScaling scaling = {.rule = (ScaleRule)rule,
                                  .rms = 0.2,
                                  .normalize = normalize,
                                  .eps = 1e-30,
                                  .power = 1,
                                  .row_dots = sums};
            double *out = fixture_upload(&f, factors, sizeof factors);
            optim_ops(f.device, f.type)
                ->row_factors(f.stream,
                              &(RowFactors){.factors = out, .row_sums = sums, .batch = &x, .scaling = scaling});
            fixture_download(&f, factors, out, sizeof factors);
            for (int i = 0; i < 3; i++) assert_true(factors[i] == 0);
        }
    }
    device_free(f.device, sums);
    device_free(f.device, device_inputs);
    device_free(f.device, device_report);
    device_free(f.device, x.state[1]);
    fixture_close(&f);
}

// Denormal rows would need factors beyond the range of a float; the update must stay finite and of normal size.
static void denormal_gradients_are_harmless(void **state) {
    (void)state;
    for (int i = 2; i < ALL_SETTINGS; i++) {
        for (double size = 1e-30; size > 1e-44; size *= 1e-3) {
            Fixture f;
            fixture_open(&f, type, WIDTH, all_settings[i][0], all_settings[i][1]);
            fixture_fill(&f, f.grads, f.ref_grads, size, 3);
            for (int t = 0; t < 3; t++) fixture_step(&f, t, 10, 0);
            for (int64_t j = 0; j < f.table.elements; j++) assert_true(fabs(fixture_get(&f, f.master, j)) < 1);
            fixture_close(&f);
        }
    }
}

static void padding_and_gaps_stay_zero(void **state) {
    (void)state;
    for (int i = 0; i < ALL_SETTINGS; i++) {
        Fixture f;
        fixture_open(&f, type, WIDTH, all_settings[i][0], all_settings[i][1]);
        fixture_fill(&f, f.master, f.ref, 0.5, 1);
        fixture_fill(&f, f.grads, f.ref_grads, 0.5, 2);
        for (int t = 0; t < 3; t++) fixture_step(&f, t, 10, 1);
        double *valid = calloc((size_t)f.table.elements, sizeof *valid);
        for (int j = 0; j < f.table.n_params; j++) {
            const Param *p = &f.table.params[j];
            for (int64_t k = 0; k < p->valid_rows * p->cols; k++) valid[p->offset + k] = 1;
        }
        for (int64_t j = 0; j < f.table.elements; j++)
            if (valid[j] == 0) assert_true(fixture_get(&f, f.master, j) == 0);
        free(valid);
        fixture_close(&f);
    }
}

// SGD without momentum exposes the clipped gradient: the norm of the step is lr times the limit or the gradient norm.
static void gradients_are_clipped_by_the_global_norm(void **state) {
    (void)state;
    for (int below = 0; below < 2; below++) {
        Fixture f;
        fixture_open(&f, TYPE_F64, WIDTH, "sgd momentum=0 lr=0.5", "sgd momentum=0 lr=0.5");
        fixture_fill(&f, f.grads, f.ref_grads, 0.1, 2);
        double norm = fixture_norm(f.ref_grads, f.table.elements), limit = below ? 2 * norm : 0.25 * norm;
        *f.loss = 3;
        fixture_step(&f, 0, 10, limit);
        StepReport report = optimizer_report(f.optimizer, f.stream);
        double expected = below ? 1 : limit / (norm + 1e-6);
        assert_true(fabs(report.grad_norm / norm - 1) < 1e-14);
        assert_true(fabs(report.clip_scale / expected - 1) < 1e-14);
        assert_true(report.loss == 3 && report.ok == 1 && report.applied == 1);
        for (int64_t i = 0; i < f.table.elements; i++)
            assert_true(fabs(fixture_get(&f, f.master, i) + 0.5 * expected * f.ref_grads[i]) < 1e-16);
        fixture_close(&f);
    }
}

typedef struct {
    void *master;
    void *states[256];
    double applied;
} Snapshot;

static size_t state_bytes(const StateTensor *s) {
    return (size_t)(s->spec.rows * s->spec.cols) * type_size(s->spec.type);
}

static Snapshot snapshot(const Fixture *f) {
    Snapshot s = {.master = malloc(fixture_bytes(f)), .applied = optimizer_applied(f->optimizer, f->stream)};
    memcpy(s.master, f->master, fixture_bytes(f));
    assert_true(optimizer_state_count(f->optimizer) <= 256);
    for (int i = 0; i < optimizer_state_count(f->optimizer); i++) {
        StateTensor t = optimizer_state(f->optimizer, i);
        s.states[i] = fixture_state(f, &t);
    }
    return s;
}

// Returns true if nothing changed since the snapshot; frees it.
static bool unchanged(const Fixture *f, Snapshot *s) {
    bool same = memcmp(s->master, f->master, fixture_bytes(f)) == 0 &&
                s->applied == optimizer_applied(f->optimizer, f->stream);
    free(s->master);
    for (int i = 0; i < optimizer_state_count(f->optimizer); i++) {
        StateTensor t = optimizer_state(f->optimizer, i);
        void *now = fixture_state(f, &t);
        same = same && memcmp(s->states[i], now, state_bytes(&t)) == 0;
        free(now);
        free(s->states[i]);
    }
    return same;
}

static void bad_steps_change_nothing(void **state) {
    (void)state;
    const struct {
        double gradient, loss, limit;
        bool ok;
    } cases[] = {{NAN, 1, 10, false},   {INFINITY, 1, 10, false},
                 {0.1, NAN, 10, false}, {0.1, INFINITY, INFINITY, false},
                 {0.1, 11, 10, false},  {0.1, 10, 10, true}};
    for (int i = 0; i < ALL_SETTINGS; i++) {
        for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
            Fixture f;
            fixture_open(&f, type, WIDTH, all_settings[i][0], all_settings[i][1]);
            fixture_fill(&f, f.master, f.ref, 0.5, 1);
            fixture_fill(&f, f.grads, f.ref_grads, 0.1, 2);
            *f.loss = 1;
            fixture_step(&f, 0, 10, 1);
            Snapshot before = snapshot(&f);
            fixture_put(&f, f.grads, f.table.params[f.table.n_params - 1].offset, cases[j].gradient);
            *f.loss = cases[j].loss;
            fixture_step_judged(&f, 1, 10, 1, 1, cases[j].limit);
            assert_true(optimizer_report(f.optimizer, f.stream).ok == cases[j].ok);
            assert_true(unchanged(&f, &before) == !cases[j].ok);
            fixture_close(&f);
        }
    }
}

// The loss limit applies to the mean: the sum times loss_scale.
static void loss_is_scaled_before_it_is_judged(void **state) {
    (void)state;
    Fixture f;
    fixture_open(&f, type, WIDTH, "adamw", "adamw");
    *f.loss = 40;
    fixture_step_judged(&f, 0, 10, 1, 0.125, 5);
    StepReport report = optimizer_report(f.optimizer, f.stream);
    assert_true(report.loss == 5 && report.ok == 1);
    fixture_close(&f);
}

// More steps than the ring has slots for inputs, each with its own learning rate.
static void inputs_of_many_steps_are_kept_apart(void **state) {
    (void)state;
    Fixture f;
    ParamGroupOptions settings[GROUP_COUNT];
    fixture_open(&f, TYPE_F64, WIDTH, "sgd", "sgd");
    fixture_settings(settings, "sgd momentum=0 lr=1", "sgd momentum=0 lr=1");
    for (int g = 0; g < GROUP_COUNT; g++) settings[g].schedule.kind = SCHEDULE_LINEAR;
    fixture_replace(&f, settings);
    int64_t at = f.table.params[0].offset;
    fixture_put(&f, f.grads, at, 1);
    double expected = 0;
    for (int t = 0; t < 64; t++) {
        fixture_step(&f, t, 64, 0);
        expected -= (64 - t) / 64.0; // exact in binary
        assert_true(fixture_get(&f, f.master, at) == expected);
    }
    fixture_close(&f);
}

// Results are bitwise identical in repeated runs and in any order of threads and blocks.
static void runs_are_bitwise_identical(void **state) {
    (void)state;
    for (int i = 0; i < ALL_SETTINGS; i++) {
        void *first = NULL;
        for (int run = 0; run < 3; run++) {
            Fixture f;
            fixture_order(run);
            fixture_open(&f, type, WIDTH, all_settings[i][0], all_settings[i][1]);
            fixture_fill(&f, f.master, f.ref, 0.5, 1);
            for (int t = 0; t < 3; t++) {
                fixture_fill(&f, f.grads, f.ref_grads, 0.1, 2 + (uint64_t)t);
                fixture_step(&f, t, 3, 1);
            }
            if (!first) {
                first = malloc(fixture_bytes(&f));
                memcpy(first, f.master, fixture_bytes(&f));
            } else if (memcmp(first, f.master, fixture_bytes(&f))) {
                fail_msg("%s: run %d differs bitwise", all_settings[i][0], run);
            }
            fixture_close(&f);
        }
        free(first);
    }
    fixture_order(0);
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_gradients_are_harmless),
        cmocka_unit_test(factors_of_a_zero_matrix_are_finite),
        cmocka_unit_test(denormal_gradients_are_harmless),
        cmocka_unit_test(padding_and_gaps_stay_zero),
        cmocka_unit_test(gradients_are_clipped_by_the_global_norm),
        cmocka_unit_test(bad_steps_change_nothing),
        cmocka_unit_test(loss_is_scaled_before_it_is_judged),
        cmocka_unit_test(inputs_of_many_steps_are_kept_apart),
        cmocka_unit_test(runs_are_bitwise_identical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) {
    int failed = all_tests();
    if (there_is_a_gpu()) {
        fixture_device = "cuda";
        failed += all_tests();
        type = TYPE_BF16;
        failed += all_tests();
    }
    return failed;
}
