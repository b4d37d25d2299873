// Checks gradients against finite differences of the loss, in double: for every parameter, along its own gradient and
// along random directions.
//
// D(h) = (L(w + h d) - L(w - h d)) / 2h has the error h^2/6 L'''; (4 D(h/2) - D(h)) / 3 removes it and leaves terms
// of order h^4. With h = 2e-3 and unit directions those are near 1e-11 L^(5), and rounding, a few eps L / h, is
// near 1e-12: with derivatives of order one both stay under 1e-9, and any wrong term is detected. Gradients computed on
// a GPU are compared with these.
#include "model/model.h"

#include "base/type.h"
#include "base/random.h"
#include "tests/fixtures/fixed_batch.h"
#include "tests/fixtures/gpu_required.h"
#include "tests/fixtures/read_model.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

enum { B = 2, T = 9, DIRECTIONS = 3 };

static Device *device;
static Stream *stream;
static Model model;
static FixedBatch batch;

static double loss(void) {
    model_reset_loss(&model, stream);
    model_forward_loss(&model, stream, &batch.device, NULL);
    return read_loss(&model, stream) / (B * T);
}

static double *doubles(int64_t n) {
    double *x = calloc((size_t)n, sizeof *x);
    assert_non_null(x);
    return x;
}

static double loss_at(const Param *p, const double *w, const double *direction, double h) {
    int64_t n = param_elements(p);
    double *moved = doubles(n);
    for (int64_t i = 0; i < n; i++) moved[i] = w[i] + h * direction[i];
    model_set_param(&model, stream, p, moved);
    free(moved);
    return loss();
}

static double central(const Param *p, const double *w, const double *direction, double h) {
    return (loss_at(p, w, direction, h) - loss_at(p, w, direction, -h)) / (2 * h);
}

static double normalize(double *x, int64_t n) {
    double norm = 0;
    for (int64_t i = 0; i < n; i++) norm += x[i] * x[i];
    norm = sqrt(norm);
    for (int64_t i = 0; i < n && norm > 0; i++) x[i] /= norm;
    return norm;
}

static bool check_param(const Param *p, const double *gradient) {
    const double h = 2e-3, tol = 1e-8;
    int64_t n = param_elements(p), valid = p->valid_rows * p->cols;
    double *w = doubles(n), *direction = doubles(n);
    bool close = true;
    read_param(w, &model, stream, p);
    for (int k = 0; k < DIRECTIONS; k++) {
        for (int64_t i = 0; i < valid; i++)
            direction[i] =
                k == 0 ? gradient[i] : random_normal((uint64_t)k, random_stream(RANDOM_TEST, p->name), (uint64_t)i);
        double norm = normalize(direction, n), slope = 0;
        if (norm == 0) continue;
        for (int64_t i = 0; i < n; i++) slope += gradient[i] * direction[i];
        double difference = (4 * central(p, w, direction, h / 2) - central(p, w, direction, h)) / 3;
        // Relative to the slope, or to 0.1, a typical slope of this loss, if it is (nearly) flat in this direction.
        if (!(fabs(difference - slope) <= tol * fmax(fabs(slope), 0.1))) {
            print_error("%s, direction %d: gradient %.12g, finite difference %.12g\n", p->name, k, slope,
                        difference);
            close = false;
        }
    }
    model_set_param(&model, stream, p, w);
    free(w), free(direction);
    return close;
}

// Rounds x to a value that is exact in fp32 and bf16.
static double exact_in_every_type(double x) {
    uint16_t bits;
    x = (double)(float)x;
    float_type_write(&bits, TYPE_BF16, &x, 1);
    float_type_read(&x, TYPE_BF16, &bits, 1);
    return x;
}

// Compares gradients with a double reference. Errors are relative to each tensor's norm, or to a thousandth of the mean
// norm if that is larger.
static bool same_gradients(const ParamTable *table, const float *x, const double *ref, double tol, Type type) {
    double mean = 0;
    bool close = true;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < table->n_params; i++) {
            const Param *p = &table->params[i];
            double error = 0, norm = 0;
            for (int64_t j = p->offset; j < p->offset + param_elements(p); j++) {
                error += (x[j] - ref[j]) * (x[j] - ref[j]);
                norm += ref[j] * ref[j];
            }
            error = sqrt(error), norm = sqrt(norm);
            if (pass == 0) mean += norm / table->n_params;
            else if (!(error <= tol * fmax(norm, 1e-3 * mean))) {
                print_error("%s in %s on the GPU: error %.3g of norm %.3g, relative %.3g\n", p->name,
                            type_name(type), error, norm, error / norm);
                close = false;
            }
        }
    return close;
}

// Checks the same model with the same weights on the GPU, if there is one.
static bool check_on_gpu(const ModelConfig *config, Type type, const double *gradients, double tol) {
    Error err;
    Device *gpu;
    Model copy;
    if (!there_is_a_gpu()) return true;
    if (!device_open(&gpu, "cuda", 0, &err)) fail_msg("%s", err.text);
    Stream *gpu_stream = stream_create(gpu);
    if (!model_create(&copy, config, gpu, type, &(BatchShape){.B = B, .T = T}, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < copy.table.n_params; i++) {
        const Param *p = &copy.table.params[i];
        int64_t n = param_elements(p);
        double *w = doubles(n);
        float *w_f32 = (float *)w;
        read_param(w, &model, stream, &model.table.params[i]);
        for (int64_t j = 0; j < n; j++) w_f32[j] = (float)w[j];
        model_set_param(&copy, gpu_stream, p, w_f32);
        free(w);
    }
    FixedBatch moved =
        fixed_batch_create(gpu, gpu_stream, batch.host.tokens, batch.host.targets, B, T, config->vocab_size);
    model_forward_backward(&copy, gpu_stream, &moved.device, 1.0 / (B * T), false, NULL);
    float *on_gpu = (float *)doubles(copy.table.elements);
    device_copy(gpu_stream, on_gpu, copy.grads, (size_t)copy.table.elements * sizeof *on_gpu);
    stream_synchronize(gpu_stream);
    bool close = same_gradients(&copy.table, on_gpu, gradients, tol, type);
    free(on_gpu);
    fixed_batch_free(&moved, gpu);
    model_free(&copy);
    stream_destroy(gpu_stream);
    device_close(gpu);
    return close;
}

static void check_config(const ModelConfig *config) {
    Error err;
    if (!model_config_check(config, &err)) fail_msg("%s", err.text);
    if (!device_open(&device, "cpu", 1, &err)) fail_msg("%s", err.text);
    stream = stream_create(device);
    if (!model_create(&model, config, device, TYPE_F64, &(BatchShape){.B = B, .T = T}, &err))
        fail_msg("%s", err.text);
    int32_t tokens[B * T], targets[B * T];
    for (int i = 0; i < B * T; i++) {
        tokens[i] = (int32_t)(random_uniform(1, RANDOM_TEST, (uint64_t)i) * config->vocab_size);
        targets[i] = i == 5 ? -1 : (int32_t)(random_uniform(2, RANDOM_TEST, (uint64_t)i) * config->vocab_size);
    }
    batch = fixed_batch_create(device, stream, tokens, targets, B, T, config->vocab_size);
    // The default zeros and ones would hide errors, and small weights make the attention uniform.
    for (int i = 0; i < model.table.n_params; i++) {
        const Param *p = &model.table.params[i];
        double *w = doubles(param_elements(p));
        // The second derivative of ReLU^2 is discontinuous at 0, so biases keep half of the inputs above and half
        // below it. The embeddings, inputs of a norm, must not be small, or its derivatives are large.
        double std = p->role == ROLE_TOKEN_EMBEDDING ? 1 : 0.3;
        bool kink = config->activation == ACTIVATION_RELU2 && p->kind == PARAM_MLP_UP_BIAS;
        for (int64_t j = 0; j < p->valid_rows * p->cols; j++)
            w[j] = exact_in_every_type((p->role == ROLE_GAIN) + (kink ? j % 2 * 16 - 8 : 0) +
                                       std * random_normal(3, random_stream(RANDOM_TEST, p->name), (uint64_t)j));
        model_set_param(&model, stream, p, w);
        free(w);
    }
    model_forward_backward(&model, stream, &batch.device, 1.0 / (B * T), false, NULL);
    double *gradients = doubles(model.table.elements);
    device_copy(stream, gradients, model.grads, (size_t)model.table.elements * sizeof *gradients);
    stream_synchronize(stream);
    // Tolerances as in tests/unit/model/test_golden_model.c.
    bool close = check_on_gpu(config, TYPE_F32, gradients, 1e-5) & check_on_gpu(config, TYPE_BF16, gradients, 0.04);
    for (int i = 0; i < model.table.n_params; i++)
        close &= check_param(&model.table.params[i], gradients + model.table.params[i].offset);
    free(gradients);
    fixed_batch_free(&batch, device);
    model_free(&model);
    stream_destroy(stream);
    device_close(device);
    assert_true(close);
}

static const ModelConfig gpt2 = {.n_layer = 2,
                                 .n_head = 2,
                                 .n_kv_head = 2,
                                 .d_model = 12,
                                 .head_dim = 6,
                                 .d_ff = 20,
                                 .vocab_size = 19,
                                 .vocab_padded = 24,
                                 .context = 11,
                                 .norm = NORM_LAYERNORM,
                                 .norm_eps = 1e-5,
                                 .positions = POSITIONS_LEARNED,
                                 .activation = ACTIVATION_GELU_TANH,
                                 .biases = BIASES_ALL,
                                 .norm_gain = true,
                                 .norm_bias = true,
                                 .tied_head = true,
                                 .mask_padding = true,
                                 .init_std = 0.02};

static void test_gpt2(void **state) {
    (void)state;
    check_config(&gpt2);
}

static void test_grouped_untied(void **state) {
    (void)state;
    ModelConfig config = gpt2;
    config.n_head = 4, config.n_kv_head = 2, config.head_dim = 5;
    config.biases = BIASES_NONE, config.norm_bias = config.tied_head = config.mask_padding = false;
    check_config(&config);
}

static void test_llama(void **state) {
    (void)state;
    ModelConfig config = gpt2;
    config.n_head = 4, config.n_kv_head = 2;
    config.norm = NORM_RMSNORM, config.norm_bias = false;
    config.positions = POSITIONS_ROPE, config.rope_base = 50;
    config.activation = ACTIVATION_SWIGLU, config.biases = BIASES_NONE, config.tied_head = false;
    check_config(&config);
}

// The model of the public step-count benchmark.
static void test_benchmark(void **state) {
    (void)state;
    ModelConfig config = gpt2;
    config.head_dim = 8, config.norm = NORM_RMSNORM, config.norm_bias = false, config.embed_norm = true;
    config.positions = POSITIONS_HALF_ROPE, config.rope_base = 1024, config.qk_norm = true;
    config.attention_scale = 0.12, config.activation = ACTIVATION_RELU2;
    config.head_bias = true, config.tied_head = config.mask_padding = false;
    config.softcap = 4, config.softcap_kind = SOFTCAP_ROOT;
    check_config(&config);
}

// The model of modded-nanogpt's record of October 2024, plus a soft-cap.
static void test_bare_norms(void **state) {
    (void)state;
    ModelConfig config = gpt2;
    config.norm = NORM_RMSNORM, config.norm_gain = config.norm_bias = false, config.biases = BIASES_NONE;
    config.positions = POSITIONS_ROPE, config.rope_base = 1e4, config.depth_scaled_attention = true;
    config.activation = ACTIVATION_GELU, config.softcap = 2, config.softcap_kind = SOFTCAP_TANH;
    check_config(&config);
}

static void test_qwen(void **state) {
    (void)state;
    ModelConfig config = gpt2;
    config.norm = NORM_RMSNORM, config.norm_bias = false, config.biases = BIASES_QKV;
    config.positions = POSITIONS_ROPE, config.rope_base = 1e6, config.activation = ACTIVATION_SWIGLU;
    check_config(&config);
}

// Tied head with a norm of the embedding; all biases; query/key norm without RoPE.
static void test_embedding_norm(void **state) {
    (void)state;
    ModelConfig config = gpt2;
    config.n_head = 3, config.n_kv_head = 1, config.embed_norm = config.qk_norm = config.head_bias = true;
    config.depth_scaled_attention = true, config.activation = ACTIVATION_SWIGLU;
    config.softcap = 3, config.softcap_kind = SOFTCAP_TANH;
    check_config(&config);
    config.norm = NORM_RMSNORM, config.positions = POSITIONS_NONE, config.norm_gain = false;
    config.softcap_kind = SOFTCAP_ROOT;
    check_config(&config);
}

// A vocabulary so large that a batch needs three chunks of logits, compared with single sequences, which need one.
static void test_chunks_of_logits(void **state) {
    (void)state;
    enum { SEQUENCES = 3, LENGTH = 100, N = SEQUENCES * LENGTH };
    ModelConfig config = gpt2;
    config.n_layer = 1, config.d_model = 4, config.head_dim = 2, config.d_ff = 4;
    config.vocab_size = 60007, config.vocab_padded = 60032, config.context = LENGTH;
    Error err;
    if (!device_open(&device, "cpu", 2, &err)) fail_msg("%s", err.text);
    stream = stream_create(device);
    if (!model_create(&model, &config, device, TYPE_F64, &(BatchShape){.B = SEQUENCES, .T = LENGTH}, &err))
        fail_msg("%s", err.text);
    assert_true(model.acts.logits_rows > LENGTH && 2 * model.acts.logits_rows < N);
    model_init_weights(&model, stream, 5);
    int32_t tokens[N], targets[N];
    for (int i = 0; i < N; i++) {
        tokens[i] = (int32_t)(random_uniform(6, RANDOM_TEST, (uint64_t)i) * config.vocab_size);
        targets[i] = (int32_t)(random_uniform(7, RANDOM_TEST, (uint64_t)i) * config.vocab_size);
    }
    size_t bytes = (size_t)model.table.elements * sizeof(double);
    double *whole = doubles(model.table.elements), *parts = doubles(model.table.elements);
    double loss_whole, loss_parts, error = 0, norm = 0;

    batch = fixed_batch_create(device, stream, tokens, targets, SEQUENCES, LENGTH, config.vocab_size);
    model_forward_backward(&model, stream, &batch.device, 1.0 / N, false, NULL);
    loss_whole = read_loss(&model, stream);
    device_copy(stream, whole, model.grads, bytes);
    fixed_batch_free(&batch, device);
    model_reset_loss(&model, stream);
    for (int b = 0; b < SEQUENCES; b++) {
        batch = fixed_batch_create(device, stream, tokens + b * LENGTH, targets + b * LENGTH, 1, LENGTH,
                                   config.vocab_size);
        model_forward_backward(&model, stream, &batch.device, 1.0 / N, b > 0, NULL);
        fixed_batch_free(&batch, device);
    }
    loss_parts = read_loss(&model, stream);
    device_copy(stream, parts, model.grads, bytes);
    stream_synchronize(stream);
    for (int64_t i = 0; i < model.table.elements; i++) {
        error += (whole[i] - parts[i]) * (whole[i] - parts[i]);
        norm += whole[i] * whole[i];
    }
    // The same terms summed in another order: a few hundred rounding errors of 2e-16.
    assert_true(norm > 0 && sqrt(error) <= 1e-13 * sqrt(norm));
    assert_true(fabs(loss_whole - loss_parts) <= 1e-13 * loss_whole);
    free(whole), free(parts);
    model_free(&model);
    stream_destroy(stream);
    device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),           cmocka_unit_test(test_grouped_untied),  cmocka_unit_test(test_llama),
        cmocka_unit_test(test_benchmark),      cmocka_unit_test(test_bare_norms),      cmocka_unit_test(test_qwen),
        cmocka_unit_test(test_embedding_norm), cmocka_unit_test(test_chunks_of_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
