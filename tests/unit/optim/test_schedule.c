#include "optim/schedule.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static void near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-15)) fail_msg("%.17g, expected %.17g", value, expected);
}

static void warmup_grows_to_one(void **state) {
    (void)state;
    for (int kind = 0; kind < SCHEDULE_COUNT; kind++) {
        Schedule s = {.kind = (ScheduleKind)kind, .warmup = 4, .cooldown = 0.25};
        for (int t = 0; t < 4; t++) near(schedule_factor(&s, t, 100), (t + 1) / 4.0);
        near(schedule_factor(&s, 4, 100), 1);
    }
}

static void constant_stays(void **state) {
    (void)state;
    Schedule s = {.kind = SCHEDULE_CONSTANT, .final = 0.1};
    near(schedule_factor(&s, 0, 10), 1);
    near(schedule_factor(&s, 9, 10), 1);
}

static void linear_reaches_final(void **state) {
    (void)state;
    Schedule s = {.kind = SCHEDULE_LINEAR, .warmup = 20, .final = 0.1};
    near(schedule_factor(&s, 20, 120), 1);
    near(schedule_factor(&s, 70, 120), 0.55);
    near(schedule_factor(&s, 120, 120), 0.1);
    near(schedule_factor(&s, 500, 120), 0.1); // training past the end
}

// llm.c: warm-up 700, cosine to 0 at the last of 19560 steps.
static void cosine_reaches_final(void **state) {
    (void)state;
    Schedule s = {.kind = SCHEDULE_COSINE, .warmup = 700};
    near(schedule_factor(&s, 700, 19560), 1);
    near(schedule_factor(&s, 700 + (19560 - 700) / 2, 19560), 0.5);
    near(schedule_factor(&s, 19560, 19560), 0);
    near(schedule_factor(&s, 5415, 19560), 0.5 * (1 + cos(3.14159265358979323846 * 0.25)));
    s.final = 0.1;
    near(schedule_factor(&s, 19560, 19560), 0.1);
}

// The public benchmark: 1 before 0.3 of the steps, then (1 - t/total) / 0.7.
static void wsd_is_flat_then_linear(void **state) {
    (void)state;
    Schedule s = {.kind = SCHEDULE_WSD, .cooldown = 0.7};
    near(schedule_factor(&s, 0, 1000), 1);
    near(schedule_factor(&s, 300, 1000), 1);
    near(schedule_factor(&s, 301, 1000), (1 - 0.301) / 0.7);
    near(schedule_factor(&s, 999, 1000), 0.001 / 0.7);
    near(schedule_factor(&s, 1000, 1000), 0);
    s.cooldown = 0;
    near(schedule_factor(&s, 999, 1000), 1);
}

static void degenerate_lengths_are_finite(void **state) {
    (void)state;
    for (int kind = 0; kind < SCHEDULE_COUNT; kind++) {
        Schedule s = {.kind = (ScheduleKind)kind, .warmup = 10, .cooldown = 1};
        for (int total = 0; total < 12; total++) {
            for (int t = 0; t <= total; t++) {
                double factor = schedule_factor(&s, t, total);
                assert_true(factor >= 0 && factor <= 1);
            }
        }
    }
}

static void names_parse(void **state) {
    (void)state;
    Error err;
    Schedule s;
    const OptionSpec *spec = option_find(&schedule_options, "schedule");
    for (const OptionChoice *c = SCHEDULE_NAMES; c->name; c++) {
        assert_true(option_set(&s, spec, c->name, &err));
        assert_int_equal(s.kind, c->value);
    }
    assert_false(option_set(&s, spec, "cosin", &err));
    assert_non_null(strstr(err.text, "did you mean 'cosine'"));
    assert_false(option_set(&s, spec, "", &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warmup_grows_to_one),
        cmocka_unit_test(constant_stays),
        cmocka_unit_test(linear_reaches_final),
        cmocka_unit_test(cosine_reaches_final),
        cmocka_unit_test(wsd_is_flat_then_linear),
        cmocka_unit_test(degenerate_lengths_are_finite),
        cmocka_unit_test(names_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
