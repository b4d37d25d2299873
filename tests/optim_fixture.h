// tests/optim_fixture.h - an optimizer over a small table of parameters on a device, host copies of its arenas, and the
// same in double for a reference to work on. Tests write master weights and gradients on the host; fixture_step takes them
// to the device and brings the master weights back.
#ifndef POLAR_TESTS_OPTIM_FIXTURE_H
#define POLAR_TESTS_OPTIM_FIXTURE_H

#include "device/cpu/cpu.h"
#include "base/random.h"
#include "optim/optimizer.h"

#include "tests/gpu_required.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CUDA_ON_CPU
#include "cuda_on_cpu.h"
#endif

typedef struct {
    Device *device;
    Stream *stream;
    Type type, acc_type; // of the network; of master weights, gradients and states
    ParamTable table;
    void *master, *grads;    // host memory, of acc_type
    double *loss;            // host memory
    double *ref, *ref_grads; // the same values in double
    void *device_master, *device_weights, *device_grads;
    double *device_loss;
    Optimizer *optimizer;
} Fixture;

// The device that fixtures are opened on.
static const char *fixture_device = "cpu";

// Hidden matrices that are square (q), of one row (k, v), tall (up) and wide (down), a padded vocabulary, vectors.
static inline ModelConfig fixture_config(int width) {
    return (ModelConfig){.n_layer = 2,
                         .n_head = width,
                         .n_kv_head = 1,
                         .d_model = width,
                         .head_dim = 1,
                         .d_ff = 2 * width + 1,
                         .vocab_size = width + 3,
                         .vocab_padded = width + 8,
                         .context = 6,
                         .biases = BIASES_ALL,
                         .norm_gain = true,
                         .norm_bias = true,
                         .init_std = 0.1};
}

static inline double fixture_get(const Fixture *f, const void *arena, int64_t i) {
    return f->acc_type == TYPE_F64 ? ((const double *)arena)[i] : (double)((const float *)arena)[i];
}

static inline void fixture_put(const Fixture *f, void *arena, int64_t i, double value) {
    if (f->acc_type == TYPE_F64) ((double *)arena)[i] = value;
    else ((float *)arena)[i] = (float)value;
}

// `hidden` for the hidden matrices, `others` for everything else; "name key=value key=value".
static inline void fixture_settings(ParamGroupOptions settings[GROUP_COUNT], const char *hidden,
                                    const char *others) {
    for (int g = 0; g < GROUP_COUNT; g++) {
        char text[512];
        snprintf(text, sizeof text, "%s", g == GROUP_HIDDEN ? hidden : others);
        Error err = {""};
        char *save = NULL, *word = strtok_r(text, " ", &save);
        const OptimizerDef *def = optimizer_find(word, &err);
        ASSERT(def != NULL);
        param_group_init(&settings[g], def);
        while ((word = strtok_r(NULL, " ", &save))) {
            char *value = strchr(word, '=');
            *value++ = 0;
            if (!param_group_set(&settings[g], word, value, &err)) {
                fprintf(stderr, "%s\n", err.text);
                abort();
            }
        }
    }
}

// Another optimizer over the same parameters.
static inline void fixture_replace(Fixture *f, const ParamGroupOptions settings[GROUP_COUNT]) {
    Error err = {""};
    optimizer_free(f->optimizer);
    f->optimizer = optimizer_create(f->device, f->type, &f->table, settings, &err);
    if (!f->optimizer) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

static inline void fixture_open_network(Fixture *f, Type type, ModelConfig config, const char *hidden,
                                        const char *others) {
    *f = (Fixture){.type = type, .acc_type = type_accumulate(type)};
    Error err = {""};
    if (!device_open(&f->device, fixture_device, 0, &err)) abort();
    f->stream = stream_create(f->device);
    param_table_init(&f->table, &config);
    size_t n = (size_t)f->table.elements, bytes = n * type_size(f->acc_type);
    f->master = calloc(1, bytes);
    f->grads = calloc(1, bytes);
    f->loss = calloc(1, sizeof *f->loss);
    f->device_master = device_alloc(f->device, bytes);
    f->device_weights = type == f->acc_type ? f->device_master : device_alloc(f->device, n * type_size(type));
    f->device_grads = device_alloc(f->device, bytes);
    f->device_loss = device_alloc(f->device, sizeof *f->loss);
    f->ref = calloc(n, sizeof *f->ref);
    f->ref_grads = calloc(n, sizeof *f->ref_grads);
    ParamGroupOptions settings[GROUP_COUNT];
    fixture_settings(settings, hidden, others);
    fixture_replace(f, settings);
}

static inline void fixture_open(Fixture *f, Type type, int width, const char *hidden, const char *others) {
    fixture_open_network(f, type, fixture_config(width), hidden, others);
}

static inline void fixture_close(Fixture *f) {
    optimizer_free(f->optimizer);
    if (f->device_weights != f->device_master) device_free(f->device, f->device_weights);
    device_free(f->device, f->device_master);
    device_free(f->device, f->device_grads);
    device_free(f->device, f->device_loss);
    free(f->master);
    free(f->grads);
    free(f->loss);
    free(f->ref);
    free(f->ref_grads);
    param_table_free(&f->table);
    stream_destroy(f->stream);
    device_close(f->device);
}

// Normal values in every valid element of an arena and, rounded to the type, of its double.
static inline void fixture_fill(Fixture *f, void *arena, double *ref, double std, uint64_t seed) {
    for (int i = 0; i < f->table.n_params; i++) {
        const Param *p = &f->table.params[i];
        for (int64_t j = 0; j < p->valid_rows * p->cols; j++) {
            fixture_put(f, arena, p->offset + j, std * random_normal(seed, RANDOM_TEST, (uint64_t)(p->offset + j)));
            ref[p->offset + j] = fixture_get(f, arena, p->offset + j);
        }
    }
}

// Normal gradients. For a factor in bf16, whose error of rounding would be all there is of the smallest singular values
// of a random matrix, those of every matrix are brought close to each other by a large diagonal.
static inline void fixture_fill_grads(Fixture *f, double std, uint64_t seed) {
    fixture_fill(f, f->grads, f->ref_grads, std, seed);
    for (int i = 0; f->type == TYPE_BF16 && i < f->table.n_params; i++) {
        const Param *p = &f->table.params[i];
        for (int64_t r = 0; param_is_matrix(p) && r < p->valid_rows; r++) {
            int64_t at = p->offset + r * p->cols + r % p->cols;
            fixture_put(f, f->grads, at, f->ref_grads[at] + 30 * std);
            f->ref_grads[at] = fixture_get(f, f->grads, at);
        }
    }
}

// Relative error of a factor in bf16 of such a gradient: every step of the iteration rounds X, its Gram matrix and the
// polynomial of that, by 2^-9 of terms that the coefficients, 10 in all for ns5 and 4 for the simple one, make larger; 5 or
// 12 steps.
static const double FIXTURE_BF16_FACTOR = 0.1;

// ||p - ref|| of one parameter over all its elements, padding included: that must stay zero.
static inline double fixture_error(const Fixture *f, const Param *p) {
    double squares = 0;
    for (int64_t i = p->offset; i < p->offset + param_elements(p); i++)
        squares += pow(fixture_get(f, f->master, i) - f->ref[i], 2);
    return sqrt(squares);
}

// The order in which an imitated GPU runs its threads; any n.
static inline void fixture_order(int n) {
#ifdef CUDA_ON_CPU
    cuda_on_cpu_set_order((CudaOnCpuOrder)(n % 3), (uint64_t)n);
#else
    (void)n;
#endif
}

// Both types on every instruction set this machine has, and those of a GPU where the build has CUDA and finds one.
static inline void fixture_each_instance(void (*test)(Type type)) {
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        setenv("POLAR_ISA", isa_name((Isa)isa), 1);
        if ((int)cpu_isa() != isa) continue;
        test(TYPE_F32);
        test(TYPE_F64);
    }
    unsetenv("POLAR_ISA");
    if (!there_is_a_gpu()) return;
    fixture_device = "cuda";
    test(TYPE_F32);
    test(TYPE_BF16);
    fixture_device = "cpu";
}

// Of what is computed with.
static inline double fixture_epsilon(Type type) {
    return type == TYPE_F64 ? 2.22e-16 : 1.19e-7;
}

static inline double fixture_norm(const double *x, int64_t n) {
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += x[i] * x[i];
    return sqrt(squares);
}

// A float as bf16, rounded to the nearest, ties to even.
static inline uint16_t fixture_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Copies in bf16 of the master weights.
static inline void fixture_round(const Fixture *f, uint16_t *weights) {
    for (int64_t i = 0; i < f->table.elements; i++) weights[i] = fixture_bf16(((const float *)f->master)[i]);
}

static inline void fixture_step_judged(Fixture *f, int64_t t, int64_t total, double max_grad_norm,
                                       double loss_scale, double loss_limit) {
    Stream *s = f->stream;
    size_t n = (size_t)f->table.elements, bytes = n * type_size(f->acc_type);
    bool copies = f->device_weights != f->device_master;
    uint16_t *weights = copies ? malloc(n * sizeof *weights) : NULL,
             *after = copies ? malloc(n * sizeof *after) : NULL;
    device_copy(s, f->device_master, f->master, bytes);
    device_copy(s, f->device_grads, f->grads, bytes);
    device_copy(s, f->device_loss, f->loss, sizeof *f->loss);
    if (copies) {
        fixture_round(f, weights);
        device_copy(s, f->device_weights, weights, n * sizeof *weights);
    }
    optimizer_step(f->optimizer, s, f->device_master, f->device_weights, f->device_grads, f->device_loss, t, total,
                   max_grad_norm, loss_scale, loss_limit);
    device_copy(s, f->master, f->device_master, bytes);
    if (copies) device_copy(s, after, f->device_weights, n * sizeof *after);
    stream_synchronize(s);
    if (copies) {
        fixture_round(f, weights);
        ASSERT(memcmp(weights, after, n * sizeof *weights) == 0); // the weights are the master weights rounded
    }
    free(weights), free(after);
}

static inline void fixture_step(Fixture *f, int64_t t, int64_t total, double max_grad_norm) {
    fixture_step_judged(f, t, total, max_grad_norm, 1, 1e9);
}

// A host copy of a state tensor; freed by the caller.
static inline void *fixture_state(const Fixture *f, const StateTensor *t) {
    size_t bytes = (size_t)(t->spec.rows * t->spec.cols) * type_size(t->spec.type);
    void *copy = malloc(bytes);
    device_copy(f->stream, copy, t->data, bytes);
    stream_synchronize(f->stream);
    return copy;
}

// Device memory with a copy of `bytes` of host memory; and back, which frees it.
static inline void *fixture_upload(const Fixture *f, const void *host, size_t bytes) {
    void *memory = device_alloc(f->device, bytes);
    ASSERT(memory != NULL);
    device_copy(f->stream, memory, host, bytes);
    stream_synchronize(f->stream);
    return memory;
}

static inline void fixture_download(const Fixture *f, void *host, void *memory, size_t bytes) {
    device_copy(f->stream, host, memory, bytes);
    stream_synchronize(f->stream);
    device_free(f->device, memory);
}

static inline size_t fixture_bytes(const Fixture *f) {
    return (size_t)f->table.elements * type_size(f->acc_type);
}

#endif
