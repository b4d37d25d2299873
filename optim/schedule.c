#include "optim/schedule.h"

#include "base/suggest.h"

#include <math.h>
#include <string.h>

static const char *const NAMES[SCHEDULE_COUNT] = {"constant", "linear", "cosine", "wsd"};
static const double PI = 3.14159265358979323846;

const char *schedule_name(ScheduleKind kind) {
    ASSERT(kind >= 0 && kind < SCHEDULE_COUNT);
    return NAMES[kind];
}

bool schedule_parse(ScheduleKind *kind, const char *text, Error *err) {
    for (int i = 0; i < SCHEDULE_COUNT; i++) {
        if (strcmp(text, NAMES[i]) == 0) {
            *kind = (ScheduleKind)i;
            return true;
        }
    }
    const char *near = nearest_name(text, NAMES, SCHEDULE_COUNT);
    return error_set(err, "unknown schedule \"%s\"%s%s%s: there are constant, linear, cosine and wsd", text,
                     near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

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
