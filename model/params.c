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

static void set_shape(Param *p, const ModelConfig *c) {
    int64_t attention = (int64_t)c->n_head * c->head_dim, kv = (int64_t)c->n_kv_head * c->head_dim;
    int64_t C = c->d_model, rows = 1, cols = C;
    switch (p->kind) {
    case PARAM_TOKEN_EMBEDDING:
    case PARAM_HEAD_WEIGHT:
        rows = c->vocab_padded;
        break;
    case PARAM_POSITION_EMBEDDING:
        rows = c->context;
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
        rows = c->d_ff;
        break;
    case PARAM_MLP_GATE_BIAS:
    case PARAM_MLP_UP_BIAS:
        cols = c->d_ff;
        break;
    case PARAM_HEAD_BIAS:
        cols = c->vocab_padded;
        break;
    case PARAM_MLP_DOWN_WEIGHT:
        rows = C, cols = c->d_ff;
        break;
    default:
        break;
    }
    p->rows = rows, p->cols = cols, p->valid_rows = rows;
    if (p->kind == PARAM_TOKEN_EMBEDDING || p->kind == PARAM_HEAD_WEIGHT) p->valid_rows = c->vocab_size;
    if (p->kind == PARAM_QKV_WEIGHT) {
        p->n_splits = 3;
        p->splits[0] = (RowSplit){"q", 0, attention, c->n_head};
        p->splits[1] = (RowSplit){"k", attention, kv, c->n_kv_head};
        p->splits[2] = (RowSplit){"v", attention + kv, kv, c->n_kv_head};
    }
}

// Returns true if the model has parameters of this kind.
static bool has_kind(const ModelConfig *c, ParamKind kind) {
    bool swiglu = c->activation == ACTIVATION_SWIGLU;
    switch (kind) {
    case PARAM_POSITION_EMBEDDING:
        return c->positions == POSITIONS_LEARNED;
    case PARAM_EMBED_NORM_GAIN:
        return c->embed_norm && c->norm_gain;
    case PARAM_EMBED_NORM_BIAS:
        return c->embed_norm && c->norm_bias;
    case PARAM_NORM1_GAIN:
    case PARAM_NORM2_GAIN:
    case PARAM_FINAL_NORM_GAIN:
        return c->norm_gain;
    case PARAM_NORM1_BIAS:
    case PARAM_NORM2_BIAS:
    case PARAM_FINAL_NORM_BIAS:
        return c->norm_bias;
    case PARAM_QKV_BIAS:
        return c->biases != BIASES_NONE;
    case PARAM_ATTENTION_PROJ_BIAS:
    case PARAM_MLP_UP_BIAS:
    case PARAM_MLP_DOWN_BIAS:
        return c->biases == BIASES_ALL;
    case PARAM_MLP_GATE_WEIGHT:
        return swiglu;
    case PARAM_MLP_GATE_BIAS:
        return swiglu && c->biases == BIASES_ALL;
    case PARAM_HEAD_WEIGHT:
        return !c->tied_head;
    case PARAM_HEAD_BIAS:
        return c->head_bias;
    case PARAM_X:
    case PARAM_Y:
        return false;
    default:
        return true;
    }
}

static void set_init(Param *p, const ModelConfig *c) {
    bool embedding = p->role == ROLE_TOKEN_EMBEDDING || p->role == ROLE_POSITION_EMBEDDING;
    bool residual = p->kind == PARAM_ATTENTION_PROJ_WEIGHT || p->kind == PARAM_MLP_DOWN_WEIGHT;
    if (p->role == ROLE_GAIN || p->role == ROLE_BIAS) {
        p->init = p->role == ROLE_GAIN ? INIT_ONE : INIT_ZERO;
        return;
    }
    if ((p->role == ROLE_HEAD && c->zero_head) || (residual && c->residual_init == RESIDUAL_INIT_ZERO)) {
        p->init = INIT_ZERO;
        return;
    }
    if (embedding && c->embed_init_std > 0) {
        p->init = INIT_NORMAL, p->init_std = c->embed_init_std;
        return;
    }
    p->init = c->init == DIST_UNIFORM_FAN_IN ? INIT_UNIFORM : INIT_NORMAL;
    p->init_std = c->init == DIST_NORMAL ? c->init_std : c->init_std / sqrt((double)p->cols);
    // GPT-2 (Radford et al. 2019): 2 n_layer projections are added to the residual stream, so each starts smaller.
    if (residual && c->residual_init == RESIDUAL_INIT_SCALED) p->init_std /= sqrt(2.0 * c->n_layer);
}

// Appends the parameter to the arena.
static void assign_offset(ParamTable *t, Param *p) {
    p->offset = t->elements;
    t->elements += round_up(param_elements(p), PARAM_ALIGN);
}

static void add_param(ParamTable *t, const ModelConfig *c, ParamKind kind, int layer) {
    if (!has_kind(c, kind)) return;
    Role role = kinds[kind].role;
    Param *p = &t->params[t->n_params++];
    *p = (Param){.kind = kind, .role = role, .layer = layer};
    if (layer >= 0) snprintf(p->name, sizeof p->name, "layers.%d.%s", layer, kinds[kind].name);
    else snprintf(p->name, sizeof p->name, "%s", kinds[kind].name);
    set_shape(p, c);
    p->n_dims = role == ROLE_GAIN || role == ROLE_BIAS ? 1 : 2;
    set_init(p, c);
    assign_offset(t, p);
    t->total += p->kind == PARAM_HEAD_BIAS ? c->vocab_size : p->valid_rows * p->cols;
}

static void add_place(ParamTable *t, const ModelConfig *c, Place place, int layer) {
    for (int kind = 0; kind < PARAM_KIND_COUNT; kind++)
        if (kinds[kind].place == place) add_param(t, c, (ParamKind)kind, layer);
}

void param_table_init(ParamTable *t, const ModelConfig *c) {
    *t = (ParamTable){.n_layer = c->n_layer};
    t->params = malloc((size_t)(c->n_layer + 2) * PARAM_KIND_COUNT * sizeof *t->params);
    ASSERT(t->params != NULL);
    add_place(t, c, BEFORE, -1);
    for (int layer = 0; layer < c->n_layer; layer++) {
        int64_t start = t->elements;
        add_place(t, c, LAYER, layer);
        t->layer_stride = t->elements - start;
    }
    add_place(t, c, AFTER, -1);
}

void param_table_init_matrices(ParamTable *t, const int64_t (*shapes)[2], int n) {
    static const ParamKind matrix_kinds[] = {PARAM_X, PARAM_Y};
    ASSERT(n >= 1 && n <= 2);
    *t = (ParamTable){.n_params = n, .params = calloc((size_t)n, sizeof *t->params)};
    ASSERT(t->params != NULL);
    for (int i = 0; i < n; i++) {
        Param *p = &t->params[i];
        *p = (Param){.kind = matrix_kinds[i],
                     .role = ROLE_HIDDEN,
                     .layer = -1,
                     .n_dims = 2,
                     .rows = shapes[i][0],
                     .cols = shapes[i][1],
                     .valid_rows = shapes[i][0],
                     .init = INIT_UNIFORM,
                     .init_std = 1 / sqrt(3)};
        snprintf(p->name, sizeof p->name, "%s", kinds[p->kind].name);
        assign_offset(t, p);
        t->total += param_elements(p);
    }
}

void param_table_free(ParamTable *t) {
    free(t->params);
    *t = (ParamTable){0};
}

const Param *param_find(const ParamTable *t, ParamKind kind, int layer) {
    if (kinds[kind].place != LAYER) layer = -1;
    for (int i = 0; i < t->n_params; i++)
        if (t->params[i].kind == kind && t->params[i].layer == layer) return &t->params[i];
    return NULL;
}

void param_init_values(double *values, const Param *p, uint64_t seed, int64_t first, int64_t n) {
    uint64_t stream = random_stream(RANDOM_INIT, p->name);
#pragma omp parallel for schedule(static)
    for (int64_t i = first; i < first + n; i++) {
        bool padding = i >= p->valid_rows * p->cols;
        double value = padding ? 0 : p->init == INIT_ONE ? 1 : 0;
        if (!padding && p->init == INIT_NORMAL) value = p->init_std * random_normal(seed, stream, (uint64_t)i);
        if (!padding && p->init == INIT_UNIFORM) // an interval of width 2 sqrt(3) std
            value = p->init_std * sqrt(12.0) * (random_uniform(seed, stream, (uint64_t)i) - 0.5);
        values[i - first] = value;
    }
}

int param_splits(RowSplit splits[3], const Param *p, SplitLevel level) {
    if (level == SPLIT_NONE || p->n_splits == 0) {
        splits[0] = (RowSplit){"", 0, p->rows, 1};
        return 1;
    }
    for (int i = 0; i < p->n_splits; i++) {
        splits[i] = p->splits[i];
        if (level == SPLIT_ROWS) splits[i].heads = 1;
    }
    return p->n_splits;
}

int param_matrix_groups(MatrixGroup groups[3], const ParamTable *t, ParamKind kind, SplitLevel level) {
    const Param *p = param_find(t, kind, 0);
    if (p == NULL) return 0;
    bool layered = p->layer >= 0;
    RowSplit splits[3];
    int n = param_splits(splits, p, level);
    for (int i = 0; i < n; i++) {
        const RowSplit *s = &splits[i];
        groups[i] = (MatrixGroup){.first = p,
                                  .row = s->row,
                                  .offset = p->offset + s->row * p->cols,
                                  .stride = layered ? t->layer_stride : 0,
                                  .count = (layered ? t->n_layer : 1) * s->heads,
                                  .parts = s->heads,
                                  .rows = s->rows / s->heads,
                                  .cols = p->cols};
    }
    return n;
}
