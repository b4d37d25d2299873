#include "optim/polar_step.h"

#include <string.h>

const char *const POLAR_SCALE_NAMES[] = {
    [SCALE_SHAPE] = "shape", [SCALE_RMS] = "rms", [SCALE_MAX] = "max", [SCALE_COUNT] = NULL};

enum { DECAY_DECOUPLED, DECAY_CAUTIOUS, DECAY_COUNT };
const char *const POLAR_DECAY_NAMES[] = {
    [DECAY_DECOUPLED] = "decoupled", [DECAY_CAUTIOUS] = "cautious", [DECAY_COUNT] = NULL};

// Matrices orthogonalized at once. On the CPU every product uses all threads, so that more would only cost memory.
enum { POLAR_CHUNK = 1 };

static const PolarMethod *settings_method(const GroupSettings *settings) {
    int count;
    const PolarMethod *methods = polar_methods(&count);
    int method = (int)group_setting(settings, "polar");
    ASSERT(method >= 0 && method < count);
    return &methods[method];
}

void polar_settings_default(GroupSettings *settings, const char *name, double value) {
    for (int i = 0; i < settings->def->n_options; i++) {
        if (strcmp(settings->def->options[i].name, name) != 0) continue;
        if (!settings->set[i]) settings->values[i] = value;
        return;
    }
    ASSERT(!"the option exists");
}

void polar_settings_default_lr(GroupSettings *settings) {
    bool shape = (int)group_setting(settings, "scale") == SCALE_SHAPE;
    polar_settings_default(settings, "lr", shape ? 0.02 : 4e-4);
}

void polar_settings_resolve(GroupSettings *settings) {
    const PolarMethod *method = settings_method(settings);
    polar_settings_default(settings, "polar-steps", method->default_steps);
    polar_settings_default(settings, "polar-eps", method->norm_eps);
}

bool polar_settings_check(const GroupSettings *settings, const Device *device, Error *err) {
    const PolarMethod *method = settings_method(settings);
    int steps = (int)group_setting(settings, "polar-steps"), max = polar_max_steps(method);
    if (steps > max)
        return error_set(err,
                         "polar-steps is %d, but %s takes at most %d steps: take fewer, or a method that goes on "
                         "(ns5, polar-express, simple)",
                         steps, method->name, max);
    if (steps == 0 && !method->converges)
        return error_set(err, "polar-steps is 0, but %s does not see when it has converged: give a number of steps",
                         method->name);
    if (method->solves && device && !device_can_solve(device, err))
        return error_prefix(err, "polar %s", method->name);
    return true;
}

bool polar_settings_split(const GroupSettings *settings) {
    return group_setting(settings, "split-qkv") != 0;
}

// Scratch of one chunk: row sums and row factors in double, U, and what the iteration needs.
typedef struct {
    int64_t sums, factors, u, iteration, end; // byte offsets
} ChunkLayout;

static int64_t aligned(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static ChunkLayout chunk_layout(const PolarProblem *p) {
    int64_t element = (int64_t)type_size(p->type), doubles = aligned(p->batch * p->rows * (int64_t)sizeof(double));
    ChunkLayout l = {.sums = 0, .factors = doubles, .u = 2 * doubles};
    l.iteration = l.u + aligned(p->batch * p->rows * p->cols * element);
    l.end = l.iteration + aligned(polar_scratch_bytes(p));
    return l;
}

// What is asked of the polar method for `batch` matrices.
static PolarProblem polar_problem(const GroupSettings *settings, Type type, int64_t rows, int64_t cols, int batch) {
    return (PolarProblem){.method = settings_method(settings),
                          .type = type,
                          .steps = (int)group_setting(settings, "polar-steps"),
                          .norm_eps = group_setting(settings, "polar-eps"),
                          .rows = rows,
                          .cols = cols,
                          .batch = batch};
}

int64_t polar_step_scratch(const MatrixGroup *groups, int n_groups, const GroupSettings *settings, Type acc_type) {
    int64_t most = 0;
    for (int i = 0; i < n_groups; i++) {
        PolarProblem p = polar_problem(settings, acc_type, groups[i].rows, groups[i].cols, POLAR_CHUNK);
        int64_t bytes = chunk_layout(&p).end;
        if (bytes > most) most = bytes;
    }
    return most;
}

// The choices at the stations.
typedef struct {
    bool ema, nesterov, cautious;
    RowScaling scaling;
    double weight_decay;
} PolarChoices;

static void step_chunk(const OptimizerStep *step, const MatrixBatch *x, const PolarChoices *c) {
    const OptimOps *ops = step->ops;
    Stream *s = step->stream;
    int64_t rows = x->rows, cols = x->cols;
    PolarProblem p = polar_problem(step->settings, step->acc_type, rows, cols, x->count);
    ChunkLayout layout = chunk_layout(&p);
    char *scratch = step->scratch;
    double *sums = (double *)(void *)(scratch + layout.sums),
           *factors = (double *)(void *)(scratch + layout.factors);
    void *u = scratch + layout.u;

    ops->polar_momentum(s, u, sums, x, c->ema, c->nesterov);
    p.stream = s, p.ops = ops;
    void *o = polar_factor(&p, u, sums, scratch + layout.iteration, NULL);
    bool needs_sums = c->scaling.normalize || c->scaling.rule == SCALE_RMS;
    if (needs_sums) ops->row_sum_squares(s, sums, o, rows * cols, x->count, rows, cols);
    ops->row_factors(s, factors, needs_sums ? sums : NULL, x, &c->scaling);
    ops->polar_update(s, x, o, factors, c->weight_decay, c->cautious);
}

void polar_step(const OptimizerStep *step, bool normalize, double eps) {
    const GroupSettings *settings = step->settings;
    PolarChoices c = {.ema = group_setting(settings, "ema") != 0,
                      .nesterov = group_setting(settings, "nesterov") != 0,
                      .cautious = (int)group_setting(settings, "decay") == DECAY_CAUTIOUS,
                      .scaling = {.rule = (ScaleRule)(int)group_setting(settings, "scale"),
                                  .rms = group_setting(settings, "rms"),
                                  .normalize = normalize,
                                  .eps = eps},
                      .weight_decay = group_setting(settings, "weight-decay")};
    for (int i = 0; i < step->n_views; i++) {
        const GroupView *view = &step->views[i];
        for (int first = 0; first < view->view.count; first += POLAR_CHUNK) {
            MatrixBatch x = step_batch(step, view, first, POLAR_CHUNK);
            step_chunk(step, &x, &c);
        }
    }
}
