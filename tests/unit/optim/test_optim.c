// The optimizers against plain double-precision references, on every instruction set.
#include "tests/fixtures/optim_fixture.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

enum { WIDTH = 9, STEPS = 5 };

static void expect_close(const Fixture *f, const Param *p, double bound) {
    double error = fixture_error(f, p);
    if (!(error <= bound)) fail_msg("%s, %s: error %g above %g", p->name, type_name(f->type), error, bound);
}

// ---- AdamW and SGD ----

static void adamw_case(Type type) {
    const double lr = 0.01, b1 = 0.9, b2 = 0.95, eps = 1e-8, wd = 0.1;
    Fixture f;
    fixture_open(&f, type, WIDTH, "adamw lr=0.01", "adamw lr=0.01");
    fixture_fill(&f, f.master, f.ref, 0.5, 1);
    double *m = calloc((size_t)f.table.elements, sizeof *m), *v = calloc((size_t)f.table.elements, sizeof *v);
    for (int t = 1; t <= STEPS; t++) {
        fixture_fill(&f, f.grads, f.ref_grads, 0.1, 100 + (uint64_t)t);
        fixture_step(&f, t - 1, STEPS, 0);
        for (int i = 0; i < f.table.n_params; i++) {
            const Param *p = &f.table.params[i];
            for (int64_t j = p->offset; j < p->offset + p->valid_rows * p->cols; j++) {
                double g = f.ref_grads[j];
                m[j] = b1 * m[j] + (1 - b1) * g;
                v[j] = b2 * v[j] + (1 - b2) * g * g;
                double mhat = m[j] / (1 - pow(b1, t)), vhat = v[j] / (1 - pow(b2, t));
                f.ref[j] -= lr * (mhat / (sqrt(vhat) + eps) + wd * f.ref[j]);
            }
        }
    }
    // An update is at most about lr per element, with an error of a few roundings; the terms of m and v are at most 10
    // times the size of their sums, which bounds the cancellation.
    for (int i = 0; i < f.table.n_params; i++) {
        const Param *p = &f.table.params[i];
        double n = sqrt((double)param_elements(p)), size = fixture_norm(f.ref + p->offset, param_elements(p));
        expect_close(&f, p, STEPS * fixture_epsilon(type) * (100 * lr * n + 2 * size));
    }
    assert_true(optimizer_applied(f.optimizer, f.stream) == STEPS);
    free(m), free(v);
    fixture_close(&f);
}

static void adamw_follows_its_equations(void **state) {
    (void)state;
    fixture_each_instance(adamw_case);
}

static void sgd_case(Type type, const char *text, double momentum, bool nesterov, double wd) {
    const double lr = 0.1;
    Fixture f;
    fixture_open(&f, type, WIDTH, text, text);
    fixture_fill(&f, f.master, f.ref, 0.5, 1);
    double *b = calloc((size_t)f.table.elements, sizeof *b);
    for (int t = 1; t <= STEPS; t++) {
        fixture_fill(&f, f.grads, f.ref_grads, 0.1, 100 + (uint64_t)t);
        fixture_step(&f, t - 1, STEPS, 0);
        for (int i = 0; i < f.table.n_params; i++) {
            const Param *p = &f.table.params[i];
            for (int64_t j = p->offset; j < p->offset + p->valid_rows * p->cols; j++) {
                double d = f.ref_grads[j] + wd * f.ref[j];
                b[j] = momentum * b[j] + d;
                f.ref[j] -= lr * (nesterov ? d + momentum * b[j] : b[j]);
            }
        }
    }
    // Every step adds a few roundings of numbers below 10.
    for (int i = 0; i < f.table.n_params; i++)
        expect_close(&f, &f.table.params[i],
                     STEPS * 10 * fixture_epsilon(type) * sqrt((double)param_elements(&f.table.params[i])));
    free(b);
    fixture_close(&f);
}

static void sgd_cases(Type type) {
    sgd_case(type, "sgd", 0.9, false, 0);
    sgd_case(type, "sgd momentum=0", 0, false, 0);
    sgd_case(type, "sgd momentum=0.8 nesterov=true weight-decay=0.02", 0.8, true, 0.02);
}

static void sgd_follows_its_equations(void **state) {
    (void)state;
    fixture_each_instance(sgd_cases);
}

// Lion: beta2 is the decay of the momentum, beta1 its weight in the update. Signum: both betas are its momentum, and
// the update is the sign of the new momentum. The sign is that of torch.sign, 0 at 0.
static void sign_case(Type type, const char *text, double beta1, double beta2, double wd, bool signum) {
    const double lr = 0.01;
    Fixture f;
    fixture_open(&f, type, WIDTH, text, text);
    fixture_fill(&f, f.master, f.ref, 0.5, 1);
    double *m = calloc((size_t)f.table.elements, sizeof *m);
    for (int t = 1; t <= STEPS; t++) {
        fixture_fill(&f, f.grads, f.ref_grads, 0.1, 100 + (uint64_t)t);
        fixture_step(&f, t - 1, STEPS, 0);
        for (int i = 0; i < f.table.n_params; i++) {
            const Param *p = &f.table.params[i];
            for (int64_t j = p->offset; j < p->offset + p->valid_rows * p->cols; j++) {
                double g = f.ref_grads[j], u = beta1 * m[j] + (1 - beta1) * g;
                m[j] = beta2 * m[j] + (1 - beta2) * g;
                if (signum) u = m[j];
                f.ref[j] -= lr * ((u > 0) - (u < 0) + wd * f.ref[j]);
            }
        }
    }
    // Every step adds a few roundings of weights of about 0.5 and of updates of 0.01; 4 roundings of the weights per
    // step suffice. A momentum whose sign is flipped by rounding (one in about 1e6) would give an error of 2 lr =
    // 0.02.
    for (int i = 0; i < f.table.n_params; i++) {
        const Param *p = &f.table.params[i];
        expect_close(&f, p, STEPS * 4 * fixture_epsilon(type) * fixture_norm(f.ref + p->offset, param_elements(p)));
    }
    free(m);
    fixture_close(&f);
}

static void lion_cases(Type type) {
    sign_case(type, "lion lr=0.01", 0.9, 0.99, 1, false);
    sign_case(type, "lion lr=0.01 beta1=0.95 beta2=0.8 weight-decay=0", 0.95, 0.8, 0, false);
}

static void signum_cases(Type type) {
    sign_case(type, "signum lr=0.01", 0.9, 0.9, 1, true);
    sign_case(type, "signum lr=0.01 momentum=0 weight-decay=0.1", 0, 0, 0.1, true);
}

static void signum_follows_its_equations(void **state) {
    (void)state;
    fixture_each_instance(signum_cases);
}

static void lion_follows_its_equations(void **state) {
    (void)state;
    fixture_each_instance(lion_cases);
}

// ---- the polar family ----

// A test case: options as the user writes them, and their expected meaning.
typedef struct {
    const char *settings;
    double lr, momentum, wd, rms, max,
        eps;    // max: scale rms sqrt(max(rows, cols)); eps: polar-eps, 0: default of the method
    int simple; // number of steps of (2, -1.5, 0.5); 0: ns5
    bool heavy_ball, nesterov, unsplit, cautious;
    bool normalize, keep_norm, shape; // NorMuon; restore the Frobenius norm; sqrt(max(1, rows/cols))
} PolarCase;

static const PolarCase polar_cases[] = {
    {"muon", .lr = 0.02, .momentum = 0.95, .nesterov = true, .shape = true},
    {"muon split-qkv=false nesterov=false", .lr = 0.02, .momentum = 0.95, .unsplit = true, .shape = true},
    {"muon ema=false momentum=0.9", .lr = 0.02, .momentum = 0.9, .heavy_ball = true, .nesterov = true,
     .shape = true},
    {"muon scale=rms weight-decay=0.3", .lr = 4e-4, .momentum = 0.95, .nesterov = true, .rms = 0.2, .wd = 0.3},
    {"muon scale=rms rms=1 lr=0.01 weight-decay=2 decay=cautious", .lr = 0.01, .momentum = 0.95, .nesterov = true,
     .rms = 1, .wd = 2, .cautious = true},
    // The record of 2024-10-10 in modded-nanogpt, Moonlight, and the step-count benchmark's baseline on a mean loss.
    {"muon ema=false scale=max rms=1 lr=3.6e-4", .lr = 3.6e-4, .momentum = 0.95, .heavy_ball = true,
     .nesterov = true, .max = 1},
    {"muon scale=max weight-decay=0.1 split-qkv=no", .lr = 4e-4, .momentum = 0.95, .nesterov = true, .max = 0.2,
     .wd = 0.1, .unsplit = true},
    {"muon lr=0.025 weight-decay=0.05 polar=simple polar-eps=0.5", .lr = 0.025, .momentum = 0.95, .nesterov = true,
     .shape = true, .wd = 0.05, .simple = 12, .eps = 0.5},
    {"normuon scale=max rms=1 beta2=0.95 weight-decay=0", .lr = 4e-4, .momentum = 0.95, .max = 1, .normalize = true,
     .keep_norm = true},
    {"normuon", .lr = 4e-4, .momentum = 0.95, .wd = 0.1, .rms = 0.2, .normalize = true},
    {"normuon lr=0.05 split-qkv=false", .lr = 0.05, .momentum = 0.95, .wd = 0.1, .rms = 0.2, .normalize = true,
     .unsplit = true},
    {"normuon form=official", .lr = 0.02, .momentum = 0.95, .nesterov = true, .normalize = true, .keep_norm = true,
     .shape = true},
    {"normuon form=official weight-decay=0.5 nesterov=false", .lr = 0.02, .momentum = 0.95, .wd = 0.5,
     .normalize = true, .keep_norm = true, .shape = true},
};

// y (n, m) = x (m, n) transposed.
static void transpose(double *y, const double *x, int64_t m, int64_t n) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) y[j * m + i] = x[i * n + j];
}

// c (m, n) = a (m, k) b (k, n).
static void matmul(double *c, const double *a, const double *b, int64_t m, int64_t n, int64_t k) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
            c[i * n + j] = sum;
        }
    }
}

enum { MAX_SIDE = 64 };

// Textbook Newton-Schulz, always applied from the left: X <- a X + (b A + c A A) X, A = X X^T.
static void reference_polar(double *o, const double *u, int64_t m, int64_t n, const PolarCase *c) {
    static double xt[MAX_SIDE * MAX_SIDE], a[MAX_SIDE * MAX_SIDE], aa[MAX_SIDE * MAX_SIDE], bx[MAX_SIDE * MAX_SIDE];
    const double ns5[] = {3.4445, -4.7750, 2.0315}, simple[] = {2, -1.5, 0.5}, *k = c->simple ? simple : ns5;
    double norm = fixture_norm(u, m * n) + (c->eps > 0 ? c->eps : 1e-7);
    for (int64_t i = 0; i < m * n; i++) o[i] = u[i] / norm;
    for (int step = 0; step < (c->simple ? c->simple : 5); step++) {
        transpose(xt, o, m, n);
        matmul(a, o, xt, m, m, n);
        matmul(aa, a, a, m, m, m);
        for (int64_t i = 0; i < m * m; i++) a[i] = k[1] * a[i] + k[2] * aa[i];
        matmul(bx, a, o, m, n, m);
        for (int64_t i = 0; i < m * n; i++) o[i] = k[0] * o[i] + bx[i];
    }
}

// One matrix (rows, cols): w, momentum m, row moments v and gradient g, all dense.
static void reference_update(double *w, double *m, double *v, const double *g, int64_t rows, int64_t cols,
                             const PolarCase *c) {
    static double u[MAX_SIDE * MAX_SIDE], o[MAX_SIDE * MAX_SIDE];
    double b = c->momentum, weight = c->heavy_ball ? 1 : 1 - b;
    for (int64_t i = 0; i < rows * cols; i++) {
        m[i] = b * m[i] + weight * g[i];
        u[i] = c->nesterov ? weight * g[i] + b * m[i] : m[i];
    }
    reference_polar(o, u, rows, cols, c);
    double before = fixture_norm(o, rows * cols);
    for (int64_t r = 0; c->normalize && r < rows; r++) {
        double mean = 0;
        for (int64_t i = 0; i < cols; i++) mean += o[r * cols + i] * o[r * cols + i] / (double)cols;
        v[r] = 0.95 * v[r] + 0.05 * mean;
        for (int64_t i = 0; i < cols; i++) o[r * cols + i] /= sqrt(v[r]) + 1e-10;
    }
    double after = fixture_norm(o, rows * cols), scale = 1;
    if (c->rms > 0) scale = c->rms * sqrt((double)(rows * cols)) / after;
    if (c->keep_norm) scale *= before / (after + 1e-10);
    if (c->shape) scale *= sqrt(fmax(1, (double)rows / (double)cols));
    if (c->max > 0) scale *= c->max * sqrt(fmax((double)rows, (double)cols));
    for (int64_t i = 0; i < rows * cols; i++) {
        double decay = c->cautious && o[i] * w[i] < 0 ? 0 : c->wd;
        w[i] = w[i] - c->lr * decay * w[i] - c->lr * scale * o[i];
    }
}

static void reference_step(Fixture *f, double *m, double *v, const PolarCase *c) {
    for (int i = 0; i < f->table.n_params; i++) {
        const Param *p = &f->table.params[i];
        if (p->role != ROLE_HIDDEN) continue;
        RowSplit splits[3];
        int n = param_splits(splits, p, c->unsplit ? SPLIT_NONE : SPLIT_ROWS);
        for (int j = 0; j < n; j++) {
            RowSplit s = splits[j];
            int64_t at = p->offset + s.row * p->cols;
            reference_update(f->ref + at, m + at, v + p->offset + s.row, f->ref_grads + at, s.rows, p->cols, c);
        }
    }
}

// U has an error of c eps, which the iteration multiplies by at most its slope at 0, a^steps (relative to the norm of
// U). That error of O reaches the weights times lr and the scale: the norm of the update over that of O, which is at
// least 0.7; normalization may concentrate it in one row (hence the root of rows). Every step rounds the weights
// once.
static double polar_bound(const Fixture *f, const Param *p, const PolarCase *c) {
    double target = c->rms + c->max, slope = c->simple ? pow(2, c->simple) : pow(3.4445, 5);
    double rms = target > 0 ? target * sqrt((double)param_elements(p)) : sqrt((double)p->rows);
    double update = 8 * slope * fixture_epsilon(f->type) * c->lr * rms / 0.7 * sqrt((double)p->rows);
    if (f->type == TYPE_BF16) update = FIXTURE_BF16_FACTOR * c->lr * rms / 0.7;
    return STEPS * (update + 2 * fixture_epsilon(f->type) * fixture_norm(f->ref + p->offset, param_elements(p)));
}

static void polar_case(Type type) {
    for (size_t i = 0; i < sizeof polar_cases / sizeof *polar_cases; i++) {
        const PolarCase *c = &polar_cases[i];
        if (type == TYPE_BF16 && c->cautious) continue; // rounding flips the signs of small elements
        Fixture f;
        fixture_open(&f, type, WIDTH, c->settings, "sgd lr=0");
        fixture_fill(&f, f.master, f.ref, 0.5, 1);
        double *m = calloc((size_t)f.table.elements, sizeof *m), *v = calloc((size_t)f.table.elements, sizeof *v);
        for (int t = 0; t < STEPS; t++) {
            fixture_fill_grads(&f, 0.1, 100 + (uint64_t)t);
            fixture_step(&f, t, STEPS, 0);
            reference_step(&f, m, v, c);
        }
        for (int j = 0; j < f.table.n_params; j++) {
            const Param *p = &f.table.params[j];
            expect_close(&f, p, p->role == ROLE_HIDDEN ? polar_bound(&f, p, c) : 0);
        }
        free(m), free(v);
        fixture_close(&f);
    }
}

static void polar_family_follows_its_equations(void **state) {
    (void)state;
    fixture_each_instance(polar_case);
}

// NorMuon, Algorithm 1, line 10: the root mean square of the update is 0.2 lr for any shape, not counting the padding
// rows of the vocabulary.
static void paper_update_has_the_stated_size(void **state) {
    (void)state;
    Fixture f;
    ParamGroupOptions settings[GROUP_COUNT];
    fixture_open(&f, TYPE_F64, WIDTH, "sgd", "sgd");
    fixture_settings(settings, "normuon weight-decay=0 lr=0.03 split-qkv=false", "sgd lr=0");
    settings[GROUP_EMBED] = settings[GROUP_HEAD] = settings[GROUP_HIDDEN];
    fixture_replace(&f, settings);
    for (int t = 0; t < STEPS; t++) {
        fixture_fill(&f, f.master, f.ref, 0.5, 1);
        fixture_fill(&f, f.grads, f.ref_grads, 0.1, 100 + (uint64_t)t);
        fixture_step(&f, t, STEPS, 0);
        for (int i = 0; i < f.table.n_params; i++) {
            const Param *p = &f.table.params[i];
            if (!param_is_matrix(p)) continue;
            double rms = fixture_error(&f, p) / sqrt((double)(p->valid_rows * p->cols));
            // Rounding of weights of 0.5 relative to updates of 0.006.
            if (!(fabs(rms / (0.2 * 0.03) - 1) < 1e-12)) fail_msg("%s: rms %.17g", p->name, rms);
        }
    }
    fixture_close(&f);
}

// The public step-count benchmark sums its loss over 2^19 tokens. With the mean loss its steps are bitwise identical if
// the eps added to norms and roots are divided by 2^19 too.
static void mean_loss_with_scaled_eps_equals_summed_loss(void **state) {
    (void)state;
    const double tokens = 1 << 19, eps[2][2] = {{1e-7, 1e-10}, {1e-7 / tokens, 1e-10 / tokens}};
    for (int f64 = 0; f64 < 2; f64++) {
        Fixture f[2];
        for (int mean = 0; mean < 2; mean++) {
            char muon[160], adamw[160];
            snprintf(muon, sizeof muon, "muon lr=0.025 polar=simple polar-eps=%.17g weight-decay=0.05",
                     eps[mean][0]);
            snprintf(adamw, sizeof adamw, "adamw lr=0.3 eps=%.17g weight-decay=0.001", eps[mean][1]);
            fixture_open(&f[mean], f64 ? TYPE_F64 : TYPE_F32, WIDTH, muon, adamw);
            fixture_fill(&f[mean], f[mean].master, f[mean].ref, 0.5, 1);
            for (int t = 0; t < STEPS; t++) { // gradients small enough for every eps to matter
                fixture_fill(&f[mean], f[mean].grads, f[mean].ref_grads, 1e-8 / (mean ? tokens : 1),
                             100 + (uint64_t)t);
                fixture_step(&f[mean], t, STEPS, 0);
            }
        }
        assert_memory_equal(f[0].master, f[1].master, fixture_bytes(&f[0]));
        for (int mean = 0; mean < 2; mean++) fixture_close(&f[mean]);
    }
}

// Momentum is warmed up from 0.85 to 0.95 over 4 steps; with plain averaging the state itself shows it.
static void momentum_warms_up(void **state) {
    (void)state;
    Fixture f;
    fixture_open(&f, TYPE_F64, WIDTH, "muon momentum-warmup=4", "sgd lr=0");
    StateTensor s = optimizer_state(f.optimizer, 0);
    for (int i = 0; strncmp(s.name, "momentum.layers.0.attention.qkv", 31) != 0; i++)
        s = optimizer_state(f.optimizer, i);
    double m = 0;
    const double expected[] = {0.85, 0.875, 0.9, 0.925, 0.95, 0.95};
    for (int t = 0; t < 6; t++) {
        fixture_fill(&f, f.grads, f.ref_grads, 0.1, 100 + (uint64_t)t);
        fixture_step(&f, t, 6, 0);
        m = expected[t] * m + (1 - expected[t]) * f.ref_grads[s.param->offset];
        double *state_now = fixture_state(&f, &s);
        assert_true(fabs(state_now[0] - m) < 1e-16);
        free(state_now);
    }
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_follows_its_equations),
        cmocka_unit_test(sgd_follows_its_equations),
        cmocka_unit_test(lion_follows_its_equations),
        cmocka_unit_test(signum_follows_its_equations),
        cmocka_unit_test(polar_family_follows_its_equations),
        cmocka_unit_test(paper_update_has_the_stated_size),
        cmocka_unit_test(mean_loss_with_scaled_eps_equals_summed_loss),
        cmocka_unit_test(momentum_warms_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
