#include "model/params.h"

#include "base/integers.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// Place, role and name of each kind. The table lists the kinds before the layers, then those of each layer, then those
// after the layers.
typedef enum { BEFORE, LAYER, AFTER } Place;
static const struct {
    Place place;
    Role role;
    const char *name;
} kinds[PARAM_KIND_COUNT] = {
    [PARAM_TOKEN_EMBEDDING] = {BEFORE, ROLE_TOKEN_EMBEDDING, "token_embedding.weight"},
    [PARAM_POSITION_EMBEDDING] = {BEFORE, ROLE_POSITION_EMBEDDING, "position_embedding.weight"},
    [PARAM_EMBED_NORM_GAIN] = {BEFORE, ROLE_GAIN, "embed_norm.gain"},
    [PARAM_EMBED_NORM_BIAS] = {BEFORE, ROLE_BIAS, "embed_norm.bias"},
    [PARAM_NORM1_GAIN] = {LAYER, ROLE_GAIN, "norm1.gain"},
    [PARAM_NORM1_BIAS] = {LAYER, ROLE_BIAS, "norm1.bias"},
    [PARAM_QKV_WEIGHT] = {LAYER, ROLE_HIDDEN, "attention.qkv.weight"},
    [PARAM_QKV_BIAS] = {LAYER, ROLE_BIAS, "attention.qkv.bias"},
    [PARAM_ATTENTION_PROJ_WEIGHT] = {LAYER, ROLE_HIDDEN, "attention.proj.weight"},
    [PARAM_ATTENTION_PROJ_BIAS] = {LAYER, ROLE_BIAS, "attention.proj.bias"},
    [PARAM_NORM2_GAIN] = {LAYER, ROLE_GAIN, "norm2.gain"},
    [PARAM_NORM2_BIAS] = {LAYER, ROLE_BIAS, "norm2.bias"},
    [PARAM_MLP_GATE_WEIGHT] = {LAYER, ROLE_HIDDEN, "mlp.gate.weight"},
    [PARAM_MLP_GATE_BIAS] = {LAYER, ROLE_BIAS, "mlp.gate.bias"},
    [PARAM_MLP_UP_WEIGHT] = {LAYER, ROLE_HIDDEN, "mlp.up.weight"},
    [PARAM_MLP_UP_BIAS] = {LAYER, ROLE_BIAS, "mlp.up.bias"},
    [PARAM_MLP_DOWN_WEIGHT] = {LAYER, ROLE_HIDDEN, "mlp.down.weight"},
    [PARAM_MLP_DOWN_BIAS] = {LAYER, ROLE_BIAS, "mlp.down.bias"},
    [PARAM_FINAL_NORM_GAIN] = {AFTER, ROLE_GAIN, "final_norm.gain"},
    [PARAM_FINAL_NORM_BIAS] = {AFTER, ROLE_BIAS, "final_norm.bias"},
    [PARAM_HEAD_WEIGHT] = {AFTER, ROLE_HEAD, "head.weight"},
    [PARAM_HEAD_BIAS] = {AFTER, ROLE_BIAS, "head.bias"},
    [PARAM_X] = {AFTER, ROLE_HIDDEN, "x"},
    [PARAM_Y] = {AFTER, ROLE_HIDDEN, "y"},
};

const char *role_name(Role role) {
    static const char *const names[] = {[ROLE_TOKEN_EMBEDDING] = "token embedding",
                                        [ROLE_POSITION_EMBEDDING] = "position embedding",
                                        [ROLE_HEAD] = "head",
                                        [ROLE_HIDDEN] = "hidden matrix",
                                        [ROLE_GAIN] = "gain",
                                        [ROLE_BIAS] = "bias"};
    return names[role];
}

static void set_shape(Param *param, const ModelConfig *config) {
    int64_t attention = (int64_t)config->n_head * config->head_dim,
            kv = (int64_t)config->n_kv_head * config->head_dim;
    int64_t C = config->d_model, rows = 1, cols = C;
    switch (param->kind) {
    case PARAM_TOKEN_EMBEDDING:
    case PARAM_HEAD_WEIGHT:
        rows = config->vocab_padded;
        break;
    case PARAM_POSITION_EMBEDDING:
        rows = config->context;
        break;
    case PARAM_QKV_WEIGHT:
        rows = attention + 2 * kv;
        break;
    case PARAM_QKV_BIAS:
        cols = attention + 2 * kv;
        break;
    case PARAM_ATTENTION_PROJ_WEIGHT:
        rows = C, cols = attention;
        break;
    case PARAM_MLP_GATE_WEIGHT:
    case PARAM_MLP_UP_WEIGHT:
        rows = config->d_ff;
        break;
    case PARAM_MLP_GATE_BIAS:
    case PARAM_MLP_UP_BIAS:
        cols = config->d_ff;
        break;
    case PARAM_HEAD_BIAS:
        cols = config->vocab_padded;
        break;
    case PARAM_MLP_DOWN_WEIGHT:
        rows = C, cols = config->d_ff;
        break;
    default:
        break;
    }
    param->rows = rows, param->cols = cols, param->valid_rows = rows;
    if (param->kind == PARAM_TOKEN_EMBEDDING || param->kind == PARAM_HEAD_WEIGHT)
        param->valid_rows = config->vocab_size;
    if (param->kind == PARAM_QKV_WEIGHT) {
        param->n_splits = 3;
        param->splits[0] = (RowSplit){"q", 0, attention, config->n_head};
        param->splits[1] = (RowSplit){"k", attention, kv, config->n_kv_head};
        param->splits[2] = (RowSplit){"v", attention + kv, kv, config->n_kv_head};
    }
}

// Returns true if the model has parameters of this kind.
static bool has_kind(const ModelConfig *config, ParamKind kind) {
    bool swiglu = config->activation == ACTIVATION_SWIGLU;
    switch (kind) {
    case PARAM_POSITION_EMBEDDING:
        return config->positions == POSITIONS_LEARNED;
    case PARAM_EMBED_NORM_GAIN:
        return config->embed_norm && config->norm_gain;
    case PARAM_EMBED_NORM_BIAS:
        return config->embed_norm && config->norm_bias;
    case PARAM_NORM1_GAIN:
    case PARAM_NORM2_GAIN:
    case PARAM_FINAL_NORM_GAIN:
        return config->norm_gain;
    case PARAM_NORM1_BIAS:
    case PARAM_NORM2_BIAS:
    case PARAM_FINAL_NORM_BIAS:
        return config->norm_bias;
    case PARAM_QKV_BIAS:
        return config->biases != BIASES_NONE;
    case PARAM_ATTENTION_PROJ_BIAS:
    case PARAM_MLP_UP_BIAS:
    case PARAM_MLP_DOWN_BIAS:
        return config->biases == BIASES_ALL;
    case PARAM_MLP_GATE_WEIGHT:
        return swiglu;
    case PARAM_MLP_GATE_BIAS:
        return swiglu && config->biases == BIASES_ALL;
    case PARAM_HEAD_WEIGHT:
        return !config->tied_head;
    case PARAM_HEAD_BIAS:
        return config->head_bias;
    case PARAM_X:
    case PARAM_Y:
        return false;
    default:
        return true;
    }
}

static void set_init(Param *param, const ModelConfig *config) {
    bool embedding = param->role == ROLE_TOKEN_EMBEDDING || param->role == ROLE_POSITION_EMBEDDING;
    bool residual = param->kind == PARAM_ATTENTION_PROJ_WEIGHT || param->kind == PARAM_MLP_DOWN_WEIGHT;
    if (param->role == ROLE_GAIN || param->role == ROLE_BIAS) {
        param->init = param->role == ROLE_GAIN ? INIT_ONE : INIT_ZERO;
        return;
    }
    if ((param->role == ROLE_HEAD && config->zero_head) ||
        (residual && config->residual_init == RESIDUAL_INIT_ZERO)) {
        param->init = INIT_ZERO;
        return;
    }
    if (embedding && config->embed_init_std > 0) {
        param->init = INIT_NORMAL, param->init_std = config->embed_init_std;
        return;
    }
    param->init = config->init == DIST_UNIFORM_FAN_IN ? INIT_UNIFORM : INIT_NORMAL;
    param->init_std = config->init == DIST_NORMAL ? config->init_std : config->init_std / sqrt((double)param->cols);
    // GPT-2 (Radford et al. 2019): 2 n_layer projections are added to the residual stream, so each starts smaller.
    if (residual && config->residual_init == RESIDUAL_INIT_SCALED) param->init_std /= sqrt(2.0 * config->n_layer);
}

// Appends the parameter to the arena.
static void assign_offset(ParamTable *table, Param *param) {
    param->offset = table->elements;
    table->elements += round_up(param_elements(param), PARAM_ALIGN);
}

static void add_param(ParamTable *table, const ModelConfig *config, ParamKind kind, int layer) {
    if (!has_kind(config, kind)) return;
    Role role = kinds[kind].role;
    Param *param = &table->params[table->n_params++];
    *param = (Param){.kind = kind, .role = role, .layer = layer};
    if (layer >= 0) snprintf(param->name, sizeof param->name, "layers.%d.%s", layer, kinds[kind].name);
    else snprintf(param->name, sizeof param->name, "%s", kinds[kind].name);
    set_shape(param, config);
    param->n_dims = role == ROLE_GAIN || role == ROLE_BIAS ? 1 : 2;
    set_init(param, config);
    assign_offset(table, param);
    table->total += param->kind == PARAM_HEAD_BIAS ? config->vocab_size : param->valid_rows * param->cols;
}

static void add_place(ParamTable *table, const ModelConfig *config, Place place, int layer) {
    for (int kind = 0; kind < PARAM_KIND_COUNT; kind++)
        if (kinds[kind].place == place) add_param(table, config, (ParamKind)kind, layer);
}

void param_table_init(ParamTable *table, const ModelConfig *config) {
    *table = (ParamTable){.n_layer = config->n_layer};
    table->params = malloc((size_t)(config->n_layer + 2) * PARAM_KIND_COUNT * sizeof *table->params);
    ASSERT(table->params != NULL);
    add_place(table, config, BEFORE, -1);
    for (int layer = 0; layer < config->n_layer; layer++) {
        int64_t start = table->elements;
        add_place(table, config, LAYER, layer);
        table->layer_stride = table->elements - start;
    }
    add_place(table, config, AFTER, -1);
}

void param_table_init_matrices(ParamTable *table, const int64_t (*shapes)[2], int n) {
    static const ParamKind matrix_kinds[] = {PARAM_X, PARAM_Y};
    ASSERT(n >= 1 && n <= 2);
    *table = (ParamTable){.n_params = n, .params = calloc((size_t)n, sizeof *table->params)};
    ASSERT(table->params != NULL);
    for (int i = 0; i < n; i++) {
        Param *param = &table->params[i];
        *param = (Param){.kind = matrix_kinds[i],
                         .role = ROLE_HIDDEN,
                         .layer = -1,
                         .n_dims = 2,
                         .rows = shapes[i][0],
                         .cols = shapes[i][1],
                         .valid_rows = shapes[i][0],
                         .init = INIT_UNIFORM,
                         .init_std = 1 / sqrt(3)};
        snprintf(param->name, sizeof param->name, "%s", kinds[param->kind].name);
        assign_offset(table, param);
        table->total += param_elements(param);
    }
}

void param_table_free(ParamTable *table) {
    free(table->params);
    *table = (ParamTable){0};
}

const Param *param_find(const ParamTable *table, ParamKind kind, int layer) {
    if (kinds[kind].place != LAYER) layer = -1;
    for (int i = 0; i < table->n_params; i++)
        if (table->params[i].kind == kind && table->params[i].layer == layer) return &table->params[i];
    return NULL;
}

void param_init_values(double *values, const Param *param, uint64_t seed, int64_t first, int64_t n) {
    uint64_t stream = random_stream(RANDOM_INIT, param->name);
#pragma omp parallel for schedule(static)
    for (int64_t i = first; i < first + n; i++) {
        bool padding = i >= param->valid_rows * param->cols;
        double value = padding ? 0 : param->init == INIT_ONE ? 1 : 0;
        if (!padding && param->init == INIT_NORMAL)
            value = param->init_std * random_normal(seed, stream, (uint64_t)i);
        if (!padding && param->init == INIT_UNIFORM) // an interval of width 2 sqrt(3) std
            value = param->init_std * sqrt(12.0) * (random_uniform(seed, stream, (uint64_t)i) - 0.5);
        values[i - first] = value;
    }
}

int param_splits(RowSplit splits[3], const Param *param, SplitLevel level) {
    if (level == SPLIT_NONE || param->n_splits == 0) {
        splits[0] = (RowSplit){"", 0, param->rows, 1};
        return 1;
    }
    for (int i = 0; i < param->n_splits; i++) {
        splits[i] = param->splits[i];
        if (level == SPLIT_ROWS) splits[i].heads = 1;
    }
    return param->n_splits;
}

int param_matrix_groups(MatrixGroup groups[3], const ParamTable *table, ParamKind kind, SplitLevel level) {
    const Param *param = param_find(table, kind, 0);
    if (param == NULL) return 0;
    bool layered = param->layer >= 0;
    RowSplit splits[3];
    int n = param_splits(splits, param, level);
    for (int i = 0; i < n; i++) {
        const RowSplit *s = &splits[i];
        groups[i] = (MatrixGroup){.first = param,
                                  .row = s->row,
                                  .offset = param->offset + s->row * param->cols,
                                  .stride = layered ? table->layer_stride : 0,
                                  .count = (layered ? table->n_layer : 1) * s->heads,
                                  .parts = s->heads,
                                  .rows = s->rows / s->heads,
                                  .cols = param->cols};
    }
    return n;
}
