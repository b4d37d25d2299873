#include "optim/polar/pipeline.h"

static bool has_momentum(const PolarOptions *o) {
    return o->momentum > 0 || o->momentum_warmup > 0;
}

// The second moment of a (rows, cols) matrix; resolves MOMENT_LONGER and normalize-only.
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

// Scratch of one batch: row sums, dots and factors in double, U, a copy of U (the input of the polar factor, for
// nuclear norms), and the scratch of the polar method.
typedef struct {
    int64_t sums, norm_sums, dots, factors, u, input, method, end; // byte offsets
} ScratchLayout;

static int64_t aligned(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

enum { MAX_BATCH_BYTES = 1 << 29, SMALL_MATRIX = 1 << 17 }; // of U, on a GPU; elements, on a CPU

static bool is_cpu(const Device *device) {
    return device == NULL || device->kind == DEVICE_CPU;
}

// On a CPU small matrices are computed by one thread each, in its cache, and others one after the other by all
// threads.
static bool by_one_thread(const PolarOptions *o, const Device *device, int64_t rows, int64_t cols) {
    return is_cpu(device) && rows * cols <= SMALL_MATRIX && o->polar && !o->polar->converges;
}

// The polar factors of `batch` matrices; batch is 1 in the result if they are computed one after the other.
static PolarProblem polar_problem(const PolarOptions *o, const Device *device, Type type, int64_t rows,
                                  int64_t cols, int batch) {
    bool by_thread = by_one_thread(o, device, rows, cols);
    return (PolarProblem){.one_thread_each = by_thread,
                          .method = o->polar,
                          .type = type,
                          .steps = o->polar_steps,
                          .norm_eps = o->polar_eps,
                          .rows = rows,
                          .cols = cols,
                          .batch = is_cpu(device) && !by_thread ? 1 : batch};
}

static ScratchLayout scratch_layout(const PolarOptions *o, const Device *device, Type type, int64_t rows,
                                    int64_t cols, int batch) {
    int64_t doubles = aligned(batch * rows * (int64_t)sizeof(double));
    int64_t matrix = aligned(batch * rows * cols * (int64_t)type_size(type));
    ScratchLayout l = {
        .sums = 0, .norm_sums = doubles, .dots = 2 * doubles, .factors = 3 * doubles, .u = 4 * doubles};
    l.input = l.u + matrix;
    l.method = l.input + (o->scale == SCALE_NUCLEAR ? matrix : 0);
    l.end = l.method;
    if (o->polar) {
        PolarProblem p = polar_problem(o, device, type, rows, cols, batch);
        l.end += aligned(polar_scratch_bytes(&p));
    }
    return l;
}

// The type of U, of the polar factor and of the GEMMs between them.
static Type factor_type(const PolarOptions *o, Type type) {
    return o->polar ? polar_factor_type(o->polar, type) : type_accumulate(type);
}

// Number of matrices of a view per batch. A GPU takes the whole view if it fits, but one matrix for methods with a
// convergence test, because a batch would iterate until all have converged. A CPU takes all small matrices, and of
// others one for every rank that shares them: more would only cost memory.
static int batch_count(const PolarOptions *o, const Device *device, Type type, const MatrixGroup *view) {
    int all = view->parts > 1 ? view->parts : view->count;
    int ranks = device && device->n_ranks > 1 ? device->n_ranks : 1;
    if (is_cpu(device) && !by_one_thread(o, device, view->rows, view->cols)) return ranks < all ? ranks : all;
    if (o->polar && o->polar->converges) return 1;
    int64_t bytes = view->rows * view->cols * (int64_t)type_size(factor_type(o, type));
    int64_t fit = MAX_BATCH_BYTES / bytes;
    return fit < 1 ? 1 : (int)(fit < all ? fit : all);
}

// Bytes of the stream's workspace for a batch of `count` matrices.
static int64_t stream_scratch(const PolarOptions *o, const OptimOps *ops, int count, int64_t rows, int64_t cols) {
    if (ops == NULL || ops->row_scratch == NULL) return 0;
    SecondMoment moment = matrix_moment(o, rows, cols);
    bool in_row_factors = moment == MOMENT_ROW && o->normalize == NORMALIZE_AFTER;
    int64_t bytes = ops->row_scratch(count, rows, cols), other = 0;
    if (o->row_norms || (moment != MOMENT_NONE && !in_row_factors))
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
    OptimizerScratch max = {0};
    for (int i = 0; i < n_groups; i++) {
        int count = batch_count(o, device, type, &groups[i]);
        int64_t own = scratch_layout(o, device, u_type, groups[i].rows, groups[i].cols, count).end;
        int64_t stream = stream_scratch(o, ops, count, groups[i].rows, groups[i].cols);
        if (own > max.own) max.own = own;
        if (stream > max.stream) max.stream = stream;
    }
    return max;
}

// One batch on its way through the stages. matrices.state[0] is the momentum (NULL: none), state[1] the second
// moments.
typedef struct {
    const OptimizerStep *step;
    const PolarOptions *options;
    Type type; // of u, input and the polar factor
    const OptimOps *ops;
    MatrixBatch matrices;
    SecondMoment moment;
    double *sums, *norm_sums, *dots, *factors;
    void *u, *input, *method_scratch;
} PolarBatch;

static PolarBatch polar_batch(const OptimizerStep *step, const MatrixBatch *matrices) {
    const PolarOptions *o = step->options;
    Type type = factor_type(o, step->type);
    ScratchLayout l =
        scratch_layout(o, step->stream->device, type, matrices->rows, matrices->cols, matrices->count);
    char *scratch = step->scratch;
    PolarBatch batch = {.step = step,
                        .options = o,
                        .type = type,
                        .ops = optim_ops(step->stream->device, type),
                        .matrices = *matrices,
                        .moment = matrix_moment(o, matrices->rows, matrices->cols),
                        .sums = (double *)(void *)(scratch + l.sums),
                        .norm_sums = (double *)(void *)(scratch + l.norm_sums),
                        .dots = (double *)(void *)(scratch + l.dots),
                        .factors = (double *)(void *)(scratch + l.factors),
                        .u = scratch + l.u,
                        .input = scratch + l.input,
                        .method_scratch = scratch + l.method};
    if (!has_momentum(o)) { // the second moments are the first declared state
        batch.matrices.state[1] = matrices->state[0];
        batch.matrices.state_stride[1] = matrices->state_stride[0];
        batch.matrices.state[0] = NULL;
    }
    return batch;
}

static void normalize_by_moment(const PolarBatch *batch, void *o, double *row_sums) {
    static const Normalization by[MOMENT_COUNT] = {
        [MOMENT_ROW] = NORMALIZE_ROWS, [MOMENT_COLUMN] = NORMALIZE_COLUMNS, [MOMENT_ELEMENT] = NORMALIZE_ELEMENTS};
    Normalize normalize = {.o = o,
                           .row_sums = row_sums,
                           .batch = &batch->matrices,
                           .by = by[batch->moment],
                           .eps = batch->options->eps};
    batch->ops->normalize(batch->step->stream, &normalize);
}

// Computes U, the input of the polar factor, from the gradient.
static void compute_input(const PolarBatch *batch) {
    const PolarOptions *o = batch->options;
    const OptimOps *ops = batch->ops;
    Stream *s = batch->step->stream;
    const MatrixBatch *matrices = &batch->matrices;
    MatrixBatch gradient = *matrices; // without momentum
    gradient.state[0] = NULL;
    PolarMomentum momentum = {.u = batch->u,
                              .row_sums = batch->sums,
                              .batch = o->polar_first ? &gradient : matrices,
                              .ema = o->ema,
                              .nesterov = o->nesterov};
    ops->polar_momentum(s, &momentum);
    CenterColumns center = {.o = batch->u,
                            .row_sums = batch->sums,
                            .count = matrices->count,
                            .rows = matrices->rows,
                            .cols = matrices->cols};
    if (o->center_columns) ops->center_columns(s, &center);
    if (o->row_norms) {
        Normalize normalize = {.o = batch->u,
                               .row_sums = batch->sums,
                               .batch = matrices,
                               .by = NORMALIZE_ROW_NORMS,
                               .eps = o->row_eps};
        ops->normalize(s, &normalize);
        if (o->center_columns) ops->center_columns(s, &center);
    }
    if (batch->moment != MOMENT_NONE && o->normalize == NORMALIZE_BEFORE)
        normalize_by_moment(batch, batch->u, batch->sums);
}

// Computes the polar factors of matrices [first, end) of the batch in place.
static void factors_in_place(const PolarBatch *batch, int first, int end) {
    const MatrixBatch *m = &batch->matrices;
    Stream *stream = batch->step->stream;
    size_t bytes = (size_t)(m->rows * m->cols) * type_size(batch->type);
    PolarProblem p = polar_problem(batch->options, stream->device, batch->type, m->rows, m->cols, end - first);
    p.stream = stream, p.ops = batch->ops;
    for (int i = first; i < end; i += p.batch) {
        char *u = (char *)batch->u + (size_t)i * bytes;
        const void *o = polar_factor(&p, u, batch->sums + i * m->rows, batch->method_scratch, NULL);
        if (o != u) device_copy(stream, u, o, (size_t)p.batch * bytes);
    }
}

// The polar factors of all matrices of the batch; of several ranks each computes its share.
static void *polar_factors(const PolarBatch *batch) {
    const MatrixBatch *m = &batch->matrices;
    Stream *stream = batch->step->stream;
    const OptimizerExchange *exchange = batch->step->exchange;
    if (exchange) {
        size_t begin[MAX_RANKS + 1], bytes = (size_t)(m->rows * m->cols) * type_size(batch->type);
        ASSERT(exchange->size <= MAX_RANKS);
        for (int r = 0; r <= exchange->size; r++) begin[r] = (size_t)(m->count * r / exchange->size) * bytes;
        factors_in_place(batch, m->count * exchange->rank / exchange->size,
                         m->count * (exchange->rank + 1) / exchange->size);
        exchange->gather(exchange->context, batch->u, begin);
        return batch->u;
    }
    PolarProblem p = polar_problem(batch->options, stream->device, batch->type, m->rows, m->cols, m->count);
    p.stream = stream, p.ops = batch->ops;
    if (p.batch == m->count) return polar_factor(&p, batch->u, batch->sums, batch->method_scratch, NULL);
    factors_in_place(batch, 0, m->count);
    return batch->u;
}

// Returns the polar factor of U, or its momentum with polar-first.
static void *compute_factor(const PolarBatch *batch) {
    const OptimizerStep *step = batch->step;
    const PolarOptions *options = batch->options;
    const MatrixBatch *matrices = &batch->matrices;
    if (!options->polar) return batch->u;
    bool nuclear = options->scale == SCALE_NUCLEAR;
    size_t bytes = (size_t)(matrices->count * matrices->rows * matrices->cols) * type_size(batch->type);
    if (nuclear) device_copy(step->stream, batch->input, batch->u, bytes);
    void *o = polar_factors(batch);
    RowDots dots = {.sums = batch->dots,
                    .a = batch->input,
                    .b = o,
                    .count = matrices->count,
                    .rows = matrices->rows,
                    .cols = matrices->cols};
    if (nuclear) batch->ops->row_dots(step->stream, &dots);
    if (options->polar_first)
        batch->ops->polar_average(step->stream, &(PolarAverage){.o = o, .batch = matrices, .ema = options->ema});
    return o;
}

static void update_weights(const PolarBatch *batch, void *factor) {
    const PolarOptions *o = batch->options;
    const OptimOps *ops = batch->ops;
    Stream *s = batch->step->stream;
    const MatrixBatch *matrices = &batch->matrices;
    RowScaling scaling = {
        .rule = o->scale, .rms = o->rms, .eps = o->eps, .power = o->nuclear_power, .row_dots = batch->dots};
    bool normalized = batch->moment != MOMENT_NONE && o->normalize == NORMALIZE_AFTER;
    scaling.normalize = normalized && batch->moment == MOMENT_ROW; // fused into row_factors
    bool needs_sums = normalized || scaling.rule == SCALE_RMS;
    double *sums = normalized && !scaling.normalize ? batch->norm_sums : batch->sums;
    RowSumSquares squares = {.sums = sums,
                             .x = factor,
                             .stride = matrices->rows * matrices->cols,
                             .count = matrices->count,
                             .rows = matrices->rows,
                             .cols = matrices->cols};
    if (needs_sums) ops->row_sum_squares(s, &squares);
    if (sums == batch->norm_sums) {
        normalize_by_moment(batch, factor, batch->sums);
        scaling.norm_sums = batch->norm_sums;
    }
    RowFactors factors = {.factors = batch->factors,
                          .row_sums = needs_sums ? batch->sums : NULL,
                          .batch = matrices,
                          .scaling = scaling};
    ops->row_factors(s, &factors);
    PolarUpdate update = {.batch = matrices,
                          .o = factor,
                          .factors = batch->factors,
                          .weight_decay = o->weight_decay,
                          .cautious = o->decay == DECAY_CAUTIOUS};
    ops->polar_update(s, &update);
}

void polar_step(const OptimizerStep *step) {
    const PolarOptions *o = step->options;
    for (int i = 0; i < step->n_views; i++) {
        const GroupView *view = &step->views[i];
        int count = batch_count(o, step->stream->device, step->type, &view->view);
        for (int first = 0; first < view->view.count;) {
            MatrixBatch matrices = step_batch(step, view, first, count);
            PolarBatch batch = polar_batch(step, &matrices);
            compute_input(&batch);
            update_weights(&batch, compute_factor(&batch));
            first += matrices.count;
        }
    }
}
