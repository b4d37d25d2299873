// The network against float64 PyTorch: loss, logits and all gradients of the fixtures that tests/golden/model.py and
// benchmark.py make, on every instance. Without OpenBLAS (POLAR_BLAS=none) the program runs a second time in a child
// process.
#include "tests/fixtures/golden_network.h"
#include "tests/fixtures/read_model.h"

#include <sys/wait.h>
#include <unistd.h>

// Gradients left over from a step before must be gone afterwards, wherever they stand.
static void spoil_grads(Run *r) {
    int64_t n = r->model.table.elements;
    double *raw = alloc(n);
    size_t element = type_size(r->model.acc_type);
    for (int i = 0; i < r->model.table.n_params; i++) {
        const Param *p = &r->model.table.params[i];
        double *rubbish = alloc(param_elements(p));
        for (int64_t j = 0; j < param_elements(p); j++) rubbish[j] = 1e3;
        from_double(raw, rubbish, r->model.acc_type, param_elements(p));
        device_copy(r->stream, (char *)r->model.grads + (size_t)p->offset * element, raw,
                    (size_t)param_elements(p) * element);
        free(rubbish);
    }
    free(raw);
}

// In bf16 every rounding of a tensor has a relative error of 2^-9.4 (root mean square). There are some 60 on the way to a
// gradient, sqrt(60) 2^-9.4 = 1.1 %, and scores of size 3 in an exponent make three times as much of it.
static double tolerance(Type type) {
    return type == TYPE_F64 ? 1e-11 : type == TYPE_F32 ? 1e-5 : 0.04;
}

// Whether the gradient of an element of the bias of the queries, keys and values is zero by algebra: what is added to
// all keys alike, and stays so, shifts all scores of a row alike. A norm of the keys and rotations end that; a pair
// that stands still is not rotated.
static bool has_no_gradient(const ModelConfig *c, int64_t row) {
    int64_t A = (int64_t)c->n_head * c->head_dim, K = (int64_t)c->n_kv_head * c->head_dim;
    if (row < A || row >= A + K || c->qk_norm) return false;
    int64_t pair = (row - A) % (c->head_dim / 2);
    return !model_has_rope(c) || (c->positions == POSITIONS_HALF_ROPE && pair >= c->head_dim / 4);
}

// Those gradients are bounded by the tolerance times the gradient of all of the bias.
static bool zeros_close(const ModelConfig *c, const Param *p, const double *x, const double *ref, double tol) {
    double whole = norm_of(ref, p->cols);
    bool close = true;
    for (int64_t i = 0; i < p->cols; i++) {
        if (!has_no_gradient(c, i)) continue;
        assert_true(fabs(ref[i]) <= 1e-14 * whole);
        if (!(fabs(x[i]) <= tol * whole)) {
            print_error("%s: element %lld is %.3g, not 0\n", p->name, (long long)i, x[i]);
            close = false;
        }
    }
    return close;
}

// All gradients, in the sense of the design: relative to each tensor's norm, but to no less than a thousandth of
// the mean norm.
static bool grads_close(const Run *r, const double *const *refs, double tol) {
    const ParamTable *table = &r->model.table;
    double mean = 0;
    bool close = true;
    for (int i = 0; i < table->n_params; i++)
        mean += norm_of(refs[i], param_elements(&table->params[i])) / table->n_params;
    for (int i = 0; i < table->n_params; i++) {
        const Param *p = &table->params[i];
        const double *x = r->grads + p->offset;
        close &= is_close(p->name, x, refs[i], param_elements(p), tol, 1e-3 * mean);
        if (p->kind == PARAM_QKV_BIAS) close &= zeros_close(&r->model.config, p, x, refs[i], tol);
    }
    return close;
}

static bool check_fixture(const Fixture *f, Type type) {
    Run r;
    run_open(&r, f, type, 2, &(BatchShape){.B = f->B, .T = f->T});
    double tol = tolerance(type), loss_ref = *(const double *)golden_data(&f->file, TYPE_F64, 1, "loss");
    const double **refs = alloc(r.model.table.n_params);
    for (int i = 0; i < r.model.table.n_params; i++) {
        const Param *p = &r.model.table.params[i];
        refs[i] = golden_data(&f->file, TYPE_F64, param_elements(p), "grad.%s", p->name);
    }
    spoil_grads(&r);
    model_reset_loss(&r.model, r.stream);
    run_sequences(&r, f, 0, f->B, false);
    double loss = read_loss(&r.model, r.stream) / (f->B * f->T);
    read_grads(&r);
    bool close = is_close("loss", &loss, &loss_ref, 1, tol, 0);
    close &= grads_close(&r, refs, tol);

    // The same in two micro-batches, the second added to the first.
    model_reset_loss(&r.model, r.stream);
    run_sequences(&r, f, 0, 1, false);
    run_sequences(&r, f, 1, f->B - 1, true);
    loss = read_loss(&r.model, r.stream) / (f->B * f->T);
    read_grads(&r);
    close &= is_close("loss of two micro-batches", &loss, &loss_ref, 1, tol, 0);
    close &= grads_close(&r, refs, tol);
    free(refs);
    run_close(&r);
    return close;
}

static bool check_logits(const Fixture *f, Type type) {
    Run r;
    run_open(&r, f, type, 2, &(BatchShape){.B = f->B, .T = f->T, .use = USE_EVALUATION});
    int64_t T = f->T, Vp = f->config.vocab_padded;
    const double *ref = golden_data(&f->file, TYPE_F64, T * Vp, "logits");
    double *logits = alloc(Vp), *raw = alloc(Vp);
    FixedBatch batch =
        fixed_batch_create(r.device, r.stream, f->tokens, f->targets, f->B, f->T, f->config.vocab_size);
    // Each costs a forward pass: a few positions will do, the last among them.
    bool close = true;
    for (int t = f->T - 1; t >= 0; t -= 1 + f->T / 5) {
        const void *at = model_forward_logits(&r.model, r.stream, &batch.device, t, 0, NULL);
        device_copy(r.stream, raw, at, (size_t)Vp * type_size(type));
        stream_synchronize(r.stream);
        to_double(logits, raw, type, Vp);
        char what[32];
        snprintf(what, sizeof what, "logits at %d", t);
        close &= is_close(what, logits, ref + t * Vp, Vp, tolerance(type), 0);
    }

    // An inference model has the loss too, and counts on from what was there.
    double loss_ref = *(const double *)golden_data(&f->file, TYPE_F64, 1, "loss"), loss;
    model_reset_loss(&r.model, r.stream);
    for (int i = 0; i < 2; i++) model_forward_loss(&r.model, r.stream, &batch.device, NULL);
    loss = read_loss(&r.model, r.stream) / (2 * f->B * f->T);
    close &= is_close("loss without gradients", &loss, &loss_ref, 1, tolerance(type), 0);
    free(logits), free(raw);
    fixed_batch_free(&batch, r.device);
    run_close(&r);
    return close;
}

// The logits of a sequence that comes in pieces, of one position and of several, each after the keys and values of those
// before. The room for it is only as long as the sequence.
static bool check_pieces(const Fixture *f, Type type) {
    Run r;
    run_open(&r, f, type, 2, &(BatchShape){.B = 1, .T = f->T, .use = USE_DECODING});
    assert_true(model_can_continue(&r.model));
    int64_t T = f->T, Vp = f->config.vocab_padded;
    const double *ref = golden_data(&f->file, TYPE_F64, T * Vp, "logits");
    double *logits = alloc(Vp), *raw = alloc(Vp);
    bool close = true;
    for (int at = 0, piece = f->T / 2 + 1; at < f->T; at += piece, piece = at % 3 ? 1 : f->T / 8 + 1) {
        if (piece > f->T - at) piece = f->T - at;
        FixedBatch batch =
            fixed_batch_create(r.device, r.stream, f->tokens + at, f->targets + at, 1, piece, f->config.vocab_size);
        const void *out = model_forward_logits(&r.model, r.stream, &batch.device, piece - 1, at, NULL);
        device_copy(r.stream, raw, out, (size_t)Vp * type_size(type));
        stream_synchronize(r.stream);
        to_double(logits, raw, type, Vp);
        char what[48];
        snprintf(what, sizeof what, "logits of positions %d to %d", at, at + piece - 1);
        close &= is_close(what, logits, ref + (at + piece - 1) * Vp, Vp, tolerance(type), 0);
        fixed_batch_free(&batch, r.device);
    }
    free(logits), free(raw);
    run_close(&r);
    return close;
}

static void test_loss_and_gradients(void **state) {
    (void)state;
    for_each_instance(check_fixture);
}

static void test_logits(void **state) {
    (void)state;
    for_each_instance(check_logits);
}

static void test_pieces(void **state) {
    (void)state;
    for_each_instance(check_pieces);
}

// The own product adds in a fixed order: with it the threads change nothing at all.
static bool check_threads(const Fixture *f, Type type) {
    Run one, two;
    run_open(&one, f, type, 1, &(BatchShape){.B = f->B, .T = f->T});
    run_sequences(&one, f, 0, f->B, false);
    read_grads(&one);
    run_open(&two, f, type, 2, &(BatchShape){.B = f->B, .T = f->T});
    run_sequences(&two, f, 0, f->B, false);
    read_grads(&two);
    bool same = !memcmp(one.grads, two.grads, (size_t)one.model.table.elements * sizeof(double));
    if (!same) print_error("1 and 2 threads give different gradients\n");
    run_close(&one);
    run_close(&two);
    return same;
}

static void test_threads(void **state) {
    (void)state;
    for_each_instance(check_threads);
}

static void test_without_blas(void **state) {
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("POLAR_BLAS", "none", 1);
        execl("/proc/self/exe", "test_golden_model", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_and_gradients),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_pieces),
        without_blas() ? (struct CMUnitTest)cmocka_unit_test(test_threads)
                       : (struct CMUnitTest)cmocka_unit_test(test_without_blas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
