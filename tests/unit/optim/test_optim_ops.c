// Each optimizer operation on every instance (type, instruction set, device), against references in double: single
// elements, rows of several tiles, batches with gaps between matrices.
#include "optim/ops.h"
#include "tests/fixtures/ops_check.h"

typedef struct {
    int count;
    int64_t rows, cols, gap;
} Shape;

static const Shape shapes[] = {{3, 1, 1, 4}, {2, 5, 131, 7}, {1, 70, 33, 0}, {2, 2, 8300, 8}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static const StepInputs inputs = {.lr = {[GROUP_HIDDEN] = 0.01, [GROUP_HEAD] = 9},
                                  .momentum = {0.9},
                                  .beta1 = {0.8},
                                  .beta2 = {0.95},
                                  .max_grad_norm = 1,
                                  .loss_scale = 0.5,
                                  .loss_limit = 10};
static const StepReport report = {
    .applied = 3, .bias_correction1 = {0.488}, .bias_correction2 = {0.142625}, .clip_scale = 0.75, .ok = 1};

// One batch in double: arrays of `count` matrices with a stride; o is dense.
typedef struct {
    Shape shape;
    int64_t stride, n, dense;
    double *master, *grads, *first, *second, *o;
} Case;

static Case make_case(Shape shape) {
    Case c = {.shape = shape, .stride = shape.rows * shape.cols + shape.gap};
    c.n = shape.count * c.stride, c.dense = shape.count * shape.rows * shape.cols;
    c.master = draw(c.n, 0, 1), c.grads = draw(c.n, 0, 1), c.first = draw(c.n, 0, 1), c.second = draw(c.n, 0, 1);
    c.o = draw(c.dense, 0, 1);
    for (int64_t i = 0; i < c.n; i++) c.second[i] = fabs(c.second[i]);
    return c;
}

static const OptimOps *ops_of(const Instance *in) {
    return optim_ops(in->stream->device, in->type); // for_each_instance selected the instruction set
}

static MatrixBatch batch_of(const Instance *in, const Case *c) {
    MatrixBatch x = {.count = c->shape.count,
                     .rows = c->shape.rows,
                     .cols = c->shape.cols,
                     .stride = c->stride,
                     .master = typed(in->acc, c->master, c->n),
                     .weights_type = in->type,
                     .grads = typed(in->acc, c->grads, c->n),
                     .state = {typed(in->acc, c->first, c->n), typed(in->acc, c->second, c->n)},
                     .state_stride = {c->stride, c->stride},
                     .inputs = on_device(TYPE_F64, &inputs, sizeof inputs / sizeof(double)),
                     .report = on_device(TYPE_F64, &report, sizeof report / sizeof(double))};
    x.weights = in->type == in->acc ? x.master : typed(in->type, NULL, c->n);
    return x;
}

// Index, in an array with gaps, of element i of a dense array.
static int64_t in_batch(const Case *c, int64_t i) {
    int64_t size = c->shape.rows * c->shape.cols;
    return i / size * c->stride + i % size;
}

static double *copy_of(const double *x, int64_t n) {
    double *y = case_doubles(n);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

// Checks that weights of another type are the master weights rounded to nearest.
static void expect_copies(const Instance *in, const Case *c, const MatrixBatch *x) {
    if (x->weights == x->master) return;
    const double *master = values_of(x->master, c->n), *weights = values_of(x->weights, c->n);
    for (int64_t i = 0; i < c->dense; i++) {
        int64_t at = in_batch(c, i);
        if (weights[at] != as_stored(in->type, master[at])) fail_msg("%s: weight %lld", in->name, (long long)i);
    }
}

// Compares sums of at most `terms` terms, which are double for every instance.
static void expect_sums(const Instance *in, const char *what, const double *data, const double *ref, int64_t n,
                        int64_t terms) {
    Instance doubles = *in;
    doubles.type = TYPE_F64;
    expect(&doubles, what, data, ref, n, (double)terms + 8, 0);
}

// Row sums of squares of the current contents of an array.
static double *squares_of(const void *data, int64_t lines, int64_t cols) {
    const double *x = values_of(data, lines * cols);
    double *sums = case_doubles(lines);
    for (int64_t i = 0; i < lines * cols; i++) sums[i / cols] += x[i] * x[i];
    return sums;
}

// ---- elementwise updates ----

static void check_adamw(const Instance *in) {
    const double eps = 1e-3, decay = 0.1;
    for (int i = 0; i < SHAPES; i++) {
        Case c = make_case(shapes[i]);
        double *p = copy_of(c.master, c.n), *m = copy_of(c.first, c.n), *v = copy_of(c.second, c.n);
        for (int64_t k = 0; k < c.dense; k++) {
            int64_t at = in_batch(&c, k);
            double g = report.clip_scale * c.grads[at];
            m[at] = 0.8 * m[at] + 0.2 * g;
            v[at] = 0.95 * v[at] + 0.05 * g * g;
            p[at] -= 0.01 * (m[at] / 0.488 / (sqrt(v[at] / 0.142625) + eps) + decay * p[at]);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            ops_of(in)->adamw_update(in->stream, &(ElementUpdate){.batch = &x, .eps = eps, .weight_decay = decay});
            // Each has a few roundings of numbers near 1; the quotient, at most a few hundred, is multiplied by 0.01.
            expect(in, "adamw m", x.state[0], m, c.n, 4, 1);
            expect(in, "adamw v", x.state[1], v, c.n, 4, 1);
            expect(in, "adamw p", x.master, p, c.n, 20, 1);
            expect_copies(in, &c, &x);
            run_end();
        }
        case_end();
    }
}

static void check_sgd(const Instance *in) {
    for (int kind = 0; kind < 3 * SHAPES; kind++) { // plain, momentum, Nesterov
        Case c = make_case(shapes[kind / 3]);
        bool has_momentum = kind % 3 > 0, nesterov = kind % 3 == 2;
        double *p = copy_of(c.master, c.n), *b = copy_of(c.first, c.n);
        for (int64_t k = 0; k < c.dense; k++) {
            int64_t at = in_batch(&c, k);
            double d = report.clip_scale * c.grads[at] + 0.1 * p[at];
            if (has_momentum) b[at] = 0.9 * b[at] + d;
            p[at] -= 0.01 * (!has_momentum ? d : nesterov ? d + 0.9 * b[at] : b[at]);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            void *state = x.state[0];
            if (!has_momentum) x.state[0] = NULL;
            ops_of(in)->sgd_update(in->stream,
                                   &(ElementUpdate){.batch = &x, .nesterov = nesterov, .weight_decay = 0.1});
            expect(in, "sgd b", state, b, c.n, 4, 2);
            expect(in, "sgd p", x.master, p, c.n, 4, 1);
            expect_copies(in, &c, &x);
            run_end();
        }
        case_end();
    }
}

// Changes elements whose sign would be decided by rounding, and zeroes momentum and gradient of the first, whose sign
// is then 0.
static void make_signs_certain(Case *c, double momentum, double gradient) {
    for (int64_t k = 0; k < c->dense; k++) {
        int64_t at = in_batch(c, k);
        if (fabs(momentum * c->first[at] + gradient * report.clip_scale * c->grads[at]) < 1e-4) c->first[at] = 2;
    }
    c->grads[0] = c->first[0] = 0;
}

static void check_lion(const Instance *in) {
    for (int i = 0; i < SHAPES; i++) {
        Case c = make_case(shapes[i]);
        make_signs_certain(&c, 0.8, 0.2);
        double *p = copy_of(c.master, c.n), *m = copy_of(c.first, c.n);
        for (int64_t k = 0; k < c.dense; k++) {
            int64_t at = in_batch(&c, k);
            double g = report.clip_scale * c.grads[at], u = 0.8 * m[at] + 0.2 * g;
            p[at] -= 0.01 * ((u > 0) - (u < 0) + 0.1 * p[at]);
            m[at] = 0.95 * m[at] + 0.05 * g;
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            ops_of(in)->lion_update(in->stream, &(ElementUpdate){.batch = &x, .weight_decay = 0.1});
            expect(in, "lion m", x.state[0], m, c.n, 4, 1);
            expect(in, "lion p", x.master, p, c.n, 4, 1);
            expect_copies(in, &c, &x);
            run_end();
        }
        case_end();
    }
}

static void check_signum(const Instance *in) {
    for (int kind = 0; kind < 2 * SHAPES; kind++) { // without momentum, with
        Case c = make_case(shapes[kind / 2]);
        bool has_momentum = kind % 2;
        make_signs_certain(&c, 0.9, 0.1);
        double *p = copy_of(c.master, c.n), *m = copy_of(c.first, c.n);
        for (int64_t k = 0; k < c.dense; k++) {
            int64_t at = in_batch(&c, k);
            double g = report.clip_scale * c.grads[at], u = g;
            if (has_momentum) u = m[at] = 0.9 * m[at] + 0.1 * g;
            p[at] -= 0.01 * ((u > 0) - (u < 0) + 0.1 * p[at]);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            void *state = x.state[0];
            if (!has_momentum) x.state[0] = NULL;
            ops_of(in)->signum_update(in->stream, &(ElementUpdate){.batch = &x, .weight_decay = 0.1});
            expect(in, "signum m", state, m, c.n, 4, 1);
            expect(in, "signum p", x.master, p, c.n, 4, 1);
            expect_copies(in, &c, &x);
            run_end();
        }
        case_end();
    }
}

// ---- the polar family ----

static void check_momentum(const Instance *in) {
    for (int kind = 0; kind < 4 * SHAPES; kind++) {
        Case c = make_case(shapes[kind / 4]);
        bool ema = kind % 2, nesterov = kind % 4 / 2;
        double *m = copy_of(c.first, c.n), *u = case_doubles(c.dense), *plain = case_doubles(c.dense);
        for (int64_t k = 0; k < c.dense; k++) {
            int64_t at = in_batch(&c, k);
            double g = report.clip_scale * c.grads[at], part = ema ? 0.1 : 1;
            m[at] = 0.9 * m[at] + part * g;
            u[k] = nesterov ? part * g + 0.9 * m[at] : m[at];
            plain[k] = g;
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            int64_t lines = x.count * x.rows;
            void *out = typed(in->type, NULL, c.dense), *state = x.state[0];
            double *sums = typed(TYPE_F64, NULL, lines);
            ops_of(in)->polar_momentum(
                in->stream,
                &(PolarMomentum){.u = out, .row_sums = sums, .batch = &x, .ema = ema, .nesterov = nesterov});
            expect(in, "momentum", state, m, c.n, 4, 2);
            expect(in, "momentum u", out, u, c.dense, 6, 2);
            expect_sums(in, "momentum sums", sums, squares_of(out, lines, x.cols), lines, x.cols);
            x.state[0] = NULL;
            ops_of(in)->polar_momentum(
                in->stream,
                &(PolarMomentum){.u = out, .row_sums = sums, .batch = &x, .ema = ema, .nesterov = nesterov});
            expect(in, "gradient", out, plain, c.dense, 2, 0);
            expect_sums(in, "gradient sums", sums, squares_of(out, lines, x.cols), lines, x.cols);
            run_end();
        }
        case_end();
    }
}

static void check_scale(const Instance *in) {
    for (int i = 0; i < SHAPES; i++) {
        Case c = make_case(shapes[i]);
        int64_t lines = c.shape.count * c.shape.rows, cols = c.shape.cols, size = c.shape.rows * cols;
        double *scaled = case_doubles(c.dense), *sums_ref = case_doubles(lines), *dots_ref = case_doubles(lines);
        double *other = draw(c.dense, 0, 1), *average = case_doubles(c.dense), *state = copy_of(c.first, c.n);
        for (int64_t r = 0; r < lines; r++) {
            long double squares = 0, products = 0;
            for (int64_t k = r * cols; k < (r + 1) * cols; k++) {
                squares += (long double)c.o[k] * c.o[k];
                products += (long double)c.o[k] * other[k];
            }
            sums_ref[r] = (double)squares, dots_ref[r] = (double)products;
        }
        for (int64_t k = 0; k < c.dense; k++) {
            average[k] = state[in_batch(&c, k)] = 0.9 * c.first[in_batch(&c, k)] + 0.1 * c.o[k];
        }
        for (int64_t k = 0; k < c.dense; k++) {
            long double norm = 0;
            for (int64_t r = 0; r < c.shape.rows; r++) norm += sums_ref[k / size * c.shape.rows + r];
            scaled[k] = (double)(c.o[k] / (sqrtl(norm) * 1.02 + 0.125));
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            void *o = typed(in->type, c.o, c.dense), *b = typed(in->type, other, c.dense);
            MatrixBatch x = batch_of(in, &c);
            double *sums = typed(TYPE_F64, NULL, lines), *dots = typed(TYPE_F64, NULL, lines);
            ops_of(in)->row_sum_squares(
                in->stream,
                &(RowSumSquares){
                    .sums = sums, .x = o, .stride = size, .count = x.count, .rows = x.rows, .cols = cols});
            expect_sums(in, "row_sum_squares", sums, sums_ref, lines, cols);
            ops_of(in)->row_dots(
                in->stream,
                &(RowDots){.sums = dots, .a = o, .b = b, .count = x.count, .rows = x.rows, .cols = cols});
            Instance doubles = *in; // the sums may cancel; terms are about 1
            doubles.type = TYPE_F64;
            expect(&doubles, "row_dots", dots, dots_ref, lines, (double)cols, (double)cols);
            ops_of(in)->polar_average(
                in->stream,
                &(PolarAverage){.o = b, .batch = &x, .ema = true}); // a different factor; only updates the state
            void *again = typed(in->type, c.o, c.dense);
            MatrixBatch y = batch_of(in, &c);
            ops_of(in)->polar_average(in->stream, &(PolarAverage){.o = again, .batch = &y, .ema = true});
            expect(in, "average", again, average, c.dense, 4, 1);
            expect(in, "average state", y.state[0], state, c.n, 4, 1);
            ops_of(in)->polar_scale(in->stream, &(PolarScale){.x = o,
                                                              .row_sums = sums,
                                                              .count = x.count,
                                                              .rows = x.rows,
                                                              .cols = cols,
                                                              .factor = 1.02,
                                                              .eps = 0.125});
            // In double the error of row sums of up to 8300 terms, in 16 or more lanes, counts too.
            expect(in, "polar_scale", o, scaled, c.dense, in->type == TYPE_F64 ? 4 + (double)cols / 16 : 4, 0);
            run_end();
        }
        case_end();
    }
}

// Row factors of one matrix; updates v if it normalizes.
static void reference_factors(double *factors, double *v, const double *sums, const double *dots,
                              const double *norm_sums, int64_t rows, int64_t cols, const RowScaling *s) {
    double squares = 0, given = 0, dot = 0, scale = sqrt(fmax(1, (double)rows / (double)cols));
    for (int64_t r = 0; r < rows; r++) {
        if (s->normalize) v[r] = 0.95 * v[r] + 0.05 * sums[r] / (double)cols;
        factors[r] = s->normalize ? 1 / (sqrt(v[r]) + s->eps) : 1;
        squares += sums[r] * factors[r] * factors[r];
        given += s->normalize ? sums[r] : norm_sums[r];
        dot += dots[r];
    }
    if (s->rule == SCALE_MAX) scale = s->rms * sqrt((double)(rows > cols ? rows : cols));
    if (s->rule == SCALE_SPECTRAL) scale = sqrt((double)rows / (double)cols);
    if (s->rule == SCALE_FROBENIUS) scale = 1;
    if (s->rule == SCALE_NUCLEAR) scale = pow(dot, s->power);
    if (s->rule == SCALE_RMS) scale = s->rms * sqrt((double)(rows * cols) / squares);
    else if (s->normalize || s->norm_sums) scale *= sqrt(given) / (sqrt(squares) + 1e-10);
    for (int64_t r = 0; r < rows; r++) factors[r] *= scale;
}

static void check_factors(const Instance *in) {
    for (int kind = 0; kind < 3 * SCALE_COUNT * SHAPES; kind++) { // plain, normalized here, normalized before
        Case c = make_case(shapes[kind / 3 % SHAPES]);
        int how = kind % 3;
        int64_t rows = c.shape.rows, lines = c.shape.count * rows;
        double *sums = draw(lines, 3, 0.5), *dots = draw(lines, 2, 0.5), *norm_sums = draw(lines, 2, 0.5);
        double *v = copy_of(c.second, c.n), *ref = case_doubles(lines);
        RowScaling s = {.rule = (ScaleRule)(kind / 3 / SHAPES), .rms = 0.2, .eps = 1e-10, .power = 0.5};
        s.normalize = how == 1;
        for (int j = 0; j < c.shape.count; j++) {
            s.norm_sums = how == 2 ? norm_sums : NULL;
            reference_factors(ref + j * rows, v + j * c.stride, sums + j * rows, dots + j * rows,
                              norm_sums + j * rows, rows, c.shape.cols, &s);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            double *factors = typed(TYPE_F64, NULL, lines);
            s.row_dots = typed(TYPE_F64, dots, lines);
            s.norm_sums = how == 2 ? typed(TYPE_F64, norm_sums, lines) : NULL;
            ops_of(in)->row_factors(in->stream, &(RowFactors){.factors = factors,
                                                              .row_sums = typed(TYPE_F64, sums, lines),
                                                              .batch = &x,
                                                              .scaling = s});
            // The factors are computed from the rounded moments.
            expect(in, "row_factors", factors, ref, lines, 4, 0);
            expect(in, "row_factors v", x.state[1], v, c.n, 2, 0);
            run_end();
        }
        case_end();
    }
}

static void check_update(const Instance *in) {
    for (int kind = 0; kind < 2 * SHAPES; kind++) {
        Case c = make_case(shapes[kind / 2]);
        bool cautious = kind % 2;
        int64_t lines = c.shape.count * c.shape.rows;
        double *factors = draw(lines, 1, 0.5), *p = copy_of(c.master, c.n);
        for (int64_t k = 0; k < c.dense; k++) {
            double *at = p + in_batch(&c, k), decay = cautious && c.o[k] * *at < 0 ? 0 : 0.1;
            *at -= 0.01 * (decay * *at + factors[k / c.shape.cols] * c.o[k]);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            void *o = typed(in->type, c.o, c.dense);
            ops_of(in)->polar_update(in->stream, &(PolarUpdate){.batch = &x,
                                                                .o = o,
                                                                .factors = typed(TYPE_F64, factors, lines),
                                                                .weight_decay = 0.1,
                                                                .cautious = cautious});
            expect(in, "polar_update", x.master, p, c.n, 2, 1);
            expect_copies(in, &c, &x);
            run_end();
        }
        case_end();
    }
}

// ---- centering and normalization ----

static void check_center(const Instance *in) {
    for (int i = 0; i < SHAPES; i++) {
        Case c = make_case(shapes[i]);
        int64_t rows = c.shape.rows, cols = c.shape.cols, lines = c.shape.count * rows;
        double *centered = case_doubles(c.dense);
        for (int64_t k = 0; k < c.dense; k++) {
            long double sum = 0;
            for (int64_t r = 0; r < rows; r++) sum += c.o[(k / (rows * cols) * rows + r) * cols + k % cols];
            centered[k] = (double)(c.o[k] - sum / rows);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            void *o = typed(in->type, c.o, c.dense);
            double *sums = typed(TYPE_F64, NULL, lines);
            ops_of(in)->center_columns(
                in->stream,
                &(CenterColumns){.o = o, .row_sums = sums, .count = c.shape.count, .rows = rows, .cols = cols});
            expect(in, "center_columns", o, centered, c.dense, 2, 0);
            expect_sums(in, "center_columns sums", sums, squares_of(o, lines, cols), lines, cols);
            run_end();
        }
        case_end();
    }
}

static void check_normalize(const Instance *in) {
    for (int kind = 0; kind < 4 * SHAPES; kind++) {
        Case c = make_case(shapes[kind / 4]);
        Normalization by = (Normalization)(kind % 4);
        int64_t rows = c.shape.rows, cols = c.shape.cols, lines = c.shape.count * rows, size = rows * cols;
        double *sums_ref = case_doubles(lines), *columns = case_doubles(c.shape.count * cols);
        double *out = case_doubles(c.dense), *v = copy_of(c.second, c.n);
        for (int64_t k = 0; k < c.dense; k++) {
            sums_ref[k / cols] += c.o[k] * c.o[k];
            columns[k / size * cols + k % cols] += c.o[k] * c.o[k];
        }
        for (int64_t k = 0; k < c.dense; k++) {
            int64_t j = k / size, r = k % size / cols, col = k % cols;
            int64_t at = j * c.stride + (by == NORMALIZE_ROWS ? r : by == NORMALIZE_COLUMNS ? col : k % size);
            double mean = by == NORMALIZE_ROWS      ? sums_ref[k / cols] / (double)cols
                          : by == NORMALIZE_COLUMNS ? columns[j * cols + col] / (double)rows
                                                    : c.o[k] * c.o[k];
            double moment = by == NORMALIZE_ROW_NORMS ? sums_ref[k / cols] : 0.95 * c.second[at] + 0.05 * mean;
            if (by != NORMALIZE_ROW_NORMS) v[at] = moment;
            out[k] = c.o[k] / (sqrt(moment) + 1e-3);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            MatrixBatch x = batch_of(in, &c);
            void *o = typed(in->type, c.o, c.dense);
            double *sums = typed(TYPE_F64, sums_ref, lines);
            ops_of(in)->normalize(in->stream,
                                  &(Normalize){.o = o, .row_sums = sums, .batch = &x, .by = by, .eps = 1e-3});
            expect(in, "normalize", o, out, c.dense, 4, 0);
            expect(in, "normalize v", x.state[1], v, c.n, 2, 0);
            expect_sums(in, "normalize sums", sums, squares_of(o, lines, cols), lines, cols);
            run_end();
        }
        case_end();
    }
}

// ---- the step ----

// A loss within the limit, NaN, above the limit; and gradients whose squares overflow a float, which are accepted only
// if clipping makes them small.
static void check_guard(const Instance *in) {
    enum { N = 3000 };
    const struct {
        double loss, row_sum, max_grad_norm;
        bool finite, ok; // finite: the clip scale is computed
    } cases[] = {{4, 2, 1, true, true},
                 {NAN, 2, 1, false, false},
                 {40, 2, 1, false, false},
                 {4, 1e40, 0, true, false},
                 {4, 1e40, 1, true, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double *sums = draw(N, 2, 0.1), total = 0;
        for (int k = 0; k < N; k++) total += sums[k] *= cases[i].row_sum / 2;
        StepInputs step = inputs;
        step.max_grad_norm = cases[i].max_grad_norm;
        double applied = cases[i].ok ? 4 : 3, most = cases[i].max_grad_norm;
        StepReport ref = {
            .applied = applied, .loss = cases[i].loss / 2, .grad_norm = sqrt(total), .ok = cases[i].ok};
        ref.clip_scale = cases[i].finite && most > 0 ? most / (ref.grad_norm + 1e-6) : 1;
        for (int g = 0; g < GROUP_COUNT; g++) {
            ref.bias_correction1[g] = 1 - pow(inputs.beta1[g], applied);
            ref.bias_correction2[g] = 1 - pow(inputs.beta2[g], applied);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            StepReport *out = on_device(TYPE_F64, &report, sizeof report / sizeof(double));
            const StepInputs *given = on_device(TYPE_F64, &step, sizeof step / sizeof(double));
            ops_of(in)->step_guard(in->stream, &(StepGuard){.report = out,
                                                            .inputs = given,
                                                            .row_sums = typed(TYPE_F64, sums, N),
                                                            .n = N,
                                                            .loss = typed(TYPE_F64, &cases[i].loss, 1)});
            const double *got = values_of(out, sizeof ref / sizeof(double)), *wanted = (const double *)&ref;
            for (size_t k = 0; k < sizeof ref / sizeof(double); k++)
                if (!(fabs(got[k] - wanted[k]) <= N * DBL_EPSILON * fabs(wanted[k])) &&
                    !(isnan(got[k]) && isnan(wanted[k])))
                    fail_msg("%s, case %d: field %d of the report is %.17g, not %.17g", in->name, (int)i, (int)k,
                             got[k], wanted[k]);
            run_end();
        }
        case_end();
    }
}

// A NaN row sum stays NaN: the bound on factors does not hide it.
static void check_bad_row(const Instance *in) {
    Case c = make_case(shapes[1]);
    int64_t lines = c.shape.count * c.shape.rows;
    double *sums = draw(lines, 3, 0.5);
    sums[2] = (double)NAN;
    RowScaling s = {.rule = SCALE_FROBENIUS, .eps = 1e-10, .normalize = true};
    run_begin(0);
    MatrixBatch x = batch_of(in, &c);
    double *factors = typed(TYPE_F64, NULL, lines);
    ops_of(in)->row_factors(
        in->stream,
        &(RowFactors){.factors = factors, .row_sums = typed(TYPE_F64, sums, lines), .batch = &x, .scaling = s});
    assert_true(isnan(values_of(factors, lines)[2]));
    run_end();
    case_end();
}

// All stages of a polar step, for the test that a batch is bitwise identical to its matrices one by one.
static void run_stages(const Instance *in, const MatrixBatch *x, void *u, double *sums, double *factors) {
    const OptimOps *ops = ops_of(in);
    RowScaling scaling = {.rule = SCALE_RMS, .rms = 0.2, .normalize = true, .eps = 1e-10};
    ops->polar_momentum(in->stream,
                        &(PolarMomentum){.u = u, .row_sums = sums, .batch = x, .ema = true, .nesterov = true});
    ops->center_columns(
        in->stream,
        &(CenterColumns){.o = u, .row_sums = sums, .count = x->count, .rows = x->rows, .cols = x->cols});
    for (int by = NORMALIZE_ROWS; by <= NORMALIZE_ROW_NORMS; by++)
        ops->normalize(in->stream,
                       &(Normalize){.o = u, .row_sums = sums, .batch = x, .by = (Normalization)by, .eps = 1e-10});
    ops->polar_scale(in->stream, &(PolarScale){.x = u,
                                               .row_sums = sums,
                                               .count = x->count,
                                               .rows = x->rows,
                                               .cols = x->cols,
                                               .factor = 1.01,
                                               .eps = 1e-7});
    ops->row_sum_squares(in->stream, &(RowSumSquares){.sums = sums,
                                                      .x = u,
                                                      .stride = x->rows * x->cols,
                                                      .count = x->count,
                                                      .rows = x->rows,
                                                      .cols = x->cols});
    ops->row_factors(in->stream,
                     &(RowFactors){.factors = factors, .row_sums = sums, .batch = x, .scaling = scaling});
    ops->polar_update(
        in->stream, &(PolarUpdate){.batch = x, .o = u, .factors = factors, .weight_decay = 0.1, .cautious = true});
}

static void expect_same(const char *what, const void *a, const void *b, size_t bytes) {
    char *bits[2] = {malloc(bytes), malloc(bytes)};
    read_bits(bits[0], a, bytes), read_bits(bits[1], b, bytes);
    if (memcmp(bits[0], bits[1], bytes)) fail_msg("%s: differs bitwise from the batch", what);
    free(bits[0]), free(bits[1]);
}

static char *element(const void *array, int64_t at, Type type) {
    return (char *)array + at * (int64_t)type_size(type);
}

static void check_batch(const Instance *in) {
    for (int i = 0; i < SHAPES; i++) {
        Case c = make_case(shapes[i]);
        int64_t rows = c.shape.rows, size = rows * c.shape.cols, lines = c.shape.count * rows;
        run_begin(0);
        MatrixBatch all = batch_of(in, &c), apart = batch_of(in, &c);
        void *u = typed(in->type, NULL, c.dense), *v = typed(in->type, NULL, c.dense);
        double *sums[2], *factors[2];
        for (int k = 0; k < 2; k++)
            sums[k] = typed(TYPE_F64, NULL, lines), factors[k] = typed(TYPE_F64, NULL, lines);
        run_stages(in, &all, u, sums[0], factors[0]);
        for (int j = 0; j < c.shape.count; j++) {
            MatrixBatch one = apart;
            one.count = 1;
            one.master = element(apart.master, j * c.stride, in->acc);
            one.weights = element(apart.weights, j * c.stride, in->type);
            one.grads = element(apart.grads, j * c.stride, in->acc);
            for (int k = 0; k < 2; k++) one.state[k] = element(apart.state[k], j * c.stride, in->acc);
            run_stages(in, &one, element(v, j * size, in->type), sums[1] + j * rows, factors[1] + j * rows);
        }
        expect_same("u", u, v, (size_t)c.dense * type_size(in->type));
        expect_same("sums", sums[0], sums[1], (size_t)lines * sizeof(double));
        expect_same("factors", factors[0], factors[1], (size_t)lines * sizeof(double));
        expect_same("master", all.master, apart.master, (size_t)c.n * type_size(in->acc));
        expect_same("moments", all.state[1], apart.state[1], (size_t)c.n * type_size(in->acc));
        run_end();
        case_end();
    }
}

// Also in double on a GPU, which no model uses.
static void each(void (*check)(const Instance *in)) {
    for_each_instance(check);
    if (gpu == NULL) return;
    Instance in = {TYPE_F64, TYPE_F64, "F64 cuda", NULL, gpu_stream};
    instance = &in;
    check(&in);
    instance = NULL;
}

#define TEST(name)                                                                                                 \
    static void name(void **state) {                                                                               \
        (void)state;                                                                                               \
        each(check_##name);                                                                                        \
    }
TEST(adamw)
TEST(sgd)
TEST(lion)
TEST(signum)
TEST(momentum)
TEST(scale)
TEST(factors)
TEST(update)
TEST(center)
TEST(normalize)
TEST(guard)
TEST(bad_row)
TEST(batch)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw),     cmocka_unit_test(sgd),      cmocka_unit_test(lion),
        cmocka_unit_test(signum),    cmocka_unit_test(momentum), cmocka_unit_test(scale),
        cmocka_unit_test(factors),   cmocka_unit_test(update),   cmocka_unit_test(center),
        cmocka_unit_test(normalize), cmocka_unit_test(guard),    cmocka_unit_test(batch),
        cmocka_unit_test(bad_row),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
