// PolarGrad, its variants and NorMuon's ablations against plain double-precision references.
#include "tests/fixtures/optim_fixture.h"

#include "optim/ops.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

enum { STEPS = 5, MAX_SIDE = 32 };

typedef enum { NO_MOMENT, ROW, COLUMN, LONGER, ELEMENT } Moment;
typedef enum { NUCLEAR, SHAPE, RMS, MAX, SPECTRAL, FROBENIUS } Rule;

// A test case: options as the user writes them, and their expected meaning.
typedef struct {
    const char *settings;
    double lr, momentum, wd, rms;
    double power; // exponent of the nuclear norm
    Rule rule;
    Moment moment;
    bool heavy_ball, nesterov, polar_first, no_polar, center, row_norms;
    bool whole, heads; // no splits; split by heads instead of q, k and v
    bool before, tall; // normalize before the polar factor; only tall matrices
} PolarCase;

#define NUCLEAR_DEFAULTS .lr = 1e-3, .momentum = 0.5, .power = 1
#define NORMUON_DEFAULTS .lr = 4e-4, .momentum = 0.95, .wd = 0.1, .rms = 0.2, .rule = RMS

static const PolarCase cases[] = {
    // PolarGrad's forms
    {"polargrad polar=ns5", NUCLEAR_DEFAULTS},
    {"polargrad polar=ns5 momentum=0 lr=0.01 weight-decay=0.5 split-qkv=no", .whole = true, .lr = 0.01, .wd = 0.5,
     .power = 1},
    {"polargrad polar=ns5 ema=false lr=0.002", .lr = 0.002, .momentum = 0.5, .power = 1, .heavy_ball = true},
    {"polargrad polar=ns5 polar-first=true momentum=0.9 weight-decay=0.1", .lr = 1e-3, .momentum = 0.9, .wd = 0.1,
     .power = 1, .polar_first = true},
    {"polargrad polar=ns5 polar-first=true scale=rms", .lr = 4e-4, .momentum = 0.5, .rule = RMS, .rms = 0.2,
     .polar_first = true},
    {"polargrad polar=ns5 nesterov=true", NUCLEAR_DEFAULTS, .nesterov = true},
    {"muon scale=nuclear", .lr = 1e-3, .momentum = 0.95, .power = 1, .nesterov = true},
    {"polargrad polar=ns5 scale=frobenius", .lr = 0.02, .momentum = 0.5, .rule = FROBENIUS},
    // the later variants: right polar factor of the centered momentum, hybrid, row norms alone
    {"polargrad polar=ns5 nuclear-power=0.5 center-columns=yes", .lr = 1e-3, .momentum = 0.5, .power = 0.5,
     .center = true},
    {"polargrad polar=ns5 row-norms=yes nuclear-power=0", .lr = 1e-3, .momentum = 0.5, .row_norms = true},
    {"polargrad polar=ns5 row-norms=yes center-columns=yes", NUCLEAR_DEFAULTS, .row_norms = true, .center = true},
    {"rownorm lr=0.1 weight-decay=0.2", .whole = true, .lr = 0.1, .momentum = 0.95, .wd = 0.2, .rule = FROBENIUS,
     .no_polar = true, .row_norms = true},
    {"rownorm center-columns=yes momentum=0", .whole = true, .lr = 0.02, .rule = FROBENIUS, .no_polar = true,
     .row_norms = true, .center = true},
    // NorMuon's ablations: granularity of the second moment
    {"normuon second-moment=row", NORMUON_DEFAULTS, .moment = ROW},
    {"normuon second-moment=column", NORMUON_DEFAULTS, .moment = COLUMN},
    {"normuon second-moment=longer", NORMUON_DEFAULTS, .moment = LONGER},
    {"normuon second-moment=element", NORMUON_DEFAULTS, .moment = ELEMENT},
    {"normuon second-moment=none", NORMUON_DEFAULTS},
    {"normuon form=official second-moment=longer", .lr = 0.02, .momentum = 0.95, .rule = SHAPE, .moment = LONGER,
     .nesterov = true},
    {"normuon second-moment=element scale=spectral momentum=0", .lr = 0.02, .wd = 0.1, .rule = SPECTRAL,
     .moment = ELEMENT},
    {"normuon second-moment=column scale=frobenius", .lr = 0.02, .momentum = 0.95, .wd = 0.1, .rule = FROBENIUS,
     .moment = COLUMN},
    {"normuon scale=nuclear", .lr = 1e-3, .momentum = 0.95, .wd = 0.1, .power = 1, .moment = ROW},
    // where it is applied, and to which matrices
    {"normuon normalize=before", NORMUON_DEFAULTS, .moment = ROW, .before = true},
    {"normuon normalize=before second-moment=column", NORMUON_DEFAULTS, .moment = COLUMN, .before = true},
    {"normuon normalize=before second-moment=element ema=no", NORMUON_DEFAULTS, .moment = ELEMENT, .before = true,
     .heavy_ball = true},
    {"normuon normalize-only=tall rms=1", .lr = 4e-4, .momentum = 0.95, .wd = 0.1, .rms = 1, .rule = RMS,
     .moment = ROW, .tall = true},
    {"normuon form=official normalize-only=tall split-qkv=no", .whole = true, .lr = 0.02, .momentum = 0.95,
     .rule = SHAPE, .nesterov = true, .moment = ROW, .tall = true},
    // Muon with a fixed norm, and scaled by fan-out over fan-in
    {"muon scale=rms rms=1", .lr = 4e-4, .momentum = 0.95, .rule = RMS, .rms = 1, .nesterov = true},
    {"muon scale=spectral", .lr = 0.02, .momentum = 0.95, .rule = SPECTRAL, .nesterov = true},
    // one matrix per head
    {"muon split-heads=yes", .lr = 0.02, .momentum = 0.95, .rule = SHAPE, .nesterov = true, .heads = true},
    {"normuon split-heads=yes", NORMUON_DEFAULTS, .moment = ROW, .heads = true},
    {"normuon split-heads=yes second-moment=column", NORMUON_DEFAULTS, .moment = COLUMN, .heads = true},
    {"normuon split-heads=yes second-moment=longer", NORMUON_DEFAULTS, .moment = LONGER, .heads = true},
    {"normuon split-heads=yes second-moment=element momentum=0", .lr = 4e-4, .wd = 0.1, .rms = 0.2, .rule = RMS,
     .moment = ELEMENT, .heads = true},
};

#undef NUCLEAR_DEFAULTS
#undef NORMUON_DEFAULTS

// Weights, momentum, second moments (at most one per element) and gradient of a reference matrix.
typedef struct {
    double w[MAX_SIDE * MAX_SIDE], m[MAX_SIDE * MAX_SIDE], v[MAX_SIDE * MAX_SIDE], g[MAX_SIDE * MAX_SIDE];
} Matrix;

// ns5, always applied from the left: X <- a X + (b A + c A A) X, A = X X^T.
static void reference_polar(double *x, const double *u, int m, int n) {
    static double a[MAX_SIDE][MAX_SIDE], b[MAX_SIDE][MAX_SIDE], y[MAX_SIDE * MAX_SIDE];
    double norm = fixture_norm(u, m * n) + 1e-7;
    for (int i = 0; i < m * n; i++) x[i] = u[i] / norm;
    for (int step = 0; step < 5; step++) {
        memset(a, 0, sizeof a), memset(b, 0, sizeof b);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < m; j++)
                for (int l = 0; l < n; l++) a[i][j] += x[i * n + l] * x[j * n + l];
        for (int i = 0; i < m; i++)
            for (int j = 0; j < m; j++) {
                for (int l = 0; l < m; l++) b[i][j] += 2.0315 * a[i][l] * a[l][j];
                b[i][j] += -4.7750 * a[i][j];
            }
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                y[i * n + j] = 3.4445 * x[i * n + j];
                for (int l = 0; l < m; l++) y[i * n + j] += b[i][l] * x[l * n + j];
            }
        memcpy(x, y, (size_t)(m * n) * sizeof *x);
    }
}

static void reference_center(double *u, int m, int n) {
    for (int j = 0; j < n; j++) {
        double mean = 0;
        for (int i = 0; i < m; i++) mean += u[i * n + j] / m;
        for (int i = 0; i < m; i++) u[i * n + j] -= mean;
    }
}

// Returns the largest factor.
static double reference_normalize(double *o, double *v, int m, int n, Moment by) {
    double largest = 0;
    static double mean[MAX_SIDE * MAX_SIDE];
    memset(mean, 0, sizeof mean);
    if (by == LONGER) by = m >= n ? ROW : COLUMN;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double square = o[i * n + j] * o[i * n + j];
            if (by == ROW) mean[i] += square / n;
            if (by == COLUMN) mean[j] += square / m;
            if (by == ELEMENT) mean[i * n + j] = square;
        }
    for (int i = 0; i < m * n; i++) v[i] = 0.95 * v[i] + 0.05 * mean[i]; // beyond the length of the means v stays 0
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double factor = 1 / (sqrt(v[by == ROW ? i : by == COLUMN ? j : i * n + j]) + 1e-10);
            o[i * n + j] *= factor;
            largest = fmax(largest, factor);
        }
    return largest;
}

// One step of an (m, n) matrix. Returns an upper bound of the weight error per unit error norm of O.
static double reference_update(Matrix *x, int m, int n, const PolarCase *c) {
    static double u[MAX_SIDE * MAX_SIDE], o[MAX_SIDE * MAX_SIDE];
    double b = c->momentum, weight = c->heavy_ball ? 1 : 1 - b, factor = 1, nuclear = 0;
    for (int i = 0; i < m * n; i++) {
        if (!c->polar_first) x->m[i] = b * x->m[i] + weight * x->g[i];
        u[i] = c->polar_first ? x->g[i] : c->nesterov ? weight * x->g[i] + b * x->m[i] : x->m[i];
    }
    if (c->center) reference_center(u, m, n);
    for (int i = 0; c->row_norms && i < m; i++) {
        double norm = fixture_norm(u + i * n, n);
        for (int j = 0; j < n; j++) u[i * n + j] /= norm + 1e-8;
    }
    if (c->center) reference_center(u, m, n);
    bool moment = c->moment != NO_MOMENT && (!c->tall || m > n);
    if (moment && c->before) reference_normalize(u, x->v, m, n, c->moment);
    if (c->no_polar) memcpy(o, u, sizeof o);
    else reference_polar(o, u, m, n);
    for (int i = 0; i < m * n; i++) nuclear += u[i] * o[i];
    for (int i = 0; c->polar_first && i < m * n; i++) o[i] = x->m[i] = b * x->m[i] + weight * o[i];

    double before = fixture_norm(o, m * n), scale = 1;
    if (moment && !c->before) factor = reference_normalize(o, x->v, m, n, c->moment);
    double after = fixture_norm(o, m * n);
    if (c->rule == NUCLEAR) scale = pow(nuclear, c->power);
    if (c->rule == SHAPE) scale = sqrt(fmax(1, (double)m / n));
    if (c->rule == MAX) scale = c->rms * sqrt(fmax(m, n));
    if (c->rule == SPECTRAL) scale = sqrt((double)m / n);
    if (moment && !c->before) scale *= before / (after + 1e-10);
    if (c->rule == RMS) scale = c->rms * sqrt((double)(m * n)) / after;
    for (int i = 0; i < m * n; i++) x->w[i] = x->w[i] * (1 - c->lr * c->wd) - c->lr * scale * o[i];
    return c->lr * scale * factor;
}

// One matrix of the parameter table and its reference.
typedef struct {
    const Param *param;
    int64_t offset;
    int rows, cols;
    Matrix x;
} Tracked;

static int track(Tracked *out, const Fixture *f, const PolarCase *c) {
    int n = 0;
    for (int i = 0; i < f->table.n_params; i++) {
        const Param *p = &f->table.params[i];
        if (p->role != ROLE_HIDDEN) continue;
        RowSplit whole = {"", 0, p->rows, 1};
        for (int s = 0; s < (!c->whole && p->n_splits ? p->n_splits : 1); s++) {
            RowSplit split = !c->whole && p->n_splits ? p->splits[s] : whole;
            int parts = c->heads ? split.heads : 1;
            for (int part = 0; part < parts; part++, n++) {
                Tracked *t = &out[n];
                *t = (Tracked){.param = p, .rows = (int)split.rows / parts, .cols = (int)p->cols};
                t->offset = p->offset + (split.row + part * t->rows) * p->cols;
                memcpy(t->x.w, f->ref + t->offset, (size_t)(t->rows * t->cols) * sizeof(double));
            }
        }
    }
    return n;
}

// Queries of four heads (8, 8), keys and values of two (4, 8), a tall and a wide matrix.
static ModelConfig model_config(void) {
    ModelConfig config = fixture_config(8);
    config.n_head = 4, config.n_kv_head = 2, config.head_dim = 2;
    return config;
}

// U has an error of c eps, which the iteration multiplies by at most its slope at 0; `gain`, from reference_update,
// bounds the effect on the weights. Every step rounds the weights once.
static void check_matrix(const Fixture *f, const Tracked *t, double gain, const char *settings) {
    double slope = pow(3.4445, 5), eps = fixture_epsilon(f->type), squares = 0;
    int n = t->rows * t->cols;
    for (int i = 0; i < n; i++) squares += pow(fixture_get(f, f->master, t->offset + i) - t->x.w[i], 2);
    double factor =
        f->type == TYPE_BF16 ? 2 * FIXTURE_BF16_FACTOR : 8 * slope * eps; // twice: in the nuclear norm too
    double bound = factor * sqrt(t->rows) * gain + STEPS * 2 * eps * fixture_norm(t->x.w, n);
    if (!(sqrt(squares) <= bound))
        fail_msg("%s: %s, %s: error %g above %g", settings, t->param->name, type_name(f->type), sqrt(squares),
                 bound);
}

static void check_case(Type type, const PolarCase *c) {
    Fixture f;
    fixture_open_network(&f, type, model_config(), c->settings, "sgd lr=0");
    fixture_fill(&f, f.master, f.ref, 0.5, 1);
    Tracked *tracked = calloc(64, sizeof *tracked);
    double gain[64] = {0};
    int n = track(tracked, &f, c);
    assert_true(n <= 64);
    for (int t = 0; t < STEPS; t++) {
        fixture_fill_grads(&f, 0.1, 100 + (uint64_t)t);
        fixture_step(&f, t, STEPS, 0);
        for (int i = 0; i < n; i++) {
            Tracked *x = &tracked[i];
            memcpy(x->x.g, f.ref_grads + x->offset, (size_t)(x->rows * x->cols) * sizeof(double));
            gain[i] += reference_update(&x->x, x->rows, x->cols, c);
        }
    }
    for (int i = 0; i < n; i++) check_matrix(&f, &tracked[i], gain[i], c->settings);
    free(tracked);
    fixture_close(&f);
}

static void all_cases(Type type) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(type, &cases[i]);
}

static void options_follow_their_equations(void **state) {
    (void)state;
    fixture_each_instance(all_cases);
}

// Embedding and head with optimizers of the family: padding rows are not part of the matrix, so results are the same as
// without padding.
static void padding_of_the_vocabulary_does_not_matter(void **state) {
    (void)state;
    static const char *const settings[] = {
        "polargrad polar=ns5",
        "polargrad polar=ns5 center-columns=yes",
        "polargrad polar=ns5 polar-first=yes",
        "rownorm center-columns=yes",
        "normuon second-moment=column",
        "normuon second-moment=longer",
        "normuon second-moment=element normalize=before",
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        Fixture f[2];
        for (int padded = 0; padded < 2; padded++) {
            ParamGroupOptions groups[GROUP_COUNT];
            ModelConfig config = model_config();
            if (!padded) config.vocab_padded = config.vocab_size;
            fixture_open_network(&f[padded], TYPE_F64, config, "sgd", "sgd");
            fixture_settings(groups, settings[i], "sgd lr=0");
            groups[GROUP_EMBED] = groups[GROUP_HEAD] = groups[GROUP_HIDDEN];
            fixture_replace(&f[padded], groups);
            for (int t = 0; t < 3; t++) {
                for (int j = 0; j < f[padded].table.n_params; j++) {
                    const Param *p = &f[padded].table.params[j];
                    for (int64_t k = 0; k < p->valid_rows * p->cols; k++)
                        fixture_put(&f[padded], f[padded].grads, p->offset + k,
                                    random_normal((uint64_t)(10 * j + t), RANDOM_TEST, (uint64_t)k));
                }
                fixture_step(&f[padded], t, 3, 0);
            }
        }
        for (int j = 0; j < f[0].table.n_params; j++) {
            const Param *p = &f[0].table.params[j], *q = &f[1].table.params[j];
            assert_memory_equal((double *)f[0].master + p->offset, (double *)f[1].master + q->offset,
                                (size_t)param_elements(p) * sizeof(double));
        }
        fixture_close(&f[0]), fixture_close(&f[1]);
    }
}

// Without momentum PolarGrad's update is proportional to the size of the gradient, so it vanishes with the gradient,
// unlike Muon's. Its scale is the nuclear norm of the gradient: for a diagonal matrix the sum of the entries.
static void the_nuclear_norm_is_the_gradients(void **state) {
    (void)state;
    for (double size = 1; size > 1e-9; size *= 1e-3) {
        Fixture f;
        fixture_open_network(&f, TYPE_F64, model_config(), "polargrad momentum=0 lr=1 polar=simple polar-steps=60",
                             "sgd lr=0");
        const Param *p = param_find(&f.table, PARAM_ATTENTION_PROJ_WEIGHT, 0);
        double nuclear = 0;
        for (int64_t i = 0; i < 8; i++) {
            fixture_put(&f, f.grads, p->offset + i * 9, size * (double)(i + 1));
            nuclear += size * (double)(i + 1);
        }
        fixture_step(&f, 0, 10, 0);
        // 60 steps have converged; they also undo the effect of the eps of the norm, 1e-7.
        for (int64_t i = 0; i < 64; i++) {
            double w = fixture_get(&f, f.master, p->offset + i), expected = i % 9 == 0 ? -nuclear : 0;
            if (!(fabs(w - expected) <= 1e-12 * nuclear)) fail_msg("size %g: %.17g, not %.17g", size, w, expected);
        }
        fixture_close(&f);
    }
}

// Runs the operations on two matrices; results must not depend on the number of threads.
typedef struct {
    double *u, *m, *v, *sums, *dots;
} Work;

static Work run_operations(const Fixture *f, int threads, int count, int64_t rows, int64_t cols) {
    int64_t n = count * rows * cols;
    Work w = {calloc((size_t)n, sizeof(double)), calloc((size_t)n, sizeof(double)),
              calloc((size_t)n, sizeof(double)), calloc((size_t)(count * rows), sizeof(double)),
              calloc((size_t)(count * rows), sizeof(double))};
    for (int64_t i = 0; i < n; i++) {
        w.u[i] = random_normal(1, RANDOM_TEST, (uint64_t)i);
        w.m[i] = random_normal(2, RANDOM_TEST, (uint64_t)i);
    }
    const OptimOps *ops = optim_ops(f->device, f->type);
    StepInputs inputs = {.momentum = {0.9}, .beta2 = {0.95}};
    StepReport report = {.ok = 1};
    MatrixBatch x = {.count = count,
                     .rows = rows,
                     .cols = cols,
                     .state = {w.m, w.v},
                     .state_stride = {rows * cols, rows * cols},
                     .inputs = &inputs,
                     .report = &report};
    omp_set_num_threads(threads);
    ops->center_columns(f->stream,
                        &(CenterColumns){.o = w.u, .row_sums = w.sums, .count = count, .rows = rows, .cols = cols});
    for (int by = NORMALIZE_ROWS; by <= NORMALIZE_ROW_NORMS; by++)
        ops->normalize(
            f->stream,
            &(Normalize){.o = w.u, .row_sums = w.sums, .batch = &x, .by = (Normalization)by, .eps = 1e-10});
    ops->polar_average(f->stream, &(PolarAverage){.o = w.u, .batch = &x, .ema = true});
    ops->row_dots(f->stream,
                  &(RowDots){.sums = w.dots, .a = w.u, .b = w.m, .count = count, .rows = rows, .cols = cols});
    stream_synchronize(f->stream);
    return w;
}

static void threads_do_not_change_bits(void **state) {
    (void)state;
    enum { COUNT = 2, ROWS = 130, COLS = 150, ELEMENTS = COUNT * ROWS * COLS };
    Fixture f;
    fixture_open(&f, TYPE_F64, 9, "sgd", "sgd");
    int before = omp_get_max_threads();
    Work w[2] = {run_operations(&f, 1, COUNT, ROWS, COLS), run_operations(&f, 3, COUNT, ROWS, COLS)};
    omp_set_num_threads(before);
    assert_memory_equal(w[0].u, w[1].u, ELEMENTS * sizeof(double));
    assert_memory_equal(w[0].v, w[1].v, ELEMENTS * sizeof(double));
    assert_memory_equal(w[0].sums, w[1].sums, COUNT * ROWS * sizeof(double));
    assert_memory_equal(w[0].dots, w[1].dots, COUNT * ROWS * sizeof(double));
    for (int i = 0; i < 2; i++) free(w[i].u), free(w[i].m), free(w[i].v), free(w[i].sums), free(w[i].dots);
    fixture_close(&f);
}

typedef struct {
    const char *settings, *optimizer_state; // state tensors of the tall matrix of layer 0, by name and shape
} StateCase;

static void state_depends_on_the_options(void **state) {
    (void)state;
    static const StateCase states[] = {
        {"polargrad polar=ns5", "momentum 17x8 "},
        {"polargrad polar=ns5 momentum=0", ""},
        {"rownorm", "momentum 17x8 "},
        {"normuon", "momentum 17x8 row_moment 17x1 "},
        {"normuon momentum=0", "row_moment 17x1 "},
        {"normuon momentum=0 momentum-warmup=3", "momentum 17x8 row_moment 17x1 "},
        {"normuon second-moment=column", "momentum 17x8 column_moment 1x8 "},
        {"normuon second-moment=longer", "momentum 17x8 longer_moment 1x17 "},
        {"normuon second-moment=element", "momentum 17x8 element_moment 17x8 "},
        {"normuon second-moment=none", "momentum 17x8 "},
        {"normuon normalize-only=tall", "momentum 17x8 row_moment 17x1 "},
    };
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        Fixture f;
        char found[256] = "";
        bool wide_has_moment = false;
        fixture_open_network(&f, TYPE_F32, model_config(), states[i].settings, "sgd");
        for (int j = 0; j < optimizer_state_count(f.optimizer); j++) {
            StateTensor t = optimizer_state(f.optimizer, j);
            size_t used = strlen(found);
            if (t.param == param_find(&f.table, PARAM_MLP_UP_WEIGHT, 0))
                snprintf(found + used, sizeof found - used, "%s %dx%d ", t.spec.name, (int)t.spec.rows,
                         (int)t.spec.cols);
            if (t.param->kind == PARAM_MLP_DOWN_WEIGHT && strstr(t.spec.name, "_moment")) wide_has_moment = true;
        }
        assert_string_equal(found, states[i].optimizer_state);
        assert_int_equal(wide_has_moment, strstr(found, "_moment") && !strstr(states[i].settings, "tall"));
        fixture_close(&f);
    }
}

static void wrong_combinations_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *settings, *vectors, *reason; // NULL: accepted
    } combinations[] = {
        {"polargrad", "adamw", NULL},
        {"polargrad", "polargrad", "polargrad supports only matrices"},
        {"polargrad", "rownorm", "rownorm supports only matrices"},
        {"polargrad momentum=0", "adamw", NULL},
        {"polargrad momentum=0 polar-first=yes", "adamw", "momentum is 0, but polar-first needs one"},
        {"polargrad momentum=0 ema=no", "adamw", "momentum is 0, but no-ema needs one"},
        {"polargrad momentum=0 nesterov=yes", "adamw", "momentum is 0, but nesterov needs one"},
        {"polargrad polar-first=yes nesterov=yes", "adamw", "turn one of them off"},
        {"polargrad polar=ns5 polar-steps=0", "adamw", "polar-steps is 0"},
        {"muon split-heads=yes split-qkv=no", "adamw", "split-heads needs split-qkv"},
        {"normuon second-moment=none normalize=before", "adamw", "second-moment is none"},
        {"normuon second-moment=none normalize-only=tall", "adamw", "second-moment is none"},
    };
    ModelConfig config = model_config();
    ParamTable table;
    param_table_init(&table, &config);
    for (size_t i = 0; i < sizeof combinations / sizeof *combinations; i++) {
        ParamGroupOptions settings[GROUP_COUNT], vectors[GROUP_COUNT];
        Error err = {""};
        fixture_settings(settings, combinations[i].settings, "adamw");
        fixture_settings(vectors, combinations[i].vectors, "adamw");
        settings[GROUP_VECTOR] = vectors[GROUP_HIDDEN];
        bool ok = optimizer_check(NULL, &table, settings, &err);
        assert_int_equal(ok, combinations[i].reason == NULL);
        if (!ok && !strstr(err.text, combinations[i].reason))
            fail_msg("%s: \"%s\"", combinations[i].settings, err.text);
    }
    param_table_free(&table);

    static const struct {
        const char *option, *value, *reason;
    } values[] = {{"polar", "qdhw", "must be one of"}, {"lr", "-1", "between 0 and"},
                  {"momentum", "1", "between 0 and"},  {"row-eps", "0", "between"},
                  {"scale", "nucleus", "nuclear"},     {"second-moment", "row", "polargrad has no option"},
                  {"nuclear-power", "-2", "between"}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        ParamGroupOptions settings;
        Error err = {""};
        param_group_init(&settings, optimizer_find("polargrad", &err));
        assert_false(param_group_set(&settings, values[i].option, values[i].value, &err));
        if (!strstr(err.text, values[i].reason)) fail_msg("%s: \"%s\"", values[i].option, err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_follow_their_equations),
        cmocka_unit_test(padding_of_the_vocabulary_does_not_matter),
        cmocka_unit_test(the_nuclear_norm_is_the_gradients),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(state_depends_on_the_options),
        cmocka_unit_test(wrong_combinations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
