#include "optim/polar/pipeline.h"

#include <string.h>

const char *const POLAR_SCALE_NAMES[] = {[SCALE_SHAPE] = "shape",
                                         [SCALE_RMS] = "rms",
                                         [SCALE_MAX] = "max",
                                         [SCALE_SPECTRAL] = "spectral",
                                         [SCALE_FROBENIUS] = "frobenius",
                                         [SCALE_NUCLEAR] = "nuclear",
                                         [SCALE_COUNT] = NULL};

enum { DECAY_DECOUPLED, DECAY_CAUTIOUS, DECAY_COUNT };
const char *const POLAR_DECAY_NAMES[] = {
    [DECAY_DECOUPLED] = "decoupled", [DECAY_CAUTIOUS] = "cautious", [DECAY_COUNT] = NULL};

const char *const POLAR_MOMENT_NAMES[] = {
    [MOMENT_ROW] = "row",         [MOMENT_COLUMN] = "column", [MOMENT_LONGER] = "longer",
    [MOMENT_ELEMENT] = "element", [MOMENT_NONE] = "none",     [MOMENT_COUNT] = NULL};

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
    int scale = (int)group_setting(settings, "scale");
    bool adam = scale == SCALE_RMS || scale == SCALE_MAX;
    polar_settings_default(settings, "lr", adam ? 4e-4 : scale == SCALE_NUCLEAR ? 1e-3 : 0.02);
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
    if (group_setting(settings, "split-heads") != 0 && group_setting(settings, "split-qkv") == 0)
        return error_set(err, "split-heads needs split-qkv: turn one off or the other on");
    if (method->solves && device && !device_can_solve(device, err))
        return error_prefix(err, "polar %s", method->name);
    return true;
}

SplitLevel polar_settings_split(const GroupSettings *settings) {
    if (!group_has_setting(settings, "split-qkv") || group_setting(settings, "split-qkv") == 0) return SPLIT_NONE;
    return group_setting(settings, "split-heads") != 0 ? SPLIT_HEADS : SPLIT_ROWS;
}

bool polar_settings_wait(const GroupSettings *settings) {
    return settings_method(settings)->waits;
}

// The choices at the stations.
typedef struct {
    bool has_momentum, ema, nesterov, polar_first, center, row_norms, polar, cautious;
    double row_eps;
    SecondMoment moment;
    bool moment_first, tall_only;
    RowScaling scaling;
    double weight_decay;
} PolarChoices;

static double setting_or(const GroupSettings *settings, const char *name, double otherwise) {
    return group_has_setting(settings, name) ? group_setting(settings, name) : otherwise;
}

static PolarChoices polar_choices(const GroupSettings *s) {
    bool row_norms = group_has_setting(s, "row-eps");
    return (PolarChoices){.has_momentum =
                              group_setting(s, "momentum") > 0 || group_setting(s, "momentum-warmup") > 0,
                          .ema = group_setting(s, "ema") != 0,
                          .nesterov = group_setting(s, "nesterov") != 0,
                          .polar_first = setting_or(s, "polar-first", 0) != 0,
                          .center = setting_or(s, "center-columns", 0) != 0,
                          .row_norms = row_norms && setting_or(s, "row-norms", 1) != 0,
                          .row_eps = setting_or(s, "row-eps", 0),
                          .polar = group_has_setting(s, "polar"),
                          .moment = (SecondMoment)(int)setting_or(s, "second-moment", MOMENT_NONE),
                          .moment_first = (int)setting_or(s, "normalize", 0) != 0,
                          .tall_only = (int)setting_or(s, "normalize-only", 0) != 0,
                          .cautious = (int)group_setting(s, "decay") == DECAY_CAUTIOUS,
                          .scaling = {.rule = (ScaleRule)(int)setting_or(s, "scale", SCALE_FROBENIUS),
                                      .rms = setting_or(s, "rms", 0),
                                      .eps = setting_or(s, "eps", 0),
                                      .power = setting_or(s, "nuclear-power", 1)},
                          .weight_decay = group_setting(s, "weight-decay")};
}

// The moment of one (rows, cols) matrix: `longer` is that of the side with more entries, the rows of a square.
static SecondMoment matrix_moment(const PolarChoices *c, int64_t rows, int64_t cols) {
    if (c->tall_only && rows <= cols) return MOMENT_NONE;
    if (c->moment == MOMENT_LONGER) return rows >= cols ? MOMENT_ROW : MOMENT_COLUMN;
    return c->moment;
}

static StateSpec moment_spec(const PolarChoices *c, const Param *param, const RowSplit *splits, int n_splits,
                             Type type) {
    int64_t matrices = 0, longest = param->cols;
    for (int i = 0; i < n_splits; i++) {
        int64_t rows = splits[i].rows / splits[i].heads;
        matrices += splits[i].heads;
        if (rows > longest) longest = rows;
    }
    switch (c->moment) {
    case MOMENT_ROW:
        return (StateSpec){"row_moment", param->rows, 1, type, SHARD_PER_ROW};
    case MOMENT_COLUMN:
        return (StateSpec){"column_moment", matrices, param->cols, type, SHARD_OWNER_ONLY};
    case MOMENT_LONGER:
        return (StateSpec){"longer_moment", matrices, longest, type, SHARD_OWNER_ONLY};
    default:
        return (StateSpec){"element_moment", param->rows, param->cols, type, SHARD_AS_PARAM};
    }
}

int polar_declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const GroupSettings *settings,
                        Type acc_type) {
    PolarChoices c = polar_choices(settings);
    RowSplit splits[3];
    int n = 0, n_splits = param_splits(splits, param, polar_settings_split(settings));
    if (c.has_momentum) specs[n++] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    bool any = false;
    for (int i = 0; i < n_splits; i++)
        any = any || matrix_moment(&c, splits[i].rows / splits[i].heads, param->cols) != MOMENT_NONE;
    if (any) specs[n++] = moment_spec(&c, param, splits, n_splits, acc_type);
    return n;
}

// Scratch of one chunk: sums, factors and dots of rows in double, U, what it was before the polar factor was taken of it
// (for nuclear norms), and what the iteration needs.
typedef struct {
    int64_t sums, norm_sums, dots, factors, u, before, iteration, end; // byte offsets
} ChunkLayout;

static int64_t aligned(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
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

static ChunkLayout chunk_layout(const PolarChoices *c, const GroupSettings *settings, Type type, int64_t rows,
                                int64_t cols, int batch) {
    int64_t doubles = aligned(batch * rows * (int64_t)sizeof(double));
    int64_t matrix = aligned(batch * rows * cols * (int64_t)type_size(type));
    ChunkLayout l = {
        .sums = 0, .norm_sums = doubles, .dots = 2 * doubles, .factors = 3 * doubles, .u = 4 * doubles};
    l.before = l.u + matrix;
    l.iteration = l.before + (c->scaling.rule == SCALE_NUCLEAR ? matrix : 0);
    l.end = l.iteration;
    if (c->polar) {
        PolarProblem p = polar_problem(settings, type, rows, cols, batch);
        l.end += aligned(polar_scratch_bytes(&p));
    }
    return l;
}

// The type of U, of the polar factor and of what is between them.
static Type factor_type(const PolarChoices *c, const GroupSettings *settings, Type type) {
    return c->polar ? polar_factor_type(settings_method(settings), type) : type_accumulate(type);
}

enum { CHUNK_BYTES = 1 << 29 }; // of U, on a GPU

// Matrices of a view that are worked on at once. On the CPU every product uses all threads, so that more would only cost
// memory; a GPU takes a whole view where it can. Methods that stop by their data would go on until all have converged.
static int chunk_count(const PolarChoices *c, const GroupSettings *settings, const Device *device, Type type,
                       const MatrixGroup *view) {
    bool cpu = device == NULL || device->kind == DEVICE_CPU;
    if (cpu || (c->polar && settings_method(settings)->converges)) return 1;
    int64_t bytes = view->rows * view->cols * (int64_t)type_size(factor_type(c, settings, type));
    int64_t fit = CHUNK_BYTES / bytes, all = view->parts > 1 ? view->parts : view->count;
    return fit < 1 ? 1 : (int)(fit < all ? fit : all);
}

// Of the stream's scratch, for `count` matrices.
static int64_t chunk_stream_scratch(const PolarChoices *c, const OptimOps *ops, int count, int64_t rows,
                                    int64_t cols) {
    if (ops == NULL || ops->row_scratch == NULL) return 0;
    SecondMoment moment = matrix_moment(c, rows, cols);
    bool in_update = moment == MOMENT_ROW && !c->moment_first; // by row_factors
    int64_t bytes = ops->row_scratch(count, rows, cols), other = 0;
    if (c->row_norms || (moment != MOMENT_NONE && !in_update))
        other = ops->normalize_scratch(count, rows, cols, moment == MOMENT_COLUMN);
    if (other > bytes) bytes = other;
    if (c->center) other = ops->normalize_scratch(count, rows, cols, true);
    return other > bytes ? other : bytes;
}

OptimizerScratch polar_step_scratch(const MatrixGroup *groups, int n_groups, const GroupSettings *settings,
                                    const Device *device, Type type) {
    PolarChoices c = polar_choices(settings);
    Type u_type = factor_type(&c, settings, type);
    const OptimOps *ops = device ? optim_ops(device, u_type) : NULL;
    OptimizerScratch most = {0};
    for (int i = 0; i < n_groups; i++) {
        int count = chunk_count(&c, settings, device, type, &groups[i]);
        int64_t own = chunk_layout(&c, settings, u_type, groups[i].rows, groups[i].cols, count).end;
        int64_t stream = chunk_stream_scratch(&c, ops, count, groups[i].rows, groups[i].cols);
        if (own > most.own) most.own = own;
        if (stream > most.stream) most.stream = stream;
    }
    return most;
}

// What the stations of one chunk share. Its states stand at fixed places: 0 momentum, 1 second moments.
typedef struct {
    const OptimizerStep *step;
    const PolarChoices *choices;
    Type type; // of u, before and the polar factor
    const OptimOps *ops;
    MatrixBatch x;
    SecondMoment moment;
    double *sums, *norm_sums, *dots, *factors;
    void *u, *before, *iteration;
} Chunk;

static Chunk chunk_begin(const OptimizerStep *step, const PolarChoices *c, const MatrixBatch *x) {
    Type type = factor_type(c, step->settings, step->type);
    ChunkLayout l = chunk_layout(c, step->settings, type, x->rows, x->cols, x->count);
    char *scratch = step->scratch;
    Chunk k = {.step = step,
               .choices = c,
               .type = type,
               .ops = optim_ops(step->stream->device, type),
               .x = *x,
               .moment = matrix_moment(c, x->rows, x->cols),
               .sums = (double *)(void *)(scratch + l.sums),
               .norm_sums = (double *)(void *)(scratch + l.norm_sums),
               .dots = (double *)(void *)(scratch + l.dots),
               .factors = (double *)(void *)(scratch + l.factors),
               .u = scratch + l.u,
               .before = scratch + l.before,
               .iteration = scratch + l.iteration};
    if (!c->has_momentum) {
        k.x.state[1] = x->state[0], k.x.state_stride[1] = x->state_stride[0];
        k.x.state[0] = NULL;
    }
    return k;
}

static void normalize_by_moment(const Chunk *k, void *o, double *row_sums) {
    static const Normalization by[MOMENT_COUNT] = {
        [MOMENT_ROW] = NORMALIZE_ROWS, [MOMENT_COLUMN] = NORMALIZE_COLUMNS, [MOMENT_ELEMENT] = NORMALIZE_ELEMENTS};
    Normalize normalize = {
        .o = o, .row_sums = row_sums, .batch = &k->x, .by = by[k->moment], .eps = k->choices->scaling.eps};
    k->ops->normalize(k->step->stream, &normalize);
}

// U, from the gradient to what the polar factor is taken of.
static void chunk_momentum(const Chunk *k) {
    const PolarChoices *c = k->choices;
    const OptimOps *ops = k->ops;
    Stream *s = k->step->stream;
    const MatrixBatch *x = &k->x;
    MatrixBatch gradient = *x;
    gradient.state[0] = NULL;
    PolarMomentum momentum = {.u = k->u,
                              .row_sums = k->sums,
                              .batch = c->polar_first ? &gradient : x,
                              .ema = c->ema,
                              .nesterov = c->nesterov};
    ops->polar_momentum(s, &momentum);
    CenterColumns center = {.o = k->u, .row_sums = k->sums, .count = x->count, .rows = x->rows, .cols = x->cols};
    if (c->center) ops->center_columns(s, &center);
    if (c->row_norms) {
        Normalize normalize = {
            .o = k->u, .row_sums = k->sums, .batch = x, .by = NORMALIZE_ROW_NORMS, .eps = c->row_eps};
        ops->normalize(s, &normalize);
        if (c->center) ops->center_columns(s, &center);
    }
    if (k->moment != MOMENT_NONE && c->moment_first) normalize_by_moment(k, k->u, k->sums);
}

static void *chunk_factor(const Chunk *k) {
    const OptimizerStep *step = k->step;
    const MatrixBatch *x = &k->x;
    if (!k->choices->polar) return k->u;
    bool nuclear = k->choices->scaling.rule == SCALE_NUCLEAR;
    size_t bytes = (size_t)(x->count * x->rows * x->cols) * type_size(k->type);
    if (nuclear) device_copy(step->stream, k->before, k->u, bytes);
    PolarProblem p = polar_problem(step->settings, k->type, x->rows, x->cols, x->count);
    p.stream = step->stream, p.ops = k->ops;
    void *o = polar_factor(&p, k->u, k->sums, k->iteration, NULL);
    RowDots dots = {.sums = k->dots, .a = k->before, .b = o, .count = x->count, .rows = x->rows, .cols = x->cols};
    if (nuclear) k->ops->row_dots(step->stream, &dots);
    if (k->choices->polar_first)
        k->ops->polar_average(step->stream, &(PolarAverage){.o = o, .batch = x, .ema = k->choices->ema});
    return o;
}

static void chunk_update(const Chunk *k, void *o) {
    const PolarChoices *c = k->choices;
    const OptimOps *ops = k->ops;
    Stream *s = k->step->stream;
    const MatrixBatch *x = &k->x;
    RowScaling scaling = c->scaling;
    scaling.row_dots = k->dots;
    bool normalized = k->moment != MOMENT_NONE && !c->moment_first;
    scaling.normalize = normalized && k->moment == MOMENT_ROW; // by row_factors, in one pass with the update
    bool needs_sums = normalized || scaling.rule == SCALE_RMS;
    double *sums = normalized && !scaling.normalize ? k->norm_sums : k->sums;
    RowSumSquares squares = {
        .sums = sums, .x = o, .stride = x->rows * x->cols, .count = x->count, .rows = x->rows, .cols = x->cols};
    if (needs_sums) ops->row_sum_squares(s, &squares);
    if (sums == k->norm_sums) {
        normalize_by_moment(k, o, k->sums);
        scaling.norm_sums = k->norm_sums;
    }
    RowFactors factors = {
        .factors = k->factors, .row_sums = needs_sums ? k->sums : NULL, .batch = x, .scaling = scaling};
    ops->row_factors(s, &factors);
    PolarUpdate update = {
        .batch = x, .o = o, .factors = k->factors, .weight_decay = c->weight_decay, .cautious = c->cautious};
    ops->polar_update(s, &update);
}

void polar_step(const OptimizerStep *step) {
    PolarChoices c = polar_choices(step->settings);
    for (int i = 0; i < step->n_views; i++) {
        const GroupView *view = &step->views[i];
        int count = chunk_count(&c, step->settings, step->stream->device, step->type, &view->view);
        for (int first = 0; first < view->view.count;) {
            MatrixBatch x = step_batch(step, view, first, count);
            Chunk k = chunk_begin(step, &c, &x);
            chunk_momentum(&k);
            chunk_update(&k, chunk_factor(&k));
            first += x.count;
        }
    }
}
