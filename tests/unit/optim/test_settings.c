// Optimizer options, registry, routing, state layout, and results that do not depend on the number of threads.
#include "tests/fixtures/optim_fixture.h"

#include "base/suggest.h"
#include "optim/ops.h"
#include "tests/fixtures/load_config.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static ParamGroupOptions defaults_of(const char *name) {
    Error err;
    ParamGroupOptions s;
    const OptimizerDef *def = optimizer_find(name, &err);
    assert_non_null(def);
    param_group_init(&s, def);
    return s;
}

static void expect_error(ParamGroupOptions *s, const char *name, const char *value, const char *text) {
    Error err = {""};
    ParamGroupOptions before = *s;
    assert_false(param_group_set(s, name, value, &err));
    assert_memory_equal(&before, s, sizeof before);
    if (!strstr(err.text, text)) fail_msg("\"%s\" does not contain \"%s\"", err.text, text);
    assert_null(strchr(err.text, '\n'));
}

static void bad_settings_are_refused(void **state) {
    (void)state;
    ParamGroupOptions s = defaults_of("normuon");
    expect_error(&s, "nestrov", "1", "did you mean 'nesterov'");
    expect_error(&s, "beta1", "0.9", "did you mean 'beta2'");
    expect_error(&s, "completely-else", "0.9", "it has lr, momentum");
    expect_error(&s, "lr", "-1", "between 0 and");
    expect_error(&s, "lr", "fast", "must be a number");
    expect_error(&s, "lr", "", "must be a number");
    expect_error(&s, "lr", "1e-3x", "must be a number");
    expect_error(&s, "lr", " 1", "must be a number");
    expect_error(&s, "lr", "nan", "must be a number");
    expect_error(&s, "lr", "inf", "must be a number");
    expect_error(&s, "momentum", "1", "between 0 and");
    expect_error(&s, "polar-steps", "-1", "between 0 and 100");
    expect_error(&s, "polar-steps", "2.5", "must be a whole number");
    expect_error(&s, "momentum-warmup", "99999999999999999999", "between 0 and");
    expect_error(&s, "form", "papr", "did you mean 'paper'");
    expect_error(&s, "polar", "polar-expres", "did you mean 'polar-express'");
    expect_error(&s, "scale", "zzz", "must be one of shape, rms");
    expect_error(&s, "nesterov", "maybe", "yes or no");
    Error err;
    assert_null(optimizer_find("nromuon", &err));
    assert_non_null(strstr(err.text, "did you mean 'normuon'"));
}

// A valid value of an option other than its default.
static void other_value(char text[64], const OptionSpec *option, int i) {
    switch (option->kind) {
    case KIND_NUMBER:
        snprintf(text, 64, "%.17g", fmin(option->max, 0.1 + 1.0 / 3 * (i + 1)));
        break;
    case KIND_YES_NO:
        strcpy(text, strcmp(option->def, "yes") == 0 ? "off" : "1");
        break;
    case KIND_ONE_OF:
    case KIND_ENTRY_OF:
        strcpy(text, option_word(option, strcmp(option->def, option_word(option, 0)) == 0));
        break;
    default:
        strcpy(text, "77");
    }
}

static void settings_read_back_as_written(void **state) {
    (void)state;
    int count;
    const OptimizerDef *const *registry = optimizer_registry(&count);
    for (int i = 0; i < count; i++) {
        ParamGroupOptions s = defaults_of(registry[i]->name), copy = s, defaults = s;
        int n = optimizer_option_count(s.def);
        for (int j = 0; j < n; j++) {
            const OptionSpec o = optimizer_option(s.def, j);
            const void *field = copy.values.bytes + o.offset;
            char text[64], again[64], before[64];
            Error err;
            other_value(text, &o, j);
            assert_false(param_group_given(&s, s.values.bytes + o.offset));
            assert_true(param_group_set(&s, o.name, text, &err));
            param_group_text(text, sizeof text, &s, j);
            param_group_text(before, sizeof before, &defaults, j);
            assert_string_not_equal(text, before);
            assert_true(param_group_set(&copy, o.name, text, &err));
            param_group_text(again, sizeof again, &copy, j);
            assert_string_equal(text, again);
            assert_true(param_group_given(&copy, field));
        }
        assert_memory_equal(&s.values, &copy.values, sizeof s.values);
    }
    ParamGroupOptions s = defaults_of("adamw");
    char text[64];
    param_group_text(text, sizeof text, &s, 0);
    assert_string_equal(text, "0.0003");
}

static void registry_is_consistent(void **state) {
    (void)state;
    int count;
    const OptimizerDef *const *registry = optimizer_registry(&count);
    for (int i = 0; i < count; i++) {
        const OptimizerDef *d = registry[i];
        Error err;
        assert_ptr_equal(optimizer_find(d->name, &err), d);
        assert_true(optimizer_option_count(d) > 0 && optimizer_option_count(d) <= 64);
        assert_string_equal(optimizer_option(d, 0).name, "lr");
        assert_true(d->summary && d->reference && d->declare_state && d->scalars && d->step);
        for (int j = 0; j < optimizer_option_count(d); j++) {
            const OptionSpec o = optimizer_option(d, j);
            assert_true(o.def && o.help);
            for (int k = 0; k < j; k++) assert_string_not_equal(o.name, optimizer_option(d, k).name);
        }
        // The defaults in the help are those of the default form.
        ParamGroupOptions s = defaults_of(d->name), resolved = s;
        if (d->resolve) d->resolve(&resolved);
        for (int j = 0; j < optimizer_option_count(d); j++) {
            char shown[64], used[64];
            param_group_text(shown, sizeof shown, &s, j);
            param_group_text(used, sizeof used, &resolved, j);
            assert_string_equal(shown, used);
        }
    }
}

static void form_sets_defaults_of_unset_options(void **state) {
    (void)state;
    Error err;
    ParamGroupOptions s = defaults_of("normuon");
    assert_true(param_group_set(&s, "form", "official", &err));
    assert_true(param_group_set(&s, "weight-decay", "0.3", &err));
    assert_true(param_group_set(&s, "polar", "simple", &err));
    s.def->resolve(&s);
    assert_string_equal(group_value(&s, "nesterov").text, "yes");
    assert_string_equal(group_value(&s, "lr").text, "0.02");
    assert_string_equal(group_value(&s, "weight-decay").text, "0.3");
    assert_string_equal(group_value(&s, "polar-steps").text, "12");
}

// The values that the kernels, the log and the diagnostics use.
static void rates_and_momentum_are_scheduled(void **state) {
    (void)state;
    Error err;
    ParamGroupOptions s = defaults_of("muon");
    assert_true(param_group_set(&s, "momentum-warmup", "10", &err));
    s.schedule = (Schedule){.kind = SCHEDULE_LINEAR, .warmup = 4};
    for (int64_t t = 0; t < 20; t++) {
        StepScalars scalars = {0};
        s.def->scalars(&scalars, s.values.bytes, t);
        double momentum = t >= 10 ? 0.95 : (1 - (double)t / 10) * 0.85 + (double)t / 10 * 0.95;
        assert_true(scalars.momentum == momentum && scalars.beta1 == 0 && scalars.beta2 == 0);
        assert_true(scheduled_lr(&s, t, 20) == 0.02 * schedule_factor(&s.schedule, t, 20));
    }
}

static bool check(const char *hidden, const char *others, Error *err) {
    ParamGroupOptions settings[GROUP_COUNT];
    ModelConfig config = fixture_config(9);
    ParamTable table;
    param_table_init(&table, &config);
    fixture_settings(settings, hidden, others);
    bool ok = optimizer_check(NULL, &table, settings, err);
    param_table_free(&table);
    return ok;
}

static void routing_is_checked(void **state) {
    (void)state;
    Error err = {""};
    assert_true(check("normuon", "adamw", &err));
    assert_false(check("adamw", "muon", &err)); // the others include vectors
    assert_non_null(strstr(err.text, "--vector-optimizer muon supports only matrices"));
    assert_false(check("muon polar=you5 polar-steps=6", "adamw", &err));
    assert_non_null(strstr(err.text, "hidden"));
    assert_non_null(strstr(err.text, "at most 5 steps"));
    assert_true(check("muon polar=polar-express polar-steps=9", "adamw", &err));
}

static void states_follow_their_parameters(void **state) {
    (void)state;
    Fixture f;
    fixture_open(&f, TYPE_F32, 9, "normuon", "adamw");
    int64_t bytes = 0, planned, scratch;
    for (int i = 0; i < optimizer_state_count(f.optimizer); i++) {
        StateTensor s = optimizer_state(f.optimizer, i);
        char name[128];
        snprintf(name, sizeof name, "%s.%s", s.spec.name, s.param->name);
        assert_string_equal(s.name, name);
        assert_int_equal(s.spec.rows, s.param->rows);
        assert_int_equal(s.spec.cols, strcmp(s.spec.name, "row_moment") ? s.param->cols : 1);
        bytes += s.spec.rows * s.spec.cols * (int64_t)type_size(s.spec.type);
        // Every byte is writable (checked by the address sanitizer).
        memset(s.data, 0, (size_t)(s.spec.rows * s.spec.cols) * type_size(s.spec.type));
        for (int j = 0; j < i; j++) assert_string_not_equal(s.name, optimizer_state(f.optimizer, j).name);
    }
    ParamGroupOptions settings[GROUP_COUNT];
    fixture_settings(settings, "normuon", "adamw");
    optimizer_memory(&planned, &scratch, f.device, &f.table, settings, TYPE_F32);
    assert_true(planned >= bytes && planned < 4 * bytes + 65536 && scratch > 0);
    optimizer_set_applied(f.optimizer, f.stream, 17);
    fixture_step(&f, 0, 10, 1);
    assert_true(optimizer_applied(f.optimizer, f.stream) == 18);
    assert_true(optimizer_report(f.optimizer, f.stream).bias_correction1[GROUP_EMBED] == 1 - pow(0.9, 18));
    fixture_close(&f);
}

// q, k, v splits are only views: state tensors in a checkpoint keep their names, shapes and momentum.
static void states_do_not_depend_on_the_split(void **state) {
    (void)state;
    Fixture f[2];
    for (int i = 0; i < 2; i++) {
        fixture_open(&f[i], TYPE_F32, 9, i ? "muon split-qkv=false" : "muon", "adamw");
        fixture_fill(&f[i], f[i].grads, f[i].ref_grads, 0.1, 5);
        fixture_step(&f[i], 0, 10, 1);
    }
    assert_int_equal(optimizer_state_count(f[0].optimizer), optimizer_state_count(f[1].optimizer));
    for (int i = 0; i < optimizer_state_count(f[0].optimizer); i++) {
        StateTensor a = optimizer_state(f[0].optimizer, i), b = optimizer_state(f[1].optimizer, i);
        assert_string_equal(a.name, b.name);
        assert_memory_equal(a.data, b.data, (size_t)(a.spec.rows * a.spec.cols) * sizeof(float));
    }
    for (int i = 0; i < 2; i++) fixture_close(&f[i]);
}

// AdamW and SGD, the gradient norm, and the operations of the polar family, at sizes that run in parallel. (The GEMMs
// between them belong to the BLAS library and are not tested.)
static void threads_do_not_change_bits(void **state) {
    (void)state;
    enum { W = 130 };
    const int64_t n = 128 * W;
    for (int f64 = 0; f64 < 2; f64++) {
        Fixture f[2];
        void *u[2];
        double *sums[2], *factors[2];
        size_t bytes = (size_t)n * (f64 ? 8 : 4);
        for (int i = 0; i < 2; i++) {
            fixture_open(&f[i], f64 ? TYPE_F64 : TYPE_F32, W, "adamw", "sgd");
            omp_set_num_threads(i + 1);
            fixture_fill(&f[i], f[i].master, f[i].ref, 0.5, 1);
            fixture_fill(&f[i], f[i].grads, f[i].ref_grads, 0.5, 2);
            for (int t = 0; t < 3; t++) fixture_step(&f[i], t, 10, 1);

            const OptimOps *ops = optim_ops(f[i].device, f[i].type);
            StepInputs inputs = {.lr = {0.1}, .momentum = {0.9}, .beta2 = {0.95}};
            StepReport report = {.ok = 1, .clip_scale = 0.5};
            u[i] = calloc(1, bytes);
            sums[i] = calloc(128, sizeof(double));
            factors[i] = calloc(128, sizeof(double));
            void *momentum = calloc(1, bytes), *moments = calloc(1, 128 * sizeof(double));
            MatrixBatch x = {.count = 1,
                             .rows = 128,
                             .cols = W,
                             .stride = n,
                             .master = f[i].master,
                             .weights = f[i].master,
                             .grads = f[i].grads,
                             .state = {momentum, moments},
                             .state_stride = {n, 128},
                             .inputs = &inputs,
                             .report = &report};
            RowScaling scaling = {.rule = SCALE_RMS, .rms = 0.2, .normalize = true, .eps = 1e-10};
            ops->polar_momentum(
                f[i].stream,
                &(PolarMomentum){.u = u[i], .row_sums = sums[i], .batch = &x, .ema = true, .nesterov = true});
            ops->polar_scale(
                f[i].stream,
                &(PolarScale){
                    .x = u[i], .row_sums = sums[i], .count = 1, .rows = 128, .cols = W, .factor = 1, .eps = 1e-7});
            ops->row_sum_squares(
                f[i].stream,
                &(RowSumSquares){.sums = sums[i], .x = u[i], .stride = n, .count = 1, .rows = 128, .cols = W});
            ops->row_factors(
                f[i].stream,
                &(RowFactors){.factors = factors[i], .row_sums = sums[i], .batch = &x, .scaling = scaling});
            ops->polar_update(
                f[i].stream,
                &(PolarUpdate){
                    .batch = &x, .o = u[i], .factors = factors[i], .weight_decay = 0.1, .cautious = true});
            free(momentum), free(moments);
        }
        assert_memory_equal(f[0].master, f[1].master, fixture_bytes(&f[0]));
        assert_memory_equal(u[0], u[1], bytes);
        assert_memory_equal(sums[0], sums[1], 128 * sizeof(double));
        assert_memory_equal(factors[0], factors[1], 128 * sizeof(double));
        StepReport a = optimizer_report(f[0].optimizer, f[0].stream),
                   b = optimizer_report(f[1].optimizer, f[1].stream);
        assert_memory_equal(&a, &b, sizeof a);
        for (int i = 0; i < 2; i++) {
            free(u[i]), free(sums[i]), free(factors[i]);
            fixture_close(&f[i]);
        }
    }
}

static void nearest_names(void **state) {
    (void)state;
    static const char *const names[] = {"adamw", "sgd", "muon", "normuon"};
    assert_string_equal(suggest_name("adam", names, 4), "adamw");
    assert_string_equal(suggest_name("mou", names, 4), "muon");
    assert_string_equal(suggest_name("gsd", names, 4), "sgd");
    assert_string_equal(suggest_name("muon", names, 4), "muon");
    assert_null(suggest_name("lion", names, 1));
    assert_null(suggest_name("", names, 4));
    assert_null(suggest_name("a", names, 0));
    char word[200];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = 0;
    assert_null(suggest_name(word, names, 4));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_settings_are_refused),         cmocka_unit_test(settings_read_back_as_written),
        cmocka_unit_test(registry_is_consistent),           cmocka_unit_test(form_sets_defaults_of_unset_options),
        cmocka_unit_test(rates_and_momentum_are_scheduled), cmocka_unit_test(routing_is_checked),
        cmocka_unit_test(states_follow_their_parameters),   cmocka_unit_test(states_do_not_depend_on_the_split),
        cmocka_unit_test(threads_do_not_change_bits),       cmocka_unit_test(nearest_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
