// NaN, infinity and overflow in weights, gradients and optimizer state, for every optimizer of the registry: detected
// by the next step at the latest, reported with the tensor where they began, and no good value is overwritten.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "data/shard.h"
#include "optim/polar/polar.h"
#include "run/checkpoint/finite.h"
#include "run/training/trainer.h"

#include <math.h>

#define DEVICE_THREADS 1
#include "tests/fixtures/device_fixture.h"
#include "tests/fixtures/load_config.h"
#include "tests/fixtures/shard_file.h"
#include "tests/fixtures/temp_dir.h"

enum { MAX_ARGUMENTS = 40, TOKENS = 600 };

typedef struct {
    RunConfig config;
    Datasets data;
    ParamTable table;
    Trainer trainer;
} Job;

static int open_all(void **state) {
    uint16_t tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++) tokens[i] = (uint16_t)(i * i % 251);
    Error err;
    return temp_dir_create(state) || open_device(state) || !shard_write(temp_path("t.bin"), tokens, TOKENS, &err);
}

static int close_all(void **state) {
    return close_device(state) || temp_dir_remove(state);
}

// Opens a run of a small model with extra options. If lr is not 0 it is set directly, bypassing the range check.
// Returns false if this machine lacks what the optimizer needs.
static bool job_open(Job *job, const char *const *options, double lr) {
    const char *argv[MAX_ARGUMENTS] = {
        "--vocab",   "bytes", "--n-layer",     "2", "--n-head",     "2",
        "--d-model", "16",    "--seq-len",     "8", "--batch-size", "4",
        "--threads", "1",     "--micro-batch", "2", "--train-data", temp_path("t.bin")};
    int argc = 18;
    for (; *options; options++) argv[argc++] = *options;
    Error err;
    if (!load_config(&job->config, argc, argv, &err)) fail_msg("%s", err.text);
    for (int g = 0; g < GROUP_COUNT && lr > 0; g++)
        if (job->config.groups[g].def) {
            const OptionSpec option = optimizer_option(job->config.groups[g].def, 0);
            memcpy(job->config.groups[g].values.bytes + option.offset, &lr, sizeof lr);
        }
    param_table_init(&job->table, &job->config.model);
    if (!optimizer_check(device, &job->table, job->config.groups, &err)) {
        param_table_free(&job->table);
        return false;
    }
    if (!plan_open_vocab(&job->data, &job->config, &err) || !plan_open_data(&job->data, &job->config, &err) ||
        !trainer_create(&job->trainer, &job->config, &job->data, device, &job->table, NULL, &err) ||
        !trainer_start_loader(&job->trainer, &err))
        fail_msg("%s", err.text);
    return true;
}

static void job_close(Job *job) {
    trainer_free(&job->trainer);
    datasets_close(&job->data);
    param_table_free(&job->table);
}

static StepReport step(Job *job) {
    Error err;
    StepResult result;
    if (!trainer_step(&result, &job->trainer, INFINITY, &err)) fail_msg("%s", err.text);
    job->trainer.state.step++;
    return result.report;
}

static void assert_explained(Job *job, const StepReport *report, const char *words) {
    char text[512];
    assert_true(report->ok == 0);
    trainer_explain_bad_step(text, sizeof text, &job->trainer, report, INFINITY);
    if (!strstr(text, words)) fail_msg("\"%s\" is not in \"%s\"", words, text);
}

// A copy of all weights, followed by all optimizer state.
static float *snapshot(const Job *job, size_t *size) {
    const Trainer *t = &job->trainer;
    size_t n = (size_t)t->model.table.elements;
    float *copy = malloc(n * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, t->model.master, n * sizeof *copy);
    for (int i = 0; i < optimizer_state_count(t->optimizer); i++) {
        StateTensor s = optimizer_state(t->optimizer, i);
        size_t more = (size_t)(s.spec.rows * s.spec.cols);
        copy = realloc(copy, (n + more) * sizeof *copy);
        assert_non_null(copy);
        memcpy(copy + n, s.data, more * sizeof *copy);
        n += more;
    }
    *size = n * sizeof *copy;
    return copy;
}

static void assert_unchanged(const Job *job, float *before) {
    size_t size;
    float *now = snapshot(job, &size);
    assert_memory_equal(now, before, size);
    free(now);
}

// Chooses an element that every batch uses; `place` receives its position as error messages print it.
static int64_t choose(char place[64], int64_t rows, int64_t cols) {
    int64_t row = rows > 1 ? 1 : 0, col = cols > 3 ? 3 : 0;
    if (rows > 1) snprintf(place, 64, "row %d, column %d", (int)row, (int)col);
    else snprintf(place, 64, "element %d", (int)col);
    return row * cols + col;
}

// Runs a test with each optimizer of the registry for the hidden matrices and the defaults for the other groups.
static void for_each_optimizer(void (*test)(Job *job), double lr) {
    int count, done = 0;
    const OptimizerDef *const *all = optimizer_registry(&count);
    for (int i = 0; i < count; i++) {
        Job job;
        if (!job_open(&job, (const char *const[]){"--optimizer", all[i]->name, "--warmup", "0", NULL}, lr))
            continue;
        test(&job);
        job_close(&job);
        done++;
    }
    assert_true(done >= count - 1); // one needs LAPACK
}

static void plant_in_weights(Job *job) {
    Trainer *t = &job->trainer;
    assert_true(step(job).ok == 1);
    for (int i = 0; i < t->model.table.n_params; i++) {
        const Param *p = &t->model.table.params[i];
        if (p->layer > 0) continue;
        for (int infinite = 0; infinite < (param_is_matrix(p) ? 2 : 1); infinite++) {
            char place[64], words[256];
            size_t size;
            float *w = (float *)t->model.master + p->offset + choose(place, p->rows, p->cols), good = *w;
            *w = infinite ? INFINITY : NAN;
            float *before = snapshot(job, &size);
            StepReport report = step(job);
            snprintf(words, sizeof words, "; the weight of %s is not finite (%s)", p->name, place);
            assert_explained(job, &report, words);
            assert_unchanged(job, before);
            free(before);
            *w = good;
        }
    }
    assert_true(step(job).ok == 1); // no trace is left
}

static void bad_weights(void **state) {
    (void)state;
    for_each_optimizer(plant_in_weights, 0);
}

// The optimizer step with the current gradients.
static StepReport update(Job *job, double clip) {
    Trainer *t = &job->trainer;
    optimizer_step(t->optimizer, t->stream, t->model.master, t->model.weights, t->model.grads, t->model.loss,
                   t->state.step, 100, clip, 1e-3, INFINITY);
    return optimizer_report(t->optimizer, t->stream);
}

static void plant_in_gradients(Job *job) {
    Trainer *t = &job->trainer;
    assert_true(step(job).ok == 1);
    for (int i = 0; i < t->model.table.n_params; i++) {
        const Param *p = &t->model.table.params[i];
        char place[64], words[256];
        size_t size;
        float *g = (float *)t->model.grads + p->offset + choose(place, p->rows, p->cols), good = *g;
        *g = i % 2 ? NAN : -INFINITY;
        float *before = snapshot(job, &size);
        StepReport report = update(job, 1);
        snprintf(words, sizeof words, "; the gradient of %s is not finite (%s)", p->name, place);
        assert_explained(job, &report, words);
        assert_unchanged(job, before);
        free(before);
        *g = good;
    }
    assert_true(update(job, 1).ok == 1);
}

static void bad_gradients(void **state) {
    (void)state;
    for_each_optimizer(plant_in_gradients, 0);
}

// Returns true if a checkpoint would be written.
static bool is_saved(Trainer *t, Error *err) {
    CheckpointParts parts = trainer_parts(t);
    return checkpoint_is_finite(&parts, err);
}

// A finite gradient whose square overflows: rejected without clipping, applied with it.
static void plant_large_gradient(Job *job) {
    Trainer *t = &job->trainer;
    assert_true(step(job).ok == 1);
    for (int64_t i = 0; i < 16; i++) ((float *)t->model.grads)[i] = 1e25f;
    StepReport report = update(job, 0);
    assert_explained(job, &report, "squares of a gradient above 1e+19 overflow");
    assert_true(update(job, 1).ok == 1);
    Error err;
    if (!is_saved(t, &err)) fail_msg("%s", err.text);
}

static void large_gradients(void **state) {
    (void)state;
    for_each_optimizer(plant_large_gradient, 0);
}

// Bad state makes the weights bad at the next update; the error names the state.
static void plant_in_state(Job *job) {
    Trainer *t = &job->trainer;
    Error err;
    size_t size;
    float *good = snapshot(job, &size);
    for (int i = 0; i < optimizer_state_count(t->optimizer); i++) {
        StateTensor s = optimizer_state(t->optimizer, i);
        char place[64], words[256];
        int64_t at = choose(place, s.spec.rows, s.spec.cols);
        snprintf(words, sizeof words, "the %s of %s is not finite (%s)", s.spec.name, s.param->name, place);
        ((float *)s.data)[at] = i % 2 ? INFINITY : NAN;
        assert_false(is_saved(t, &err));
        assert_string_equal(err.text, words);
        ((float *)s.data)[at] = NAN;
        if (s.param->layer <= 0) {
            StepReport report = step(job);
            if (report.ok == 1) report = step(job);
            if (report.ok) print_message("%s\n", words);
            assert_explained(job, &report, words);
        }
        memcpy(t->model.master, good, (size_t)t->model.table.elements * sizeof *good);
        for (int j = 0; j < optimizer_state_count(t->optimizer); j++) {
            StateTensor other = optimizer_state(t->optimizer, j);
            memset(other.data, 0, (size_t)(other.spec.rows * other.spec.cols) * sizeof(float));
        }
    }
    free(good);
    assert_true(step(job).ok == 1);
}

static void bad_state(void **state) {
    (void)state;
    for_each_optimizer(plant_in_state, 0);
}

// Finite gradients, state and learning rate, but an update that overflows.
static void overflow_update(Job *job) {
    assert_true(step(job).ok == 1);
    StepReport report = step(job);
    assert_explained(job, &report, "the weight of ");
    Error err;
    assert_false(is_saved(&job->trainer, &err));
}

static void overflowing_updates(void **state) {
    (void)state;
    for_each_optimizer(overflow_update, 1e38);
}

// The square root of a negative second moment.
static void update_that_is_not_a_number(void **state) {
    (void)state;
    Job job;
    assert_true(job_open(&job, (const char *const[]){"--optimizer", "adamw", NULL}, 0));
    Trainer *t = &job.trainer;
    StateTensor s = optimizer_state(t->optimizer, optimizer_state_count(t->optimizer) - 1);
    assert_string_equal(s.spec.name, "moment2");
    ((float *)s.data)[0] = -1;
    assert_true(step(&job).ok == 1);
    char words[256];
    snprintf(words, sizeof words, "; the weight of %s is not finite (element 0)", s.param->name);
    StepReport report = step(&job);
    assert_explained(&job, &report, words);
    job_close(&job);
}

// Methods that iterate until convergence must also terminate if they never converge.
static void polar_methods_end(void **state) {
    (void)state;
    for (const PolarMethod *method = POLAR_METHODS; method->name; method++) {
        Job job;
        if (!job_open(&job, (const char *const[]){"--optimizer", "muon", "--polar", method->name, NULL}, 0))
            continue;
        Trainer *t = &job.trainer;
        for (int j = 0; j < optimizer_state_count(t->optimizer); j++) {
            StateTensor s = optimizer_state(t->optimizer, j);
            if (strcmp(s.spec.name, "momentum") == 0) ((float *)s.data)[1] = j % 2 ? INFINITY : NAN;
        }
        assert_true(step(&job).ok == 1);
        StepReport report = step(&job);
        assert_explained(&job, &report, "the momentum of ");
        job_close(&job);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_weights),         cmocka_unit_test(bad_gradients),
        cmocka_unit_test(large_gradients),     cmocka_unit_test(bad_state),
        cmocka_unit_test(overflowing_updates), cmocka_unit_test(update_that_is_not_a_number),
        cmocka_unit_test(polar_methods_end),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
