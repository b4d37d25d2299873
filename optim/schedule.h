// optim/schedule.h - learning-rate schedules: a factor in [0, 1] for each step.
#ifndef POLAR_OPTIM_SCHEDULE_H
#define POLAR_OPTIM_SCHEDULE_H

#include "base/options.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// After a linear warm-up over `warmup` steps (factor (t + 1) / warmup at step t, as in llm.c):
//   constant  1
//   linear    from 1 to `final` at step `total`
//   cosine    from 1 to `final` along half a cosine
//   wsd       1, then linear to `final` over the last `cooldown` (a fraction of all steps)
// All are multiplied by decay_factor every decay_every steps, unless decay_every is 0.
typedef enum { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_WSD, SCHEDULE_COUNT } ScheduleKind;
extern const OptionChoice SCHEDULE_NAMES[];

typedef struct {
    ScheduleKind kind;
    int64_t warmup;  // steps
    double cooldown; // fraction of all steps, wsd only
    double final;    // factor reached at step == total
    int64_t decay_every;
    double decay_factor;
} Schedule;

// The options "schedule", "warmup", "cooldown" and "final-lr".
extern const OptionTable schedule_options;

// The factor for step t of `total` (0-based; at t == total it would be `final`).
double schedule_factor(const Schedule *schedule, int64_t t, int64_t total);

#ifdef __cplusplus
}
#endif
#endif
