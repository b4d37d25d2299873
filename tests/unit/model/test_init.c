// Parameter counts of published models, and initialization.
#include "model/model.h"
#include "tests/fixtures/read_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

// ---- parameter counts ----

static const ModelConfig gpt2 = {.n_layer = 12,
                                 .n_head = 12,
                                 .n_kv_head = 12,
                                 .d_model = 768,
                                 .head_dim = 64,
                                 .d_ff = 3072,
                                 .vocab_size = 50257,
                                 .vocab_padded = 50304,
                                 .context = 1024,
                                 .norm = NORM_LAYERNORM,
                                 .norm_eps = 1e-5,
                                 .norm_gain = true,
                                 .norm_bias = true,
                                 .positions = POSITIONS_LEARNED,
                                 .activation = ACTIVATION_GELU_TANH,
                                 .biases = BIASES_ALL,
                                 .tied_head = true,
                                 .mask_padding = true,
                                 .init = DIST_NORMAL,
                                 .init_std = 0.02};

static int64_t total(const ModelConfig *config) {
    Error err;
    if (!model_config_check(config, &err)) fail_msg("%s", err.text);
    ParamTable table;
    param_table_init(&table, config);
    int64_t result = table.total;
    param_table_free(&table);
    return result;
}

static void test_published_sizes(void **state) {
    (void)state;
    assert_int_equal(total(&gpt2), 124439808);

    ModelConfig record = gpt2; // modded-nanogpt's record of October 2024
    record.norm = NORM_RMSNORM, record.norm_gain = record.norm_bias = false, record.biases = BIASES_NONE;
    record.positions = POSITIONS_ROPE, record.rope_base = 1e4, record.activation = ACTIVATION_GELU;
    assert_int_equal(total(&record), 123532032);

    ModelConfig benchmark = gpt2; // the public step-count benchmark
    benchmark.n_head = benchmark.n_kv_head = 6, benchmark.head_dim = 128, benchmark.vocab_size = 50304;
    benchmark.norm = NORM_RMSNORM, benchmark.norm_bias = false, benchmark.embed_norm = true;
    benchmark.positions = POSITIONS_HALF_ROPE, benchmark.rope_base = 1024, benchmark.activation = ACTIVATION_RELU2;
    benchmark.tied_head = false, benchmark.head_bias = true;
    assert_int_equal(total(&benchmark), 162354816);

    ModelConfig llama = gpt2; // NorMuon's 1.1B model
    llama.n_layer = llama.n_head = 16, llama.n_kv_head = 4, llama.d_model = 2048, llama.head_dim = 128;
    llama.d_ff = 8192, llama.vocab_size = llama.vocab_padded = 32000, llama.norm = NORM_RMSNORM;
    llama.norm_bias = llama.tied_head = false, llama.positions = POSITIONS_ROPE, llama.rope_base = 1e4;
    llama.activation = ACTIVATION_SWIGLU, llama.biases = BIASES_NONE;
    assert_int_equal(total(&llama), 1104218112);

    ModelConfig qwen = llama; // PolarGrad's Qwen2 model
    qwen.n_layer = 12, qwen.n_kv_head = 16, qwen.d_model = 1024, qwen.head_dim = 64, qwen.d_ff = 4864;
    qwen.vocab_size = qwen.vocab_padded = 151936, qwen.rope_base = 1e6, qwen.biases = BIASES_QKV;
    assert_int_equal(total(&qwen), 540865536);
}

// ---- initialization ----

static ModelConfig small(InitDistribution init, double std, ResidualInit residual) {
    ModelConfig c = gpt2;
    c.n_layer = 3, c.n_head = 3, c.n_kv_head = 1, c.d_model = 70, c.head_dim = 30, c.d_ff = 190;
    c.vocab_size = 301, c.vocab_padded = 320, c.context = 90, c.embed_norm = true, c.tied_head = false;
    c.head_bias = true, c.activation = ACTIVATION_SWIGLU;
    c.init = init, c.init_std = std, c.residual_init = residual;
    return c;
}

// Expected standard deviation of a matrix or embedding.
static double expected_std(const ModelConfig *c, const Param *p) {
    bool embedding = p->role == ROLE_TOKEN_EMBEDDING || p->role == ROLE_POSITION_EMBEDDING;
    bool residual = strstr(p->name, "attention.proj") || strstr(p->name, "mlp.down");
    if (embedding && c->embed_init_std > 0) return c->embed_init_std;
    if (p->role == ROLE_HEAD && c->zero_head) return 0;
    if (residual && c->residual_init == RESIDUAL_INIT_ZERO) return 0;
    double std = c->init == DIST_NORMAL ? c->init_std : c->init_std / sqrt((double)p->cols);
    return residual && c->residual_init == RESIDUAL_INIT_SCALED ? std / sqrt(2.0 * c->n_layer) : std;
}

// Checks that mean and variance are within 5 of their standard errors and that the largest value fits the distribution.
// The variance of the squares is 4/5 std^4 for uniform samples and 2 std^4 for normal ones.
static void check_samples(const char *name, const double *x, int64_t n, double std, bool uniform) {
    double mean = 0, variance = 0, extent = 0, count = (double)n;
    for (int64_t i = 0; i < n; i++) {
        mean += x[i] / count, variance += x[i] * x[i] / count;
        extent = fmax(extent, fabs(x[i]));
    }
    if (!(fabs(mean) <= 5 * std / sqrt(count))) fail_msg("%s: mean %g, std %g", name, mean, std);
    double spread = uniform ? 0.8 : 2;
    if (!(fabs(variance - std * std) <= 5 * sqrt(spread / count) * std * std))
        fail_msg("%s: std %g, not %g", name, sqrt(variance), std);
    // n normal samples all stay within 3.2 std with probability (1 - 0.00137)^n, and one exceeds 7 std with probability
    // n 2.6e-12; n uniform samples all miss the last 20/n of their range with probability e^-20.
    double least = uniform ? sqrt(3) * std * (1 - 20 / count) : 3.2 * std, most = (uniform ? sqrt(3) : 7) * std;
    if (!(extent >= least && extent <= most))
        fail_msg("%s: extent %g, not within %g and %g", name, extent, least, most);
}

static void check_param(const ModelConfig *c, const Param *p) {
    int64_t n = param_elements(p), valid = p->valid_rows * p->cols;
    double *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    param_init_values(x, p, 17, 0, n);
    bool is_random = p->n_dims == 2 && expected_std(c, p) > 0, embedding = strstr(p->name, "embedding") != NULL;
    bool uniform = c->init == DIST_UNIFORM_FAN_IN && !(embedding && c->embed_init_std > 0);
    if (is_random) check_samples(p->name, x, valid, expected_std(c, p), uniform);
    for (int64_t i = is_random ? valid : 0; i < n; i++) assert_true(x[i] == (p->role == ROLE_GAIN ? 1 : 0));
    free(x);
}

static void check_init(const ModelConfig *config) {
    Error err;
    if (!model_config_check(config, &err)) fail_msg("%s", err.text);
    ParamTable table;
    param_table_init(&table, config);
    for (int i = 0; i < table.n_params; i++) check_param(config, &table.params[i]);
    param_table_free(&table);
}

static void test_distributions(void **state) {
    (void)state;
    for (InitDistribution kind = DIST_NORMAL; kind <= DIST_UNIFORM_FAN_IN; kind++)
        for (ResidualInit residual = RESIDUAL_INIT_SCALED; residual <= RESIDUAL_INIT_ZERO; residual++) {
            ModelConfig config = small(kind, kind == DIST_NORMAL ? 0.02 : sqrt(0.33), residual);
            check_init(&config);
            config.embed_init_std = 1, config.zero_head = true;
            check_init(&config);
            config.zero_head = false, config.tied_head = true;
            check_init(&config);
        }
}

// torch.nn.Linear: uniform in +-1/sqrt(fan_in).
static void test_linear_layers_of_pytorch(void **state) {
    (void)state;
    ModelConfig config = small(DIST_UNIFORM_FAN_IN, 1 / sqrt(3), RESIDUAL_INIT_SAME);
    ParamTable table;
    param_table_init(&table, &config);
    const Param *p = param_find(&table, PARAM_MLP_DOWN_WEIGHT, 1);
    double x[190], largest = 0;
    for (int64_t row = 0; row < p->rows; row++) {
        param_init_values(x, p, 4, row * p->cols, p->cols);
        for (int64_t i = 0; i < p->cols; i++) largest = fmax(largest, fabs(x[i]));
    }
    double bound = 1 / sqrt((double)p->cols);
    assert_true(largest <= bound * (1 + 1e-15) && largest > 0.99 * bound);
    param_table_free(&table);
}

// Initial values depend on (seed, name, element) only, not on the range requested or the rest of the model.
static void test_reproducible(void **state) {
    (void)state;
    enum { N = 400, PART = 130, FIRST = 57 };
    ModelConfig config = small(DIST_NORMAL, 0.02, RESIDUAL_INIT_SAME), other = config;
    other.n_layer = 2, other.tied_head = true, other.biases = BIASES_NONE,
    other.embed_norm = other.norm_gain = false;
    other.activation = ACTIVATION_RELU2, other.init_std = 0.5;
    ParamTable table, other_table;
    param_table_init(&table, &config);
    param_table_init(&other_table, &other);
    for (int i = 0; i < table.n_params; i++) {
        const Param *p = &table.params[i];
        if (p->n_dims != 2) continue;
        double x[N], part[PART], changed[N];
        param_init_values(x, p, 3, 0, N);
        param_init_values(part, p, 3, FIRST, PART);
        assert_memory_equal(part, x + FIRST, sizeof part);
        param_init_values(changed, p, 4, 0, N);
        for (int k = 0; k < N; k++) assert_true(changed[k] != x[k]);
        for (int k = 0; k < i; k++) { // no two parameters have the same random numbers
            if (table.params[k].n_dims != 2) continue;
            param_init_values(changed, &table.params[k], 3, 0, N);
            assert_true(changed[0] / table.params[k].init_std != x[0] / p->init_std);
        }
        for (int k = 0; k < other_table.n_params; k++) {
            if (strcmp(other_table.params[k].name, p->name)) continue;
            param_init_values(changed, &other_table.params[k], 3, 0, N);
            for (int j = 0; j < N; j++) assert_true(fabs(changed[j] - 25 * x[j]) <= 1e-15 * fabs(changed[j]));
        }
    }
    param_table_free(&table);
    param_table_free(&other_table);
}

// The weights of a model are these values, rounded once if its type is fp32.
static void check_model(const ModelConfig *config, Type type) {
    Error err;
    Device *device;
    Model model;
    if (!device_open(&device, "cpu", 2, &err)) fail_msg("%s", err.text);
    Stream *stream = stream_create(device);
    if (!model_create(&model, config, device, type, &(BatchShape){.B = 1, .T = 8, .use = USE_EVALUATION}, &err))
        fail_msg("%s", err.text);
    model_init_weights(&model, stream, 23);
    for (int i = 0; i < model.table.n_params; i++) {
        const Param *p = &model.table.params[i];
        int64_t n = param_elements(p);
        double *x = malloc((size_t)n * sizeof *x), *w = malloc((size_t)n * sizeof *w);
        assert_true(x && w);
        param_init_values(x, p, 23, 0, n);
        read_param(w, &model, stream, p);
        for (int64_t k = 0; k < n && type == TYPE_F32; k++) ((float *)x)[k] = (float)x[k];
        assert_memory_equal(w, x, (size_t)n * type_size(type));
        free(x), free(w);
    }
    model_free(&model);
    stream_destroy(stream);
    device_close(device);
}

static void test_weights_of_a_model(void **state) {
    (void)state;
    ModelConfig config = small(DIST_UNIFORM_FAN_IN, 1, RESIDUAL_INIT_SCALED);
    check_model(&config, TYPE_F32);
    check_model(&config, TYPE_F64);
    // A parameter that is initialized in more than one chunk.
    config = small(DIST_NORMAL, 0.02, RESIDUAL_INIT_ZERO);
    config.vocab_size = 15001, config.vocab_padded = 15040;
    check_model(&config, TYPE_F32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_sizes),          cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_linear_layers_of_pytorch), cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_weights_of_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
