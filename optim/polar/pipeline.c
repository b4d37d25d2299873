#include "optim/polar/pipeline.h"

static const OptionChoice SCALES[] = {
    {"shape", SCALE_SHAPE},         {"rms", SCALE_RMS},         {"max", SCALE_MAX}, {"spectral", SCALE_SPECTRAL},
    {"frobenius", SCALE_FROBENIUS}, {"nuclear", SCALE_NUCLEAR}, {NULL, 0}};
static const OptionChoice DECAYS[] = {{"decoupled", DECAY_DECOUPLED}, {"cautious", DECAY_CAUTIOUS}, {NULL, 0}};
static const OptionChoice MOMENTS[] = {{"row", MOMENT_ROW},       {"column", MOMENT_COLUMN},
                                       {"longer", MOMENT_LONGER}, {"element", MOMENT_ELEMENT},
                                       {"none", MOMENT_NONE},     {NULL, 0}};
static const OptionChoice WHEN[] = {{"after", NORMALIZE_AFTER}, {"before", NORMALIZE_BEFORE}, {NULL, 0}};
static const OptionChoice ONLY[] = {{"all", NORMALIZE_ALL}, {"tall", NORMALIZE_TALL}, {NULL, 0}};
static const OptionChoice FORMS[] = {{"paper", FORM_PAPER}, {"official", FORM_OFFICIAL}, {NULL, 0}};

#define OPTIONS_OF PolarOptions
static const OptionSpec option_rows[] = {
    OPTION_NUMBER("lr", lr, "0.02", 0, 1e9, .help = "learning rate"),
    OPTION_NUMBER("momentum", momentum, "0.95", 0, 0.999999, .help = "decay of the momentum; 0: none"),
    OPTION_INT64("momentum-warmup", momentum_warmup, "0", 0, 1e15,
                 .help = "steps over which the momentum grows to its value"),
    OPTION_NUMBER("momentum-start", momentum_start, "0.85", 0, 0.999999,
                  .help = "momentum at step 0 of its warm-up"),
    OPTION_FLAG("ema", ema, "yes", .help = "M = b M + (1 - b) G rather than b M + G"),
    OPTION_FLAG("nesterov", nesterov, "no", .help = "look ahead by one gradient"),
    {.name = "polar",
     .kind = KIND_ENTRY_OF,
     .offset = offsetof(PolarOptions, polar),
     .entries = POLAR_METHODS,
     .entry_size = sizeof *POLAR_METHODS,
     .help = "method for the polar factor"},
    OPTION_INT("polar-steps", polar_steps, "0", 0, 100,
               .help = "steps of that method (its own number); 0: until it converges"),
    OPTION_NUMBER("polar-eps", polar_eps, "1e-30", 1e-30, 1,
                  .help = "added to the norm that the momentum is divided by before that method (its own number)"),
    OPTION_FLAG("split-qkv", split_qkv, "no", .help = "query, key and value rows are matrices of their own"),
    OPTION_FLAG("split-heads", split_heads, "no", .help = "so are the rows of each of their heads"),
    OPTION_FLAG("polar-first", polar_first, "no",
                .help = "average polar factors of gradients rather than take that of the average"),
    OPTION_FLAG("center-columns", center_columns, "no",
                .help =
                    "take its mean over the rows from every column, before all else and after row norms (a head's "
                    "logits do not see it)"),
    OPTION_FLAG("row-norms", row_norms, "no", .help = "divide rows by their norms first"),
    OPTION_NUMBER("row-eps", row_eps, "1e-8", 1e-30, 1, .help = "added to the norms of the rows"),
    OPTION_ONE_OF("form", form, "paper", FORMS, .help = "Algorithm 1 of the paper, or the released code"),
    OPTION_NUMBER("beta2", beta2, "0", 0, 0.999999, .help = "decay of the second moment"),
    OPTION_NUMBER("eps", eps, "1e-10", 1e-30, 1, .help = "added to the root of the second moment"),
    OPTION_ONE_OF("second-moment", second_moment, "none", MOMENTS,
                  .help =
                      "what has one: each row (output neuron), each column, whichever of the two are more, each "
                      "element, nothing"),
    OPTION_ONE_OF("normalize", normalize, "after", WHEN, .help = "by it after or before orthogonalization"),
    OPTION_ONE_OF("normalize-only", normalize_only, "all", ONLY,
                  .help = "all matrices, or those with more rows than columns: the others have Muon's update"),
    OPTION_ONE_OF("scale", scale, "frobenius", SCALES,
                  .help =
                      "factor on the polar factor: sqrt(max(1, rows/cols)); what makes its root mean square --rms; "
                      "--rms sqrt(max(rows, cols)); sqrt(rows/cols); 1; the nuclear norm of its matrix"),
    OPTION_NUMBER("rms", rms, "0.2", 0, 1e9,
                  .help = "root mean square of the update at lr 1, for the scales rms and max"),
    OPTION_NUMBER("nuclear-power", nuclear_power, "1", 0, 10,
                  .help = "power of the nuclear norm, for the scale nuclear"),
    OPTION_NUMBER("weight-decay", weight_decay, "0", 0, 1e9, .help = "weight decay"),
    OPTION_ONE_OF("decay", decay, "decoupled", DECAYS,
                  .help = "on every element, or only where it helps the update"),
};
const OptionTable polar_options = OPTION_TABLE(option_rows);

void polar_resolve(ParamGroupOptions *group) {
    PolarOptions *o = (void *)group->values.bytes;
    bool adam = o->scale == SCALE_RMS || o->scale == SCALE_MAX;
    if (!param_group_given(group, &o->lr)) o->lr = adam ? 4e-4 : o->scale == SCALE_NUCLEAR ? 1e-3 : 0.02;
    if (!param_group_given(group, &o->polar_steps)) o->polar_steps = o->polar->default_steps;
    if (!param_group_given(group, &o->polar_eps)) o->polar_eps = o->polar->norm_eps;
}

bool polar_check(const void *options, const Device *device, Error *err) {
    const PolarOptions *o = options;
    int max = polar_max_steps(o->polar);
    if (o->polar_steps > max)
        return error_set(err,
                         "polar-steps is %d, but %s takes at most %d steps: take fewer, or a method that goes on "
                         "(ns5, polar-express, simple)",
                         o->polar_steps, o->polar->name, max);
    if (o->polar_steps == 0 && !o->polar->converges)
        return error_set(err, "polar-steps is 0, but %s does not see when it has converged: give a number of steps",
                         o->polar->name);
    if (o->split_heads && !o->split_qkv)
        return error_set(err, "split-heads needs split-qkv: turn one off or the other on");
    if (o->polar->solves && device && !device_can_solve(device, err))
        return error_prefix(err, "polar %s", o->polar->name);
    return true;
}

SplitLevel polar_splits(const void *options) {
    const PolarOptions *o = options;
    return !o->split_qkv ? SPLIT_NONE : o->split_heads ? SPLIT_HEADS : SPLIT_ROWS;
}

bool polar_needs_host_sync(const void *options) {
    const PolarOptions *o = options;
    return o->polar && o->polar->needs_host_sync;
}

// The momentum grows linearly from momentum-start over the first momentum-warmup steps (modded-nanogpt).
void polar_scalars(StepScalars *scalars, const void *options, int64_t t) {
    const PolarOptions *o = options;
    *scalars = (StepScalars){.lr = o->lr, .momentum = o->momentum, .beta2 = o->beta2};
    if (t >= o->momentum_warmup) return;
    double done = (double)t / (double)o->momentum_warmup;
    scalars->momentum = (1 - done) * o->momentum_start + done * o->momentum;
}

WeightDecay polar_weight_decay(const void *options) {
    const PolarOptions *o = options;
    return (WeightDecay){.rate = o->weight_decay, .cautious = o->decay == DECAY_CAUTIOUS};
}

static bool has_momentum(const PolarOptions *o) {
    return o->momentum > 0 || o->momentum_warmup > 0;
}

// The moment of one (rows, cols) matrix: `longer` is that of the side with more entries, the rows of a square.
static SecondMoment matrix_moment(const PolarOptions *o, int64_t rows, int64_t cols) {
    if (o->normalize_only == NORMALIZE_TALL && rows <= cols) return MOMENT_NONE;
    if (o->second_moment == MOMENT_LONGER) return rows >= cols ? MOMENT_ROW : MOMENT_COLUMN;
    return o->second_moment;
}

static StateSpec moment_spec(const PolarOptions *o, const Param *param, const RowSplit *splits, int n_splits,
                             Type type) {
    int64_t matrices = 0, longest = param->cols;
    for (int i = 0; i < n_splits; i++) {
        int64_t rows = splits[i].rows / splits[i].heads;
        matrices += splits[i].heads;
        if (rows > longest) longest = rows;
    }
    switch (o->second_moment) {
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

int polar_declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options,
                        Type acc_type) {
    const PolarOptions *o = options;
    RowSplit splits[3];
    int n = 0, n_splits = param_splits(splits, param, polar_splits(o));
    if (has_momentum(o)) specs[n++] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    bool any = false;
    for (int i = 0; i < n_splits; i++)
        any = any || matrix_moment(o, splits[i].rows / splits[i].heads, param->cols) != MOMENT_NONE;
    if (any) specs[n++] = moment_spec(o, param, splits, n_splits, acc_type);
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
static PolarProblem polar_problem(const PolarOptions *o, Type type, int64_t rows, int64_t cols, int batch) {
    return (PolarProblem){.method = o->polar,
                          .type = type,
                          .steps = o->polar_steps,
                          .norm_eps = o->polar_eps,
                          .rows = rows,
                          .cols = cols,
                          .batch = batch};
}

static ChunkLayout chunk_layout(const PolarOptions *o, Type type, int64_t rows, int64_t cols, int batch) {
    int64_t doubles = aligned(batch * rows * (int64_t)sizeof(double));
    int64_t matrix = aligned(batch * rows * cols * (int64_t)type_size(type));
    ChunkLayout l = {
        .sums = 0, .norm_sums = doubles, .dots = 2 * doubles, .factors = 3 * doubles, .u = 4 * doubles};
    l.before = l.u + matrix;
    l.iteration = l.before + (o->scale == SCALE_NUCLEAR ? matrix : 0);
    l.end = l.iteration;
    if (o->polar) {
        PolarProblem p = polar_problem(o, type, rows, cols, batch);
        l.end += aligned(polar_scratch_bytes(&p));
    }
    return l;
}

// The type of U, of the polar factor and of what is between them.
static Type factor_type(const PolarOptions *o, Type type) {
    return o->polar ? polar_factor_type(o->polar, type) : type_accumulate(type);
}

enum { CHUNK_BYTES = 1 << 29 }; // of U, on a GPU

// Matrices of a view that are worked on at once. On the CPU every product uses all threads, so that more would only cost
// memory; a GPU takes a whole view where it can. Methods that stop by their data would go on until all have converged.
static int chunk_count(const PolarOptions *o, const Device *device, Type type, const MatrixGroup *view) {
    bool cpu = device == NULL || device->kind == DEVICE_CPU;
    if (cpu || (o->polar && o->polar->converges)) return 1;
    int64_t bytes = view->rows * view->cols * (int64_t)type_size(factor_type(o, type));
    int64_t fit = CHUNK_BYTES / bytes, all = view->parts > 1 ? view->parts : view->count;
    return fit < 1 ? 1 : (int)(fit < all ? fit : all);
}

// Of the stream's scratch, for `count` matrices.
static int64_t chunk_stream_scratch(const PolarOptions *o, const OptimOps *ops, int count, int64_t rows,
                                    int64_t cols) {
    if (ops == NULL || ops->row_scratch == NULL) return 0;
    SecondMoment moment = matrix_moment(o, rows, cols);
    bool in_update = moment == MOMENT_ROW && o->normalize == NORMALIZE_AFTER; // by row_factors
    int64_t bytes = ops->row_scratch(count, rows, cols), other = 0;
    if (o->row_norms || (moment != MOMENT_NONE && !in_update))
        other = ops->normalize_scratch(count, rows, cols, moment == MOMENT_COLUMN);
    if (other > bytes) bytes = other;
    if (o->center_columns) other = ops->normalize_scratch(count, rows, cols, true);
    return other > bytes ? other : bytes;
}

OptimizerScratch polar_step_scratch(const MatrixGroup *groups, int n_groups, const void *options,
                                    const Device *device, Type type) {
    const PolarOptions *o = options;
    Type u_type = factor_type(o, type);
    const OptimOps *ops = device ? optim_ops(device, u_type) : NULL;
    OptimizerScratch most = {0};
    for (int i = 0; i < n_groups; i++) {
        int count = chunk_count(o, device, type, &groups[i]);
        int64_t own = chunk_layout(o, u_type, groups[i].rows, groups[i].cols, count).end;
        int64_t stream = chunk_stream_scratch(o, ops, count, groups[i].rows, groups[i].cols);
        if (own > most.own) most.own = own;
        if (stream > most.stream) most.stream = stream;
    }
    return most;
}

// What the stations of one chunk share. Its states stand at fixed places: 0 momentum, 1 second moments.
typedef struct {
    const OptimizerStep *step;
    const PolarOptions *options;
    Type type; // of u, before and the polar factor
    const OptimOps *ops;
    MatrixBatch x;
    SecondMoment moment;
    double *sums, *norm_sums, *dots, *factors;
    void *u, *before, *iteration;
} Chunk;

static Chunk chunk_begin(const OptimizerStep *step, const MatrixBatch *x) {
    const PolarOptions *o = step->options;
    Type type = factor_type(o, step->type);
    ChunkLayout l = chunk_layout(o, type, x->rows, x->cols, x->count);
    char *scratch = step->scratch;
    Chunk k = {.step = step,
               .options = o,
               .type = type,
               .ops = optim_ops(step->stream->device, type),
               .x = *x,
               .moment = matrix_moment(o, x->rows, x->cols),
               .sums = (double *)(void *)(scratch + l.sums),
               .norm_sums = (double *)(void *)(scratch + l.norm_sums),
               .dots = (double *)(void *)(scratch + l.dots),
               .factors = (double *)(void *)(scratch + l.factors),
               .u = scratch + l.u,
               .before = scratch + l.before,
               .iteration = scratch + l.iteration};
    if (!has_momentum(o)) {
        k.x.state[1] = x->state[0], k.x.state_stride[1] = x->state_stride[0];
        k.x.state[0] = NULL;
    }
    return k;
}

static void normalize_by_moment(const Chunk *k, void *o, double *row_sums) {
    static const Normalization by[MOMENT_COUNT] = {
        [MOMENT_ROW] = NORMALIZE_ROWS, [MOMENT_COLUMN] = NORMALIZE_COLUMNS, [MOMENT_ELEMENT] = NORMALIZE_ELEMENTS};
    Normalize normalize = {
        .o = o, .row_sums = row_sums, .batch = &k->x, .by = by[k->moment], .eps = k->options->eps};
    k->ops->normalize(k->step->stream, &normalize);
}

// U, from the gradient to what the polar factor is taken of.
static void chunk_momentum(const Chunk *k) {
    const PolarOptions *o = k->options;
    const OptimOps *ops = k->ops;
    Stream *s = k->step->stream;
    const MatrixBatch *x = &k->x;
    MatrixBatch gradient = *x;
    gradient.state[0] = NULL;
    PolarMomentum momentum = {.u = k->u,
                              .row_sums = k->sums,
                              .batch = o->polar_first ? &gradient : x,
                              .ema = o->ema,
                              .nesterov = o->nesterov};
    ops->polar_momentum(s, &momentum);
    CenterColumns center = {.o = k->u, .row_sums = k->sums, .count = x->count, .rows = x->rows, .cols = x->cols};
    if (o->center_columns) ops->center_columns(s, &center);
    if (o->row_norms) {
        Normalize normalize = {
            .o = k->u, .row_sums = k->sums, .batch = x, .by = NORMALIZE_ROW_NORMS, .eps = o->row_eps};
        ops->normalize(s, &normalize);
        if (o->center_columns) ops->center_columns(s, &center);
    }
    if (k->moment != MOMENT_NONE && o->normalize == NORMALIZE_BEFORE) normalize_by_moment(k, k->u, k->sums);
}

static void *chunk_factor(const Chunk *k) {
    const OptimizerStep *step = k->step;
    const PolarOptions *options = k->options;
    const MatrixBatch *x = &k->x;
    if (!options->polar) return k->u;
    bool nuclear = options->scale == SCALE_NUCLEAR;
    size_t bytes = (size_t)(x->count * x->rows * x->cols) * type_size(k->type);
    if (nuclear) device_copy(step->stream, k->before, k->u, bytes);
    PolarProblem p = polar_problem(options, k->type, x->rows, x->cols, x->count);
    p.stream = step->stream, p.ops = k->ops;
    void *o = polar_factor(&p, k->u, k->sums, k->iteration, NULL);
    RowDots dots = {.sums = k->dots, .a = k->before, .b = o, .count = x->count, .rows = x->rows, .cols = x->cols};
    if (nuclear) k->ops->row_dots(step->stream, &dots);
    if (options->polar_first)
        k->ops->polar_average(step->stream, &(PolarAverage){.o = o, .batch = x, .ema = options->ema});
    return o;
}

static void chunk_update(const Chunk *k, void *factor) {
    const PolarOptions *o = k->options;
    const OptimOps *ops = k->ops;
    Stream *s = k->step->stream;
    const MatrixBatch *x = &k->x;
    RowScaling scaling = {
        .rule = o->scale, .rms = o->rms, .eps = o->eps, .power = o->nuclear_power, .row_dots = k->dots};
    bool normalized = k->moment != MOMENT_NONE && o->normalize == NORMALIZE_AFTER;
    scaling.normalize = normalized && k->moment == MOMENT_ROW; // by row_factors, in one pass with the update
    bool needs_sums = normalized || scaling.rule == SCALE_RMS;
    double *sums = normalized && !scaling.normalize ? k->norm_sums : k->sums;
    RowSumSquares squares = {.sums = sums,
                             .x = factor,
                             .stride = x->rows * x->cols,
                             .count = x->count,
                             .rows = x->rows,
                             .cols = x->cols};
    if (needs_sums) ops->row_sum_squares(s, &squares);
    if (sums == k->norm_sums) {
        normalize_by_moment(k, factor, k->sums);
        scaling.norm_sums = k->norm_sums;
    }
    RowFactors factors = {
        .factors = k->factors, .row_sums = needs_sums ? k->sums : NULL, .batch = x, .scaling = scaling};
    ops->row_factors(s, &factors);
    PolarUpdate update = {.batch = x,
                          .o = factor,
                          .factors = k->factors,
                          .weight_decay = o->weight_decay,
                          .cautious = o->decay == DECAY_CAUTIOUS};
    ops->polar_update(s, &update);
}

void polar_step(const OptimizerStep *step) {
    const PolarOptions *o = step->options;
    for (int i = 0; i < step->n_views; i++) {
        const GroupView *view = &step->views[i];
        int count = chunk_count(o, step->stream->device, step->type, &view->view);
        for (int first = 0; first < view->view.count;) {
            MatrixBatch x = step_batch(step, view, first, count);
            Chunk k = chunk_begin(step, &x);
            chunk_momentum(&k);
            chunk_update(&k, chunk_factor(&k));
            first += x.count;
        }
    }
}
