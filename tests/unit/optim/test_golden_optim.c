// The optimizers against the published implementations: single steps from recorded states, by tests/golden/optim.py.
//
// Parameters and state are loaded from the fixture before each of the ten steps, so that errors do not accumulate. The
// test compares the update, after minus before. The published code in float32 is itself within 7.2e-6 of float64 (the
// script prints it; Newton-Schulz amplifies rounding, and p - lr u rounds at the size of p), so the tolerance is 2e-5;
// in double, with the same amplification of a smaller eps, 1e-11.
#include "tests/fixtures/golden.h"
#include "tests/fixtures/gpu_required.h"

#include "device/cpu/cpu.h"
#include "optim/optimizer.h"

#include <stdlib.h>

enum { STEPS = 10, F64_STEPS = 2 };
static const int f64_steps[F64_STEPS] = {0, 9};

typedef struct {
    const char *file, *name, *optimizers[GROUP_COUNT], *form;
    const char *polar[GROUP_COUNT]; // NULL: the default
} Case;

static const Case cases[] = {
    {"optim",
     "muon",
     {[GROUP_HIDDEN] = "muon", [GROUP_EMBED] = "adamw", [GROUP_HEAD] = "sgd", [GROUP_VECTOR] = "adamw"},
     NULL,
     {NULL}},
    {"optim",
     "normuon_official",
     {[GROUP_HIDDEN] = "normuon", [GROUP_EMBED] = "adamw", [GROUP_HEAD] = "adamw", [GROUP_VECTOR] = "adamw"},
     "official",
     {NULL}},
    {"optim",
     "normuon_paper",
     {[GROUP_HIDDEN] = "normuon", [GROUP_EMBED] = "sgd", [GROUP_HEAD] = "adamw", [GROUP_VECTOR] = "sgd"},
     "paper",
     {NULL}},
    {"polargrad",
     "polargrad",
     {[GROUP_HIDDEN] = "polargrad",
      [GROUP_EMBED] = "polargrad",
      [GROUP_HEAD] = "polargrad",
      [GROUP_VECTOR] = "sgd"},
     NULL,
     {[GROUP_HIDDEN] = "ns5", [GROUP_EMBED] = "polar-express", [GROUP_HEAD] = "polar-express"}},
    {"polargrad",
     "polarsgd",
     {[GROUP_HIDDEN] = "polargrad", [GROUP_EMBED] = "rownorm", [GROUP_HEAD] = "rownorm", [GROUP_VECTOR] = "sgd"},
     NULL,
     {[GROUP_HIDDEN] = "polar-express"}},
    {"polargrad",
     "polar_first",
     {[GROUP_HIDDEN] = "polargrad",
      [GROUP_EMBED] = "polargrad",
      [GROUP_HEAD] = "polargrad",
      [GROUP_VECTOR] = "sgd"},
     NULL,
     {[GROUP_HIDDEN] = "ns5", [GROUP_EMBED] = "ns5", [GROUP_HEAD] = "ns5"}},
    {"polargrad",
     "qdwh",
     {[GROUP_HIDDEN] = "polargrad",
      [GROUP_EMBED] = "polargrad",
      [GROUP_HEAD] = "polargrad",
      [GROUP_VECTOR] = "sgd"},
     NULL,
     {[GROUP_HIDDEN] = "qdwh", [GROUP_EMBED] = "qdwh", [GROUP_HEAD] = "qdwh"}},
    {"lion",
     "lion",
     {[GROUP_HIDDEN] = "lion", [GROUP_EMBED] = "lion", [GROUP_HEAD] = "lion", [GROUP_VECTOR] = "lion"},
     NULL,
     {NULL}},
};

typedef struct {
    Safetensors file;
    ParamTable table;
    Device *device;
    Stream *stream;
    Optimizer *optimizer;
    Type type;
    void *master, *grads;
    double *loss;
} Run;

static void set(ParamGroupOptions *settings, const char *option, const char *value) {
    Error err;
    if (!param_group_set(settings, option, value, &err)) fail_msg("%s", err.text);
}

// Reads the options of the fixture, from its tensors setting.CASE.GROUP.OPTION.
static void load_settings(ParamGroupOptions settings[GROUP_COUNT], const Safetensors *file, const Case *c) {
    for (ParamGroup group = 0; group < GROUP_COUNT; group++) {
        Error err;
        const OptimizerDef *def = optimizer_find(c->optimizers[group], &err);
        if (!def) fail_msg("%s", err.text);
        param_group_init(&settings[group], def);
        if (group == GROUP_HIDDEN && c->form) set(&settings[group], "form", c->form);
        if (group == GROUP_HIDDEN && def->splits) set(&settings[group], "split-qkv", "false");
        if (c->polar[group]) set(&settings[group], "polar", c->polar[group]);
        char prefix[64], value[32];
        int length = snprintf(prefix, sizeof prefix, "setting.%s.%s.", c->name, group_name(group));
        for (int i = 0; i < file->n_tensors; i++) {
            const SafeTensor *t = &file->tensors[i];
            if (strncmp(t->name, prefix, (size_t)length)) continue;
            snprintf(value, sizeof value, "%.17g", *(const double *)golden_data(file, TYPE_F64, 1, "%s", t->name));
            set(&settings[group], t->name + length, value);
        }
        if (def->resolve) def->resolve(&settings[group]);
    }
}

static int count_tensors(const Safetensors *file, const char *prefix) {
    int count = 0;
    for (int i = 0; i < file->n_tensors; i++) count += !strncmp(file->tensors[i].name, prefix, strlen(prefix));
    return count;
}

// Checks that every recorded parameter and state tensor exists here, so that none is left uncompared.
static void check_counts(const Run *r, const Case *c) {
    char all[64], params[64], f64[64];
    snprintf(all, sizeof all, "%s.", c->name);
    snprintf(params, sizeof params, "%s.param.", c->name);
    snprintf(f64, sizeof f64, "%s.f64.", c->name);
    int n_params = count_tensors(&r->file, params);
    assert_int_equal(r->table.n_params, n_params);
    assert_int_equal(optimizer_state_count(r->optimizer),
                     count_tensors(&r->file, all) - count_tensors(&r->file, f64) - n_params);
}

static void run_open(Run *r, const Case *c, const char *device, Type type) {
    Error err;
    golden_open(&r->file, c->file);
    ModelConfig config = {.n_layer = golden_int(&r->file, "config.n_layer"),
                          .n_head = golden_int(&r->file, "config.n_head"),
                          .n_kv_head = golden_int(&r->file, "config.n_head"),
                          .d_model = golden_int(&r->file, "config.d_model"),
                          .head_dim = golden_int(&r->file, "config.head_dim"),
                          .d_ff = golden_int(&r->file, "config.d_ff"),
                          .vocab_size = golden_int(&r->file, "config.vocab_size"),
                          .vocab_padded = golden_int(&r->file, "config.vocab_padded"),
                          .context = golden_int(&r->file, "config.context"),
                          .norm_eps = 1e-5,
                          .biases = BIASES_ALL,
                          .norm_gain = true,
                          .norm_bias = true,
                          .mask_padding = true,
                          .init_std = 0.02};
    if (!model_config_check(&config, &err)) fail_msg("%s", err.text);
    param_table_init(&r->table, &config);
    ParamGroupOptions settings[GROUP_COUNT];
    load_settings(settings, &r->file, c);
    if (!device_open(&r->device, device, 2, &err)) fail_msg("%s", err.text);
    r->stream = stream_create(r->device);
    r->type = type;
    r->optimizer = optimizer_create(r->device, type, &r->table, settings, &err);
    if (!r->optimizer) fail_msg("%s", err.text);
    size_t bytes = (size_t)r->table.elements * type_size(type);
    r->master = device_alloc(r->device, bytes), r->grads = device_alloc(r->device, bytes);
    r->loss = device_alloc(r->device, sizeof *r->loss);
    assert_true(r->master && r->grads && r->loss);
    check_counts(r, c);
}

static void run_close(Run *r) {
    device_free(r->device, r->master);
    device_free(r->device, r->grads);
    device_free(r->device, r->loss);
    optimizer_free(r->optimizer);
    stream_destroy(r->stream);
    device_close(r->device);
    param_table_free(&r->table);
    safetensors_close(&r->file);
}

// Returns n elements of a device array as doubles, from element `first` on; the caller frees them.
static double *read_device(const Run *r, const void *data, int64_t first, int64_t n) {
    size_t element = type_size(r->type);
    double *out = calloc((size_t)n, sizeof *out);
    void *raw = calloc((size_t)n, element);
    assert_true(out && raw);
    device_copy(r->stream, raw, (const char *)data + (size_t)first * element, (size_t)n * element);
    stream_synchronize(r->stream);
    to_double(out, raw, r->type, n);
    free(raw);
    return out;
}

static void write_device(const Run *r, void *data, int64_t first, const double *values, int64_t n) {
    size_t element = type_size(r->type);
    void *raw = calloc((size_t)n, element);
    assert_non_null(raw);
    from_double(raw, values, r->type, n);
    device_copy(r->stream, (char *)data + (size_t)first * element, raw, (size_t)n * element);
    stream_synchronize(r->stream);
    free(raw);
}

// Returns entry `index` of a recorded series (count, n) as doubles; the caller frees them.
static double *recorded(const Safetensors *file, Type type, int index, int count, int64_t n,
                        const char *case_prefix, const char *what, const char *param) {
    const char *data = golden_data(file, type, count * n, "%s%s.%s", case_prefix, what, param);
    double *out = calloc((size_t)n, sizeof *out);
    assert_non_null(out);
    to_double(out, data + (size_t)(index * n) * type_size(type), type, n);
    return out;
}

static void load_step(const Run *r, const char *prefix, int t) {
    for (int i = 0; i < r->table.n_params; i++) {
        const Param *p = &r->table.params[i];
        int64_t n = param_elements(p);
        double *value = recorded(&r->file, TYPE_F32, t, STEPS + 1, n, prefix, "param", p->name);
        double *gradient = recorded(&r->file, TYPE_F32, t, STEPS, n, "", "grad", p->name);
        write_device(r, r->master, p->offset, value, n);
        write_device(r, r->grads, p->offset, gradient, n);
        free(value), free(gradient);
    }
    for (int i = 0; i < optimizer_state_count(r->optimizer); i++) {
        StateTensor s = optimizer_state(r->optimizer, i);
        int64_t n = s.spec.rows * s.spec.cols;
        double *value = recorded(&r->file, TYPE_F32, t, STEPS + 1, n, prefix, s.spec.name, s.param->name);
        write_device(r, s.data, 0, value, n);
        free(value);
    }
    optimizer_set_applied(r->optimizer, r->stream, t);
}

// Compares the results of step t with entry `index` of the recorded series `prefix`.
static bool check_step(const Run *r, const char *prefix, const char *before_prefix, int t, int index, int count,
                       Type recorded_type, double tol) {
    bool close = true;
    for (int i = 0; i < r->table.n_params; i++) {
        const Param *p = &r->table.params[i];
        int64_t n = param_elements(p);
        double *before = recorded(&r->file, TYPE_F32, t, STEPS + 1, n, before_prefix, "param", p->name);
        double *after = recorded(&r->file, recorded_type, index, count, n, prefix, "param", p->name);
        double *ours = read_device(r, r->master, p->offset, n);
        for (int64_t j = 0; j < n; j++) after[j] -= before[j], ours[j] -= before[j];
        close &= is_close(p->name, ours, after, n, tol, 0);
        free(before), free(after), free(ours);
    }
    for (int i = 0; i < optimizer_state_count(r->optimizer); i++) {
        StateTensor s = optimizer_state(r->optimizer, i);
        int64_t n = s.spec.rows * s.spec.cols;
        double *after = recorded(&r->file, recorded_type, index, count, n, prefix, s.spec.name, s.param->name);
        double *ours = read_device(r, s.data, 0, n);
        close &= is_close(s.name, ours, after, n, tol, 0);
        free(after), free(ours);
    }
    return close;
}

static void step(const Run *r, int t) {
    optimizer_step(r->optimizer, r->stream, r->master, r->master, r->grads, r->loss, t, STEPS, 0, 1,
                   (double)INFINITY);
    stream_synchronize(r->stream);
}

static bool check_f32(const Case *c, const char *device) {
    Run r;
    char prefix[64];
    bool close = true;
    run_open(&r, c, device, TYPE_F32);
    snprintf(prefix, sizeof prefix, "%s.", c->name);
    for (int t = 0; t < STEPS; t++) {
        load_step(&r, prefix, t);
        step(&r, t);
        close &= check_step(&r, prefix, prefix, t, t + 1, STEPS + 1, TYPE_F32, 2e-5);
    }
    run_close(&r);
    return close;
}

static bool check_f64(const Case *c) {
    Run r;
    char prefix[64], f64_prefix[64];
    bool close = true;
    run_open(&r, c, "cpu", TYPE_F64);
    snprintf(prefix, sizeof prefix, "%s.", c->name);
    snprintf(f64_prefix, sizeof f64_prefix, "%s.f64.", c->name);
    for (int i = 0; i < F64_STEPS; i++) {
        load_step(&r, prefix, f64_steps[i]);
        step(&r, f64_steps[i]);
        close &= check_step(&r, f64_prefix, prefix, f64_steps[i], i, F64_STEPS, TYPE_F64, 1e-11);
    }
    run_close(&r);
    return close;
}

static bool close_on_cpu(const Case *c) {
    char asked[16];
    bool close = true;
    snprintf(asked, sizeof asked, "%s", isa_name(cpu_isa()));
    for (Isa isa = ISA_BASE, best = cpu_isa(); isa <= best; isa++) {
        setenv("POLAR_ISA", isa_name(isa), 1);
        bool this_one = check_f32(c, "cpu");
        this_one &= check_f64(c);
        if (!this_one) print_error("... in %s, %s\n", c->name, isa_name(isa));
        close &= this_one;
    }
    setenv("POLAR_ISA", asked, 1);
    return close;
}

static bool close_on_gpu(const Case *c) {
    bool close = check_f32(c, "cuda");
    if (!close) print_error("... in %s, cuda\n", c->name);
    return close;
}

static void check_case(const Case *c) {
    bool close = close_on_cpu(c);
    if (there_is_a_gpu()) close &= close_on_gpu(c);
    assert_true(close);
}

static void test_muon(void **state) {
    (void)state;
    check_case(&cases[0]);
}

static void test_normuon_official(void **state) {
    (void)state;
    check_case(&cases[1]);
}

static void test_normuon_paper(void **state) {
    (void)state;
    check_case(&cases[2]);
}

static void test_polargrad(void **state) {
    (void)state;
    check_case(&cases[3]);
}

static void test_polarsgd(void **state) {
    (void)state;
    check_case(&cases[4]);
}

static void test_polar_first(void **state) {
    (void)state;
    check_case(&cases[5]);
}

static void test_qdwh(void **state) {
    (void)state;
    Error err, gpu_err;
    bool on_cpu = solves_on("cpu", &err), on_gpu = solves_on("cuda", &gpu_err), close = true;
    if (!on_cpu && !on_gpu) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    if (on_cpu) close &= close_on_cpu(&cases[6]);
    if (on_gpu) close &= close_on_gpu(&cases[6]);
    assert_true(close);
}

static void test_lion(void **state) {
    (void)state;
    check_case(&cases[7]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_muon),          cmocka_unit_test(test_normuon_official),
        cmocka_unit_test(test_normuon_paper), cmocka_unit_test(test_polargrad),
        cmocka_unit_test(test_polarsgd),      cmocka_unit_test(test_polar_first),
        cmocka_unit_test(test_qdwh),          cmocka_unit_test(test_lion)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
