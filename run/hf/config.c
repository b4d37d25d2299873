// Conversion between config.json of Hugging Face transformers and ModelConfig.
#include "run/hf/arch.h"

#include "base/file.h"
#include "base/path.h"
#include "run/options/config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CONFIG_BYTES = 1 << 24 };

bool hf_is_directory(const char *dir) {
    char config[PATH_BYTES], run[PATH_BYTES];
    path_join(config, dir, "config.json");
    path_join(run, dir, "config.conf");
    return access(config, F_OK) == 0 && access(run, F_OK) != 0;
}

// ------------------------------------------------------------------------------------------------------- reading

static const Json *get(const Json *json, const char *key) {
    const Json *value = json_get(json, key);
    return value && value->kind != JSON_NULL ? value : NULL;
}

static bool find_arch(const HfArch **arch, const Json *json, Error *err) {
    const char *type;
    char all[128] = "";
    if (!json_get_string(&type, json, "model_type", err)) return false;
    for (int i = 0; i < hf_n_archs; i++) {
        *arch = &hf_archs[i];
        if (strcmp(type, hf_archs[i].model_type) == 0) return true;
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", hf_archs[i].model_type);
    }
    return error_set(err, "model_type \"%.60s\" is not supported; supported are %s", type, all);
}

bool hf_config_open(Json **json, const HfArch **arch, const char *dir, Error *err) {
    char path[PATH_BYTES];
    size_t size;
    path_join(path, dir, "config.json");
    char *text = file_read_whole(&size, path, MAX_CONFIG_BYTES, err);
    if (!text) return false;
    *json = json_parse(text, size, err);
    free(text);
    if (*json && find_arch(arch, *json, err)) return true;
    json_free(*json);
    *json = NULL;
    return error_prefix(err, "%s", path);
}

static bool read_key(ModelConfig *config, const HfKey *key, const Json *json, Error *err) {
    void *field = (char *)config + key->field;
    const Json *value = get(json, key->key);
    if (!value && isnan(key->missing)) return error_set(err, "\"%s\" is missing", key->key);
    if (value && value->kind != JSON_NUMBER) return error_set(err, "\"%s\" is not a number", key->key);
    if (key->real) {
        *(double *)field = value ? value->number : key->missing;
        return true;
    }
    if (value && (!value->is_integer || value->integer < 1 || value->integer > INT_MAX))
        return error_set(err, "\"%s\" is %g; it must be a whole number from 1 to %d", key->key, value->number,
                         INT_MAX);
    *(int *)field = value ? (int)value->integer : (int)key->missing;
    return true;
}

static bool read_activation(ModelConfig *config, const HfArch *arch, const Json *json, Error *err) {
    const char *word = arch->activations[0].word;
    if (get(json, arch->activation_key) && !json_get_string(&word, json, arch->activation_key, err)) return false;
    char all[128] = "";
    for (const HfActivation *a = arch->activations; a->word; a++) {
        config->activation = (int)a->activation;
        if (strcmp(word, a->word) == 0) return true;
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", a->word);
    }
    return error_set(err, "\"%s\" is \"%.60s\"; it must be one of %s", arch->activation_key, word, all);
}

static bool check_switch(const HfSwitch *s, const Json *json, Error *err) {
    const Json *value = get(json, s->key);
    if (!value || (value->kind == JSON_BOOL && value->boolean == s->position)) return true;
    return error_set(err, "\"%s\" must be %s; the other value is not supported", s->key,
                     s->position ? "true" : "false");
}

// Rejects RoPE scaling for long contexts. Newer versions of transformers also keep rope_theta here.
static bool read_rope(ModelConfig *config, const Json *json, Error *err) {
    const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const Json *scaling = get(json, keys[i]);
        if (!scaling) continue;
        const Json *type = get(scaling, "rope_type"), *theta = get(scaling, "rope_theta");
        if (!type) type = get(scaling, "type");
        if (!type || type->kind != JSON_STRING || strcmp(type->string, "default") != 0)
            return error_set(err, "\"%s\" is set: RoPE scaling is not supported", keys[i]);
        if (theta && theta->kind == JSON_NUMBER) config->rope_base = theta->number;
    }
    return true;
}

static bool read_head_dim(ModelConfig *config, const Json *json, Error *err) {
    const HfKey key = {"head_dim", offsetof(ModelConfig, head_dim), false, 0};
    if (model_has_rope(config) && !read_key(config, &key, json, err)) return false;
    if (config->head_dim > 0) return true;
    if (config->d_model % config->n_head != 0)
        return error_set(err, "model width %d is not a multiple of the %d heads", config->d_model, config->n_head);
    config->head_dim = config->d_model / config->n_head;
    return true;
}

static bool read_fields(ModelConfig *config, const HfArch *arch, const Json *json, Error *err) {
    *config = arch->fixed;
    for (const HfKey *key = arch->keys; key->key; key++)
        if (!read_key(config, key, json, err)) return false;
    for (const HfSwitch *s = arch->switches; s->key; s++)
        if (!check_switch(s, json, err)) return false;
    if (get(json, "quantization_config")) return error_set(err, "quantized weights are not supported");
    const Json *tied = get(json, "tie_word_embeddings");
    if (tied && tied->kind != JSON_BOOL) return error_set(err, "\"tie_word_embeddings\" is not true or false");
    config->tied_head = tied ? tied->boolean : arch->tied_by_default;
    if (config->n_kv_head == 0) config->n_kv_head = config->n_head;
    if (config->d_ff == 0) config->d_ff = config->d_model > INT_MAX / 4 ? INT_MAX : 4 * config->d_model;
    config->vocab_padded = config->vocab_size > INT_MAX - 63 ? INT_MAX : (config->vocab_size + 63) / 64 * 64;
    return read_activation(config, arch, json, err) && read_head_dim(config, json, err) &&
           (!model_has_rope(config) || read_rope(config, json, err)) && model_config_check(config, err);
}

bool hf_read_config(ModelConfig *config, const char *dir, Error *err) {
    Json *json;
    const HfArch *arch;
    if (!hf_config_open(&json, &arch, dir, err)) return false;
    bool ok = read_fields(config, arch, json, err) || error_prefix(err, "%s/config.json", dir);
    json_free(json);
    return ok;
}

// ------------------------------------------------------------------------------------------------------- writing

// Compares the settings that an architecture fixes, as option texts so that the error can name the option.
static bool check_fixed(const HfArch *arch, const ModelConfig *config, Error *err) {
    static const char *const names[] = {"norm",    "norm-gain", "norm-bias", "embed-norm",
                                        "biases",  "positions", "qk-norm",   "depth-scaled-attention",
                                        "softcap", "head-bias"};
    RunConfig *ours = calloc(2, sizeof *ours), *theirs = ours + 1;
    ASSERT(ours);
    ours->model = *config, theirs->model = arch->fixed;
    ours->norm_bias = config->norm_bias ? NORM_BIAS_YES : NORM_BIAS_NO;
    theirs->norm_bias = arch->fixed.norm_bias ? NORM_BIAS_YES : NORM_BIAS_NO;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof names / sizeof *names; i++) {
        char have[64], need[64];
        const OptionSpec *spec = option_find(&run_options, names[i]);
        option_text(have, sizeof have, ours, spec);
        option_text(need, sizeof need, theirs, spec);
        if (strcmp(have, need) != 0) ok = error_set(err, "--%s %s does not fit; it has %s", names[i], have, need);
    }
    free(ours);
    return ok;
}

static const char *activation_word(const HfArch *arch, int activation) {
    for (const HfActivation *a = arch->activations; a->word; a++)
        if ((int)a->activation == activation) return a->word;
    return NULL;
}

static bool check_fits(const HfArch *arch, const ModelConfig *c, Error *err) {
    if (!check_fixed(arch, c, err)) return false;
    bool gpt2 = arch->fixed.positions == POSITIONS_LEARNED;
    if (!activation_word(arch, c->activation))
        return error_set(err, "--activation does not fit; it has %s", gpt2 ? "no gated activation" : "only swiglu");
    if (gpt2 && c->n_kv_head != c->n_head)
        return error_set(err, "--n-kv-head %d does not fit; it must equal --n-head %d", c->n_kv_head, c->n_head);
    if (c->attention_scale != 0 && fabs(c->attention_scale * sqrt(c->head_dim) - 1) > 1e-12)
        return error_set(err, "--attention-scale %g does not fit; it has 1/sqrt(head-dim)", c->attention_scale);
    if (!c->mask_padding && c->vocab_padded != c->vocab_size)
        return error_set(err,
                         "--no-mask-padding does not fit: this model's softmax includes the vocabulary padding");
    return true;
}

bool hf_arch_fits(const HfArch *arch, const ModelConfig *config, Error *err) {
    return check_fits(arch, config, err) || error_prefix(err, "%s", arch->name);
}

// Writes a token id, or null if there is none.
static void put_token(JsonWriter *w, const char *key, int token) {
    if (token >= 0) json_int(w, key, token);
    else json_double(w, key, NAN); // null
}

static void put_tokens(JsonWriter *w, int end_of_text) {
    put_token(w, "bos_token_id", end_of_text);
    put_token(w, "eos_token_id", end_of_text);
}

char *hf_config_text(size_t *size, const HfArch *arch, const ModelConfig *config, const HfExport *how) {
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    json_begin_array(&w, "architectures");
    json_string(&w, NULL, arch->name);
    json_end_array(&w);
    json_string(&w, "model_type", arch->model_type);
    for (const HfKey *key = arch->keys; key->key; key++) {
        const void *field = (const char *)config + key->field;
        if (key->real) json_double(&w, key->key, *(const double *)field);
        else json_int(&w, key->key, *(const int *)field);
    }
    if (arch->has_head_dim) json_int(&w, "head_dim", config->head_dim);
    json_string(&w, arch->activation_key, activation_word(arch, config->activation));
    for (const HfSwitch *s = arch->switches; s->key; s++) json_bool(&w, s->key, s->position);
    for (int i = 0; arch->dropouts[i]; i++) json_double(&w, arch->dropouts[i], 0);
    json_bool(&w, "tie_word_embeddings", config->tied_head);
    json_string(&w, "torch_dtype", how->type == TYPE_BF16 ? "bfloat16" : "float32");
    json_bool(&w, "use_cache", true);
    put_tokens(&w, vocab_end_of_text(how->vocab));
    json_end_object(&w);
    *size = w.size;
    return w.text;
}

char *hf_generation_text(size_t *size, const HfExport *how) {
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    put_tokens(&w, vocab_end_of_text(how->vocab));
    json_end_object(&w);
    *size = w.size;
    return w.text;
}
