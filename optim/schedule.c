#include "optim/schedule.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

const OptionChoice SCHEDULE_NAMES[] = {{"constant", SCHEDULE_CONSTANT},
                                       {"linear", SCHEDULE_LINEAR},
                                       {"cosine", SCHEDULE_COSINE},
                                       {"wsd", SCHEDULE_WSD},
                                       {NULL, 0}};

#define OPTIONS_OF Schedule
static const OptionSpec options[] = {
    OPTION_ONE_OF("schedule", kind, "constant", SCHEDULE_NAMES,
                  .help = "learning rate after the warm-up: constant, falling to --final-lr along a line or a "
                          "cosine, or constant until the last --cooldown of the steps and then falling along a "
                          "line (wsd: warm-up, stable, decay)"),
    OPTION_INT64("warmup", warmup, "0", 0, 1e15,
                 .help = "steps in which the learning rate rises from 0 along a line"),
    OPTION_NUMBER("cooldown", cooldown, "0.4", 0, 1,
                  .help = "wsd: fraction of all steps in which the learning rate falls"),
    OPTION_NUMBER("final-lr", final, "0", 0, 1, .help = "final learning rate, as a fraction of lr"),
};

const OptionTable schedule_options = OPTION_TABLE(options);

static double kind_factor(const Schedule *schedule, int64_t t, int64_t total) {
    if (t < schedule->warmup) return (double)(t + 1) / (double)schedule->warmup;
    if (schedule->kind == SCHEDULE_CONSTANT) return 1;

    double left; // 1 at the start of the decay, 0 at step `total`
    if (schedule->kind == SCHEDULE_WSD) {
        double cooldown = schedule->cooldown * (double)total;
        left = cooldown > 0 ? (double)(total - t) / cooldown : 1;
    } else {
        left = total > schedule->warmup ? (double)(total - t) / (double)(total - schedule->warmup) : 0;
    }
    left = fmin(1, fmax(0, left));
    if (schedule->kind == SCHEDULE_COSINE) left = 0.5 * (1 - cos(PI * left));
    return schedule->final + (1 - schedule->final) * left;
}

double schedule_factor(const Schedule *schedule, int64_t t, int64_t total) {
    double factor = kind_factor(schedule, t, total);
    if (schedule->decay_every == 0) return factor;
    return factor * pow(schedule->decay_factor, (double)(t / schedule->decay_every));
}
