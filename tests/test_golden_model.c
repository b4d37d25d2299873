// The network against float64 PyTorch: loss, logits and all gradients of the fixtures that tests/golden/model.py
// makes, on every instance. Without OpenBLAS (POLAR_BLAS=none) the program runs a second time in a child process.
#include "tests/golden.h"

#include "device/cpu.h" // defines: Isa, cpu_isa
#include "model/model.h"
#include "tests/fixed_batch.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    Safetensors file;
    ModelConfig config;
    int B, T;
    const int32_t *tokens, *targets;
} Fixture;

// A model with the fixture's parameters on a device with some number of threads.
typedef struct {
    Device *device;
    Stream *stream;
    Model model;
    double *grads; // (table.elements) as double
} Run;

static const char *const names[] = {"gpt2", "long", "grouped"};
enum { N_FIXTURES = sizeof names / sizeof *names };

static Fixture fixture_open(const char *name) {
    Fixture f;
    char file[64];
    snprintf(file, sizeof file, "model_%s", name);
    golden_open(&f.file, file);
    f.config = (ModelConfig){.n_layer = golden_int(&f.file, "config.n_layer"),
                             .n_head = golden_int(&f.file, "config.n_head"),
                             .n_kv_head = golden_int(&f.file, "config.n_kv_head"),
                             .d_model = golden_int(&f.file, "config.d_model"),
                             .head_dim = golden_int(&f.file, "config.head_dim"),
                             .d_ff = golden_int(&f.file, "config.d_ff"),
                             .vocab_size = golden_int(&f.file, "config.vocab_size"),
                             .vocab_padded = golden_int(&f.file, "config.vocab_padded"),
                             .context = golden_int(&f.file, "config.context"),
                             .norm = NORM_LAYERNORM,
                             .norm_eps = 1e-5,
                             .positions = POSITIONS_LEARNED,
                             .activation = ACTIVATION_GELU_TANH,
                             .biases = golden_int(&f.file, "config.biases") ? BIASES_ALL : BIASES_NONE,
                             .norm_gain = true,
                             .norm_bias = golden_int(&f.file, "config.biases"),
                             .tied_head = golden_int(&f.file, "config.tied_head"),
                             .mask_padding = golden_int(&f.file, "config.mask_padding"),
                             .init_std = 0.02};
    f.B = golden_int(&f.file, "config.B"), f.T = golden_int(&f.file, "config.T");
    f.tokens = golden_data(&f.file, TYPE_I32, (int64_t)f.B * f.T, "tokens");
    f.targets = golden_data(&f.file, TYPE_I32, (int64_t)f.B * f.T, "targets");
    return f;
}

static void *alloc(int64_t elements) {
    void *memory = calloc((size_t)elements, sizeof(double));
    assert_non_null(memory);
    return memory;
}

static void run_open(Run *r, const Fixture *f, Type type, int threads, bool training) {
    Error err;
    if (!model_config_check(&f->config, &err)) fail_msg("%s", err.text);
    if (!device_open(&r->device, "cpu", threads, &err)) fail_msg("%s", err.text);
    r->stream = stream_create(r->device);
    if (!model_create(&r->model, &f->config, r->device, type,
                      &(ModelRun){.B = f->B, .T = f->T, .use = training ? USE_TRAINING : USE_EVALUATION}, &err))
        fail_msg("%s", err.text);
    r->grads = alloc(r->model.table.elements);
    int n_params = 0;
    for (int i = 0; i < f->file.n_tensors; i++) n_params += !strncmp(f->file.tensors[i].name, "param.", 6);
    assert_int_equal(n_params, r->model.table.n_params);
    for (int i = 0; i < n_params; i++) {
        const Param *p = &r->model.table.params[i];
        void *values = alloc(param_elements(p));
        from_double(values, golden_data(&f->file, TYPE_F64, param_elements(p), "param.%s", p->name), type,
                    param_elements(p));
        model_set_param(&r->model, r->stream, p, values);
        free(values);
    }
}

static void run_close(Run *r) {
    free(r->grads);
    model_free(&r->model);
    stream_destroy(r->stream);
    device_close(r->device);
}

// Forward and backward of sequences [first, first + count) of the fixture.
static void run_sequences(Run *r, const Fixture *f, int first, int count, bool accumulate) {
    FixedBatch batch = fixed_batch_create(r->device, r->stream, f->tokens + (size_t)first * f->T,
                                          f->targets + (size_t)first * f->T, count, f->T, f->config.vocab_size);
    model_forward_backward(&r->model, r->stream, &batch.device, 1.0 / (f->B * f->T), accumulate, NULL);
    stream_synchronize(r->stream);
    fixed_batch_free(&batch, r->device);
}

static void read_grads(Run *r) {
    int64_t n = r->model.table.elements;
    void *raw = alloc(n);
    device_copy(r->stream, raw, r->model.grads, (size_t)n * type_size(r->model.acc_type));
    stream_synchronize(r->stream);
    to_double(r->grads, raw, r->model.acc_type, n);
    free(raw);
}

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

static double tolerance(Type type) {
    return type == TYPE_F64 ? 1e-11 : 1e-5;
}

// All gradients, in the sense of the design: relative to each tensor's norm, but to no less than a thousandth of
// the mean norm. The key's bias has no gradient at all (it shifts all scores of a row alike): its part is bounded
// by the tolerance times the gradient of all of the bias.
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
        if (p->kind != PARAM_QKV_BIAS) continue;
        int64_t A = (int64_t)table->params[i].splits[0].rows, K = table->params[i].splits[1].rows;
        double whole = norm_of(refs[i], param_elements(p)), key = norm_of(x + A, K);
        assert_true(norm_of(refs[i] + A, K) <= 1e-14 * whole);
        if (!(key <= tol * whole)) {
            print_error("%s: the keys' part is %.3g, not 0\n", p->name, key);
            close = false;
        }
    }
    return close;
}

static bool check_fixture(const Fixture *f, Type type) {
    Run r;
    run_open(&r, f, type, 2, true);
    double tol = tolerance(type), loss_ref = *(const double *)golden_data(&f->file, TYPE_F64, 1, "loss");
    const double **refs = alloc(r.model.table.n_params);
    for (int i = 0; i < r.model.table.n_params; i++) {
        const Param *p = &r.model.table.params[i];
        refs[i] = golden_data(&f->file, TYPE_F64, param_elements(p), "grad.%s", p->name);
    }
    spoil_grads(&r);
    model_reset_loss(&r.model, r.stream);
    run_sequences(&r, f, 0, f->B, false);
    double loss = model_read_loss(&r.model, r.stream) / (f->B * f->T);
    read_grads(&r);
    bool close = is_close("loss", &loss, &loss_ref, 1, tol, 0);
    close &= grads_close(&r, refs, tol);

    // The same in two micro-batches, the second added to the first.
    model_reset_loss(&r.model, r.stream);
    run_sequences(&r, f, 0, 1, false);
    run_sequences(&r, f, 1, f->B - 1, true);
    loss = model_read_loss(&r.model, r.stream) / (f->B * f->T);
    read_grads(&r);
    close &= is_close("loss of two micro-batches", &loss, &loss_ref, 1, tol, 0);
    close &= grads_close(&r, refs, tol);
    free(refs);
    run_close(&r);
    return close;
}

static bool check_logits(const Fixture *f, Type type) {
    Run r;
    run_open(&r, f, type, 2, false);
    int64_t T = f->T, Vp = f->config.vocab_padded;
    const double *ref = golden_data(&f->file, TYPE_F64, T * Vp, "logits");
    double *logits = alloc(Vp), *raw = alloc(Vp);
    FixedBatch batch =
        fixed_batch_create(r.device, r.stream, f->tokens, f->targets, f->B, f->T, f->config.vocab_size);
    // Each costs a forward pass: about twenty positions of a long sequence will do, the last among them.
    bool close = true;
    for (int t = f->T - 1; t >= 0; t -= 1 + f->T / 20) {
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
    loss = model_read_loss(&r.model, r.stream) / (2 * f->B * f->T);
    close &= is_close("loss without gradients", &loss, &loss_ref, 1, tolerance(type), 0);
    free(logits), free(raw);
    fixed_batch_free(&batch, r.device);
    run_close(&r);
    return close;
}

static void for_each_instance(bool (*check)(const Fixture *f, Type type)) {
    char asked[16];
    snprintf(asked, sizeof asked, "%s", isa_name(cpu_isa()));
    bool close = true;
    for (Isa isa = ISA_BASE, best = cpu_isa(); isa <= best; isa++)
        for (int i = 0; i < N_FIXTURES; i++)
            for (Type type = TYPE_F32; type <= TYPE_F64; type++) {
                setenv("POLAR_ISA", isa_name(isa), 1);
                Fixture f = fixture_open(names[i]);
                bool this_one = check(&f, type);
                if (!this_one) print_error("... in fixture %s, %s %s\n", names[i], type_name(type), isa_name(isa));
                close &= this_one;
                safetensors_close(&f.file);
            }
    setenv("POLAR_ISA", asked, 1);
    assert_true(close);
}

static void test_loss_and_gradients(void **state) {
    (void)state;
    for_each_instance(check_fixture);
}

static void test_logits(void **state) {
    (void)state;
    for_each_instance(check_logits);
}

// The own product adds in a fixed order: with it the threads change nothing at all.
static bool check_threads(const Fixture *f, Type type) {
    Run one, two;
    run_open(&one, f, type, 1, true);
    run_sequences(&one, f, 0, f->B, false);
    read_grads(&one);
    run_open(&two, f, type, 2, true);
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
    const char *blas = getenv("POLAR_BLAS");
    bool own = blas && !strcmp(blas, "none");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_and_gradients),
        cmocka_unit_test(test_logits),
        own ? (struct CMUnitTest)cmocka_unit_test(test_threads)
            : (struct CMUnitTest)cmocka_unit_test(test_without_blas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
