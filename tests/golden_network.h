// tests/golden_network.h - the fixtures of networks (tests/golden/model.py, benchmark.py) and models made from them.
#ifndef POLAR_TESTS_GOLDEN_NETWORK_H
#define POLAR_TESTS_GOLDEN_NETWORK_H

#include "tests/golden.h"

#include "device/cpu/cpu.h"
#include "model/model.h"
#include "tests/fixed_batch.h"
#include "tests/gpu_required.h"

#include <stdlib.h>

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

static const char *const fixture_names[] = {"model_gpt2",      "model_grouped", "model_long",        "model_llama",
                                            "model_qwen",      "model_capped",  "model_capped_root", "model_bare",
                                            "model_bias_only", "model_half4",   "benchmark",         "record2024"};
enum { N_FIXTURES = sizeof fixture_names / sizeof *fixture_names };

// An option of the network, under its name on the command line; enumerations as their place among the names.
static inline int config_int(const Fixture *f, const char *option) {
    return *(const int32_t *)golden_data(&f->file, TYPE_I32, 1, "config.%s", option);
}

static inline double config_real(const Fixture *f, const char *option) {
    return *(const double *)golden_data(&f->file, TYPE_F64, 1, "config.%s", option);
}

static inline Fixture fixture_open(const char *name) {
    Fixture f;
    golden_open(&f.file, name);
    f.config = (ModelConfig){.n_layer = config_int(&f, "n-layer"),
                             .n_head = config_int(&f, "n-head"),
                             .n_kv_head = config_int(&f, "n-kv-head"),
                             .d_model = config_int(&f, "d-model"),
                             .head_dim = config_int(&f, "head-dim"),
                             .d_ff = config_int(&f, "d-ff"),
                             .vocab_size = config_int(&f, "vocab-size"),
                             .vocab_padded = config_int(&f, "vocab-padded"),
                             .context = config_int(&f, "context"),
                             .norm = config_int(&f, "norm"),
                             .norm_eps = config_real(&f, "norm-eps"),
                             .norm_gain = config_int(&f, "norm-gain"),
                             .norm_bias = config_int(&f, "norm-bias"),
                             .embed_norm = config_int(&f, "embed-norm"),
                             .positions = config_int(&f, "positions"),
                             .rope_base = config_real(&f, "rope-base"),
                             .qk_norm = config_int(&f, "qk-norm"),
                             .attention_scale = config_real(&f, "attention-scale"),
                             .depth_scaled_attention = config_int(&f, "depth-scaled-attention"),
                             .activation = config_int(&f, "activation"),
                             .biases = config_int(&f, "biases"),
                             .tied_head = config_int(&f, "tied-head"),
                             .head_bias = config_int(&f, "head-bias"),
                             .mask_padding = config_int(&f, "mask-padding"),
                             .softcap = config_real(&f, "softcap"),
                             .softcap_kind = config_int(&f, "softcap-form"),
                             .init_std = 0.02};
    f.B = config_int(&f, "B"), f.T = config_int(&f, "T");
    f.tokens = golden_data(&f.file, TYPE_I32, (int64_t)f.B * f.T, "tokens");
    f.targets = golden_data(&f.file, TYPE_I32, (int64_t)f.B * f.T, "targets");
    return f;
}

static inline void *alloc(int64_t elements) {
    void *memory = calloc((size_t)elements, sizeof(double));
    assert_non_null(memory);
    return memory;
}

static const char *run_device = "cpu";

static inline void run_open(Run *r, const Fixture *f, Type type, int threads, const ModelRun *shape) {
    Error err;
    if (!model_config_check(&f->config, &err)) fail_msg("%s", err.text);
    if (!device_open(&r->device, run_device, threads, &err)) fail_msg("%s", err.text);
    r->stream = stream_create(r->device);
    if (!model_create(&r->model, &f->config, r->device, type, shape, &err)) fail_msg("%s", err.text);
    r->grads = alloc(r->model.table.elements);
    int n_params = 0;
    for (int i = 0; i < f->file.n_tensors; i++) n_params += !strncmp(f->file.tensors[i].name, "param.", 6);
    assert_int_equal(n_params, r->model.table.n_params);
    for (int i = 0; i < n_params; i++) {
        const Param *p = &r->model.table.params[i];
        int64_t n = param_elements(p);
        const float *stored = golden_data(&f->file, TYPE_F32, n, "param.%s", p->name);
        double *wide = alloc(n), *values = alloc(n);
        to_double(wide, stored, TYPE_F32, n);
        from_double(values, wide, type_accumulate(type), n);
        model_set_param(&r->model, r->stream, p, values);
        free(wide), free(values);
    }
}

static inline void run_close(Run *r) {
    free(r->grads);
    model_free(&r->model);
    stream_destroy(r->stream);
    device_close(r->device);
}

// Forward and backward of sequences [first, first + count) of the fixture.
static inline void run_sequences(Run *r, const Fixture *f, int first, int count, bool accumulate) {
    FixedBatch batch = fixed_batch_create(r->device, r->stream, f->tokens + (size_t)first * f->T,
                                          f->targets + (size_t)first * f->T, count, f->T, f->config.vocab_size);
    model_forward_backward(&r->model, r->stream, &batch.device, 1.0 / (f->B * f->T), accumulate, NULL);
    stream_synchronize(r->stream);
    fixed_batch_free(&batch, r->device);
}

static inline void read_grads(Run *r) {
    int64_t n = r->model.table.elements;
    void *raw = alloc(n);
    device_copy(r->stream, raw, r->model.grads, (size_t)n * type_size(r->model.acc_type));
    stream_synchronize(r->stream);
    to_double(r->grads, raw, r->model.acc_type, n);
    free(raw);
}

// Whether the own product does the work: it adds in an order that the number of threads does not change.
static inline bool without_blas(void) {
    const char *blas = getenv("POLAR_BLAS");
    return blas && !strcmp(blas, "none");
}

// A check of every fixture in one instance; `where` names it.
static inline bool check_fixtures(bool (*check)(const Fixture *f, Type type), Type type, const char *where) {
    bool close = true;
    for (int i = 0; i < N_FIXTURES; i++) {
        Fixture f = fixture_open(fixture_names[i]);
        bool this_one = check(&f, type);
        if (!this_one) print_error("... in fixture %s, %s %s\n", fixture_names[i], type_name(type), where);
        close &= this_one;
        safetensors_close(&f.file);
    }
    return close;
}

// Calls check for every fixture, type and instruction set of this machine, and on its GPU. Where that is imitated only
// there: the processor has its turn in the build without.
static inline void for_each_instance(bool (*check)(const Fixture *f, Type type)) {
    char asked[16];
    snprintf(asked, sizeof asked, "%s", isa_name(cpu_isa()));
    bool close = true;
#ifndef CUDA_ON_CPU
    for (Isa isa = ISA_BASE, best = cpu_isa(); isa <= best; isa++) {
        setenv("POLAR_ISA", isa_name(isa), 1);
        for (Type type = TYPE_F32; type <= TYPE_F64; type++) close &= check_fixtures(check, type, isa_name(isa));
    }
#endif
    setenv("POLAR_ISA", asked, 1);
    if (!without_blas() && there_is_a_gpu()) {
        run_device = "cuda";
        close &= check_fixtures(check, TYPE_F32, run_device) & check_fixtures(check, TYPE_BF16, run_device);
        run_device = "cpu";
    }
    assert_true(close);
}

#endif
