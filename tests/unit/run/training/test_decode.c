// Decoding with keys and values kept against running the whole text anew for every token.
#include "run/training/decode.h"

#include "base/random.h"
#include "run/training/sample.h"

#define DEVICE_THREADS 1
#include "tests/fixtures/device_fixture.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 133, LENGTH = CONTEXT + 4 }; // more keys than a tile of the attention has; past the context's end

// All the choices that have to do with positions and heads, one after the other.
static ModelConfig config_number(int i) {
    ModelConfig c = {.n_layer = 2,
                     .n_head = 4,
                     .n_kv_head = 4,
                     .d_model = 16,
                     .head_dim = 8,
                     .d_ff = 24,
                     .vocab_size = 61,
                     .vocab_padded = 64,
                     .context = CONTEXT,
                     .norm = NORM_LAYERNORM,
                     .norm_eps = 1e-5,
                     .norm_gain = true,
                     .norm_bias = true,
                     .positions = POSITIONS_LEARNED,
                     .rope_base = 100,
                     .biases = BIASES_ALL,
                     .tied_head = true,
                     .mask_padding = true,
                     .init_std = 0.02};
    if (i == 0) return c;
    c.norm = NORM_RMSNORM, c.norm_bias = false, c.biases = BIASES_NONE;
    c.positions = i == 1 ? POSITIONS_ROPE : i == 2 ? POSITIONS_HALF_ROPE : POSITIONS_NONE;
    if (i == 1) c.n_kv_head = 2, c.activation = ACTIVATION_SWIGLU, c.biases = BIASES_QKV;
    if (i == 2) c.qk_norm = true, c.attention_scale = 0.2, c.softcap = 4, c.embed_norm = true, c.n_kv_head = 1;
    if (i == 3) c.tied_head = false, c.head_bias = true, c.norm_gain = false, c.softcap = 4, c.softcap_kind = 1;
    return c;
}
enum { N_CONFIGS = 4 };

// The same weights whatever the model is for: large enough that every position matters.
static void create(Model *model, int i, Type type, ModelUse use, int B) {
    Error err;
    ModelConfig config = config_number(i);
    BatchShape run = {.B = B, .T = CONTEXT, .use = use};
    if (!model_create(model, &config, device, type, &run, &err)) fail_msg("%s", err.text);
    for (int k = 0; k < model->table.n_params; k++) {
        const Param *p = &model->table.params[k];
        double *w = calloc((size_t)param_elements(p), sizeof *w);
        float *narrow = (float *)w;
        for (int64_t j = 0; j < param_elements(p); j++) {
            double value =
                (p->role == ROLE_GAIN) + 0.3 * random_normal(3, random_stream(RANDOM_TEST, p->name), (uint64_t)j);
            if (type == TYPE_F64) w[j] = value;
            else narrow[j] = (float)value;
        }
        model_set_param(model, stream, p, w);
        free(w);
    }
}

static void make_tokens(int32_t *tokens, int n, int vocab_size) {
    for (int i = 0; i < n; i++) tokens[i] = (int32_t)(random_uniform(1, RANDOM_TEST, (uint64_t)i) * vocab_size);
}

// The same numbers in another order: sums of at most 140 terms through two layers, some hundred eps of 2e-16.
static void check_logits(const double *mine, const double *other, int n, int64_t at) {
    double norm = 0, error = 0;
    for (int i = 0; i < n; i++) norm += other[i] * other[i], error += (mine[i] - other[i]) * (mine[i] - other[i]);
    if (!(norm > 0 && sqrt(error) <= 1e-12 * sqrt(norm)))
        fail_msg("after %d tokens: logits differ by %g of their norm", (int)at, sqrt(error / norm));
}

// Feeds pieces of the given sizes, again and again, up to beyond the context.
static void check_pieces(Model *cached, Model *whole, const int *sizes) {
    Decoder with, without;
    Error err;
    int32_t tokens[LENGTH];
    int V = cached->config.vocab_size;
    size_t bytes = (size_t)V * sizeof(double);
    double *mine = malloc(bytes), *other = malloc(bytes);
    make_tokens(tokens, LENGTH, V);
    assert_true(decoder_create(&with, cached, stream, &err));
    assert_true(decoder_create(&without, whole, stream, &err));
    int size = 0;
    for (int n = sizes[0]; n <= LENGTH; n += sizes[size]) {
        memcpy(mine, decoder_logits(&with, tokens, n), bytes);
        memcpy(other, decoder_logits(&without, tokens, n), bytes);
        check_logits(mine, other, V, n);
        assert_int_equal(with.cached, n <= CONTEXT ? n : 0);
        if (sizes[++size] == 0) size = 0;
    }
    free(mine), free(other);
    decoder_free(&with);
    decoder_free(&without);
}

static void test_pieces(void **state) {
    (void)state;
    static const int sizes[][4] = {{1, 0},          {3, 5, 1, 0}, {32, 1, 0}, {CONTEXT - 1, 1, 0},
                                   {CONTEXT, 1, 0}, {100, 33, 0}};
    for (int i = 0; i < N_CONFIGS; i++) {
        Model cached, training, whole;
        create(&cached, i, TYPE_F64, USE_DECODING, 1);
        create(&training, i, TYPE_F64, USE_TRAINING, 2);
        create(&whole, i, TYPE_F64, USE_EVALUATION, 1);
        assert_true(model_can_continue(&cached) && model_can_continue(&training) && !model_can_continue(&whole));
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) check_pieces(&cached, &whole, sizes[k]);
        check_pieces(&training, &whole, sizes[1]);
        model_free(&cached);
        model_free(&training);
        model_free(&whole);
    }
}

// Text of token numbers, always the likeliest, to beyond the context.
static char *greedy_text(Model *model, const Vocab *vocab) {
    Error err;
    char *text;
    size_t size;
    int64_t n_drawn;
    FILE *out = open_memstream(&text, &size);
    const SampleConfig config = {
        .vocab = vocab, .prompt = "1 2 3", .prompt_size = 5, .tokens = LENGTH, .draw = {.top_p = 1}};
    if (!sample_text(&n_drawn, out, model, stream, &config, &err)) fail_msg("%s", err.text);
    assert_int_equal(n_drawn, LENGTH);
    fclose(out);
    return text;
}

// In single precision the likeliest token is the same one, unless two are equal to seven digits.
static void test_greedy(void **state) {
    (void)state;
    Error err;
    Vocab *vocab = vocab_open("none", &err);
    for (int i = 0; i < N_CONFIGS; i++) {
        Model cached, whole;
        create(&cached, i, TYPE_F32, USE_DECODING, 1);
        create(&whole, i, TYPE_F32, USE_EVALUATION, 1);
        char *mine = greedy_text(&cached, vocab), *other = greedy_text(&whole, vocab);
        assert_string_equal(mine, other);
        free(mine), free(other);
        model_free(&cached);
        model_free(&whole);
    }
    vocab_close(vocab);
}

// A new decoder does not see what an earlier one left in the model.
static void test_another_text(void **state) {
    (void)state;
    Model model;
    Decoder decoder;
    Error err;
    int32_t first[9], second[6];
    create(&model, 1, TYPE_F64, USE_DECODING, 1);
    double logits[64];
    make_tokens(first, 9, model.config.vocab_size);
    for (int i = 0; i < 6; i++) second[i] = first[8 - i];
    assert_true(decoder_create(&decoder, &model, stream, &err));
    memcpy(logits, decoder_logits(&decoder, second, 6), sizeof logits);
    decoder_logits(&decoder, first, 9);
    decoder_free(&decoder);
    assert_true(decoder_create(&decoder, &model, stream, &err));
    assert_memory_equal(logits, decoder_logits(&decoder, second, 6), sizeof logits);
    decoder_free(&decoder);
    model_free(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_greedy),
                                       cmocka_unit_test(test_another_text)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
