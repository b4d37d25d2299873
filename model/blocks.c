#include "model/blocks.h"

#include <math.h>

void *model_activation(const Model *m, ActKind kind, int layer) {
    const Activation *a = &m->acts.acts[kind];
    ASSERT(m->shape.use == USE_TRAINING || !a->training);
    return (char *)m->arena + a->offset + (a->per_layer ? layer * a->layer_bytes : 0);
}

const Param *model_head(const Model *m) {
    return param_find(&m->table, m->config.tied_head ? PARAM_TOKEN_EMBEDDING : PARAM_HEAD_WEIGHT, -1);
}

// First element of a parameter in the weights, or in the gradients; NULL where the network has no such parameter.
static const void *weight(const Pass *p, ParamKind kind, int layer) {
    const Param *param = param_find(&p->model->table, kind, layer);
    return param ? (const char *)p->model->weights + param->offset * (int64_t)type_size(p->model->type) : NULL;
}

static void *gradient(const Pass *p, const Param *param) {
    return param ? (char *)p->model->grads + param->offset * (int64_t)type_size(p->model->acc_type) : NULL;
}

// The product of a linear layer is multiplied by this: 1 but for the attention's projection where it depends on the depth.
static double linear_alpha(const Pass *p, ParamKind kind) {
    const ModelConfig *c = &p->model->config;
    return kind == PARAM_ATTENTION_PROJ_WEIGHT && c->depth_scaled_attention ? 1 / sqrt(2.0 * c->n_layer) : 1;
}

// out (n, rows) = alpha in (n, cols) W^T + bias.
static void linear_product(const Pass *p, void *out, const void *in, const Param *w, const void *bias, int64_t n) {
    Type type = p->model->type;
    Gemm g = {.type = type, .c_type = type, .m = n, .n = w->rows, .k = w->cols, .alpha = linear_alpha(p, w->kind)};
    g.a = in, g.lda = w->cols;                                                 // (n, cols)
    g.b = weight(p, w->kind, w->layer), g.ldb = w->cols, g.transpose_b = true; // (rows, cols)
    g.c = out, g.ldc = w->rows, g.bias = bias;                                 // (n, rows), (rows)
    device_gemm(p->stream, &g);
}

static void linear_forward(const Pass *p, void *out, const void *in, ParamKind kind, ParamKind bias, int layer) {
    linear_product(p, out, in, param_find(&p->model->table, kind, layer), weight(p, bias, layer), p->N);
}

// din (n, cols) = or += alpha dout (n, rows) W.
static void linear_backward_input(const Pass *p, void *din, const void *dout, const Param *w, int64_t n, bool add) {
    Type type = p->model->type;
    Gemm g = {.type = type, .c_type = type, .m = n, .n = w->cols, .k = w->rows, .alpha = linear_alpha(p, w->kind)};
    g.a = dout, g.lda = w->rows;                         // (n, rows)
    g.b = weight(p, w->kind, w->layer), g.ldb = w->cols; // (rows, cols)
    g.c = din, g.ldc = w->cols, g.beta = add;            // (n, cols)
    device_gemm(p->stream, &g);
}

// dW (rows, cols) = or += alpha dout^T (rows, n) in (n, cols).
static void linear_backward_weight(const Pass *p, const void *dout, const void *in, const Param *w, int64_t n,
                                   bool add) {
    Type type = p->model->type, sum_type = p->model->acc_type;
    Gemm g = {
        .type = type, .c_type = sum_type, .m = w->rows, .n = w->cols, .k = n, .alpha = linear_alpha(p, w->kind)};
    g.a = dout, g.lda = w->rows, g.transpose_a = true;   // (n, rows)
    g.b = in, g.ldb = w->cols;                           // (n, cols)
    g.c = gradient(p, w), g.ldc = w->cols, g.beta = add; // (rows, cols)
    device_gemm(p->stream, &g);
}

static void bias_backward(const Pass *p, const Param *bias, const void *dout, int64_t n, bool accumulate) {
    p->model->ops->bias_backward(p->stream, &(BiasBackward){.dbias = gradient(p, bias), // (C)
                                                            .dout = dout,               // (n, C)
                                                            .accumulate = accumulate,
                                                            .N = n,
                                                            .C = (int)bias->cols});
}

static void linear_backward(const Pass *p, void *din, bool add_din, const void *dout, const void *in,
                            ParamKind kind, ParamKind bias, int layer) {
    const Param *w = param_find(&p->model->table, kind, layer), *b = param_find(&p->model->table, bias, layer);
    linear_backward_weight(p, dout, in, w, p->N, p->accumulate);
    linear_backward_input(p, din, dout, w, p->N, add_din);
    if (b) bias_backward(p, b, dout, p->N, p->accumulate);
}

// One of the norms of the network with its place in the tables.
typedef struct {
    ParamKind gain, bias;
    ActKind in, out, mean, rstd;
} Norm;
static const Norm embed_norm = {PARAM_EMBED_NORM_GAIN, PARAM_EMBED_NORM_BIAS, ACT_EMBED, ACT_RESID1,
                                ACT_EMBED_MEAN,        ACT_EMBED_RSTD};
static const Norm norm1 = {PARAM_NORM1_GAIN, PARAM_NORM1_BIAS, ACT_RESID1,
                           ACT_NORM1,        ACT_NORM1_MEAN,   ACT_NORM1_RSTD};
static const Norm norm2 = {PARAM_NORM2_GAIN, PARAM_NORM2_BIAS, ACT_RESID2,
                           ACT_NORM2,        ACT_NORM2_MEAN,   ACT_NORM2_RSTD};
static const Norm final_norm = {PARAM_FINAL_NORM_GAIN, PARAM_FINAL_NORM_BIAS, ACT_FINAL_RESID,
                                ACT_FINAL_NORM,        ACT_FINAL_MEAN,        ACT_FINAL_RSTD};

// Adds the pending delta to the residual stream and normalizes it.
static void norm_forward(Pass *p, const Norm *norm, int layer) {
    Model *m = p->model;
    void *resid = model_activation(m, norm->in, layer);
    m->ops->norm_forward(p->stream, &(NormForward){.resid = resid,                                 // (N, C)
                                                   .out = model_activation(m, norm->out, layer),   // (N, C)
                                                   .mean = model_activation(m, norm->mean, layer), // (N)
                                                   .rstd = model_activation(m, norm->rstd, layer), // (N)
                                                   .x = p->resid,                                  // (N, C)
                                                   .delta = p->delta,                              // (N, C)
                                                   .gain = weight(p, norm->gain, layer),           // (C)
                                                   .bias = weight(p, norm->bias, layer),           // (C)
                                                   .kind = (NormKind)m->config.norm,
                                                   .eps = m->config.norm_eps,
                                                   .N = p->N,
                                                   .C = m->config.d_model});
    if (p->delta) p->resid = resid;
    p->delta = NULL;
}

// Once more from its input, which is there.
static void recompute_norm(Pass *p, const Norm *norm, int layer) {
    p->resid = model_activation(p->model, norm->in, layer), p->delta = NULL;
    norm_forward(p, norm, layer);
}

// dx += the gradient through the norm, dout that of its output.
static void norm_backward(Pass *p, void *dx, const void *dout, const Norm *norm, int layer) {
    Model *m = p->model;
    const Param *gain = param_find(&m->table, norm->gain, layer), *bias = param_find(&m->table, norm->bias, layer);
    m->ops->norm_backward(p->stream, &(NormBackward){.dx = dx,                                       // (N, C)
                                                     .dgain = gradient(p, gain),                     // (C)
                                                     .dbias = gradient(p, bias),                     // (C)
                                                     .dout = dout,                                   // (N, C)
                                                     .x = model_activation(m, norm->in, layer),      // (N, C)
                                                     .mean = model_activation(m, norm->mean, layer), // (N)
                                                     .rstd = model_activation(m, norm->rstd, layer), // (N)
                                                     .gain = weight(p, norm->gain, layer),           // (C)
                                                     .kind = (NormKind)m->config.norm,
                                                     .accumulate = p->accumulate,
                                                     .N = p->N,
                                                     .C = m->config.d_model});
}

// Queries, keys and values lie side by side in the rows of qkv (positions, Q); those of this pass begin at the row
// p->position, the keys and values at the first.
typedef struct {
    AttentionShape attention;
    HeadsShape heads;   // queries and keys
    int64_t k_at, v_at; // where they begin in a row, in bytes
    int64_t new_at;     // where the rows of this pass begin, in bytes
} Packed;

static Packed packed(const Pass *p) {
    const ModelConfig *c = &p->model->config;
    int64_t A = (int64_t)c->n_head * c->head_dim, K = (int64_t)c->n_kv_head * c->head_dim, Q = A + 2 * K;
    int64_t element = (int64_t)type_size(p->model->type);
    int B = p->batch->B, T = p->batch->T;
    return (Packed){
        .attention = {.B = B,
                      .n_head = c->n_head,
                      .n_kv_head = c->n_kv_head,
                      .head_dim = c->head_dim,
                      .q_len = T,
                      .kv_len = p->position + T,
                      .q_offset = p->position,
                      .q_row = Q,
                      .q_batch = T * Q,
                      .kv_row = Q,
                      .kv_batch = T * Q,
                      .out_row = A,
                      .out_batch = T * A,
                      .scale = c->attention_scale > 0 ? c->attention_scale : 1 / sqrt((double)c->head_dim)},
        .heads = {.B = B,
                  .T = T,
                  .n_heads = c->n_head + c->n_kv_head,
                  .head_dim = c->head_dim,
                  .pos_offset = p->position,
                  .row = Q,
                  .batch = T * Q,
                  .eps = c->norm_eps},
        .k_at = A * element,
        .v_at = (A + K) * element,
        .new_at = p->position * Q * element};
}

// The normalization of heads keeps its statistics in here; NULL where there is none.
static void *qk_rstd(const Pass *p, int l) {
    return p->model->config.qk_norm ? model_activation(p->model, ACT_QK_RSTD, l) : NULL;
}

static bool qk_changes(const Model *m) {
    return m->config.qk_norm || m->cos;
}

static void mlp_activation_forward(Pass *p, int l) {
    Model *m = p->model;
    void *act = model_activation(m, ACT_MLP_ACT, l), *up = model_activation(m, ACT_MLP_UP, l);
    int64_t n = p->N * m->config.d_ff;
    ActivationKind kind = (ActivationKind)m->config.activation;
    if (kind == ACTIVATION_SWIGLU) {
        const void *gate = model_activation(m, ACT_MLP_GATE, l);
        m->ops->swiglu_forward(p->stream, &(SwigluForward){.out = act, .gate = gate, .up = up, .n = n});
    } else {
        m->ops->activation_forward(p->stream, &(ActivationForward){.out = act, .in = up, .kind = kind, .n = n});
    }
}

// All of a layer but its last product.
static void layer_inner(Pass *p, int l) {
    Model *m = p->model;
    char *qkv = model_activation(m, ACT_QKV, l);
    void *attention = model_activation(m, ACT_ATTENTION, l), *delta = model_activation(m, ACT_DELTA, 0);
    Packed shape = packed(p);
    char *fresh = qkv + shape.new_at;

    norm_forward(p, &norm1, l);
    linear_forward(p, fresh, model_activation(m, ACT_NORM1, l), PARAM_QKV_WEIGHT, PARAM_QKV_BIAS, l);
    if (qk_changes(m))
        m->ops->qk_forward(p->stream, &(QkForward){.x = fresh,            // (N, Q)
                                                   .rstd = qk_rstd(p, l), // (N, n_head + n_kv_head)
                                                   .cos = m->cos,         // (context, head_dim / 2)
                                                   .sin = m->sin,         // (context, head_dim / 2)
                                                   .shape = shape.heads});
    m->ops->attention_forward(p->stream,
                              &(AttentionForward){.out = attention,                       // (N, A)
                                                  .lse = model_activation(m, ACT_LSE, l), // (B, n_head, T)
                                                  .q = fresh,                             // (N, Q)
                                                  .k = qkv + shape.k_at,                  // (kv_len, Q)
                                                  .v = qkv + shape.v_at,                  // (kv_len, Q)
                                                  .shape = shape.attention});
    linear_forward(p, delta, attention, PARAM_ATTENTION_PROJ_WEIGHT, PARAM_ATTENTION_PROJ_BIAS, l);
    p->delta = delta;

    norm_forward(p, &norm2, l);
    const void *norm = model_activation(m, ACT_NORM2, l);
    if (m->config.activation == ACTIVATION_SWIGLU)
        linear_forward(p, model_activation(m, ACT_MLP_GATE, l), norm, PARAM_MLP_GATE_WEIGHT, PARAM_MLP_GATE_BIAS,
                       l);
    linear_forward(p, model_activation(m, ACT_MLP_UP, l), norm, PARAM_MLP_UP_WEIGHT, PARAM_MLP_UP_BIAS, l);
    mlp_activation_forward(p, l);
}

static void layer_forward(Pass *p, int l) {
    void *delta = model_activation(p->model, ACT_DELTA, 0);
    layer_inner(p, l);
    linear_forward(p, delta, model_activation(p->model, ACT_MLP_ACT, l), PARAM_MLP_DOWN_WEIGHT, PARAM_MLP_DOWN_BIAS,
                   l);
    p->delta = delta;
}

// Makes what the forward pass did not keep, from what it kept.
static void layer_recompute(Pass *p, int l) {
    Model *m = p->model;
    if (m->shape.recompute == RECOMPUTE_NONE) return;
    if (m->shape.recompute == RECOMPUTE_LAYER) {
        p->resid = model_activation(m, ACT_RESID1, l), p->delta = NULL;
        layer_inner(p, l);
        return;
    }
    recompute_norm(p, &norm1, l);
    recompute_norm(p, &norm2, l);
    mlp_activation_forward(p, l);
}

static void mlp_backward(Pass *p, void *dnorm, const void *dout, int l) {
    Model *m = p->model;
    void *dmlp = model_activation(m, ACT_DMLP, 0), *dgate = model_activation(m, ACT_DMLP_GATE, 0);
    const void *norm = model_activation(m, ACT_NORM2, l), *up = model_activation(m, ACT_MLP_UP, l);
    int64_t n = p->N * m->config.d_ff;
    bool swiglu = m->config.activation == ACTIVATION_SWIGLU;
    linear_backward(p, dmlp, false, dout, model_activation(m, ACT_MLP_ACT, l), PARAM_MLP_DOWN_WEIGHT,
                    PARAM_MLP_DOWN_BIAS, l);
    if (swiglu) {
        m->ops->swiglu_backward(p->stream, &(SwigluBackward){.dgate = dgate, // (N, F), as all of them
                                                             .dup = dmlp,
                                                             .dout = dmlp,
                                                             .gate = model_activation(m, ACT_MLP_GATE, l),
                                                             .up = up,
                                                             .n = n});
        linear_backward(p, dnorm, false, dgate, norm, PARAM_MLP_GATE_WEIGHT, PARAM_MLP_GATE_BIAS, l);
    } else {
        m->ops->activation_backward(p->stream, &(ActivationBackward){.din = dmlp, // (N, F), as all of them
                                                                     .dout = dmlp,
                                                                     .in = up,
                                                                     .kind = (ActivationKind)m->config.activation,
                                                                     .n = n});
    }
    linear_backward(p, dnorm, swiglu, dmlp, norm, PARAM_MLP_UP_WEIGHT, PARAM_MLP_UP_BIAS, l);
}

// dresid is at once the gradient of the residual stream and of the delta that was added to it.
static void layer_backward(Pass *p, int l) {
    Model *m = p->model;
    char *qkv = model_activation(m, ACT_QKV, l), *dqkv = model_activation(m, ACT_DQKV, 0);
    void *attention = model_activation(m, ACT_ATTENTION, l), *dattention = model_activation(m, ACT_DATTENTION, 0);
    void *dresid = model_activation(m, ACT_DRESID, 0), *dnorm = model_activation(m, ACT_DNORM, 0);
    Packed shape = packed(p);

    layer_recompute(p, l);
    mlp_backward(p, dnorm, dresid, l);
    norm_backward(p, dresid, dnorm, &norm2, l);

    linear_backward(p, dattention, false, dresid, attention, PARAM_ATTENTION_PROJ_WEIGHT, PARAM_ATTENTION_PROJ_BIAS,
                    l);
    m->ops->attention_backward(
        p->stream,
        &(AttentionBackward){.dq = dqkv,                                     // (N, Q)
                             .dk = dqkv + shape.k_at,                        // (N, Q)
                             .dv = dqkv + shape.v_at,                        // (N, Q)
                             .delta = model_activation(m, ACT_ATT_DELTA, 0), // (B, n_head, T)
                             .dout = dattention,                             // (N, A)
                             .q = qkv,                                       // (N, Q)
                             .k = qkv + shape.k_at,                          // (N, Q)
                             .v = qkv + shape.v_at,                          // (N, Q)
                             .out = attention,                               // (N, A)
                             .lse = model_activation(m, ACT_LSE, l),         // (B, n_head, T)
                             .shape = shape.attention});
    if (qk_changes(m))
        m->ops->qk_backward(p->stream, &(QkBackward){.dx = dqkv,            // (N, Q)
                                                     .y = qkv,              // (N, Q)
                                                     .rstd = qk_rstd(p, l), // (N, n_head + n_kv_head)
                                                     .cos = m->cos,         // (context, head_dim / 2)
                                                     .sin = m->sin,         // (context, head_dim / 2)
                                                     .shape = shape.heads});
    linear_backward(p, dnorm, false, dqkv, model_activation(m, ACT_NORM1, l), PARAM_QKV_WEIGHT, PARAM_QKV_BIAS, l);
    norm_backward(p, dresid, dnorm, &norm1, l);
}

void block_final_norm(Pass *p) {
    norm_forward(p, &final_norm, -1);
}

void model_logits(Pass *p, int64_t row, int64_t n) {
    Model *m = p->model;
    const Param *head = model_head(m);
    const char *norm = model_activation(m, ACT_FINAL_NORM, 0); // (N, C)
    linear_product(p, model_activation(m, ACT_LOGITS, 0), norm + row * head->cols * (int64_t)type_size(m->type),
                   head, weight(p, PARAM_HEAD_BIAS, -1), n);
}

// The head with its loss, and at once their gradients: a chunk of logits exists only here.
static void head_forward(Pass *p) {
    Model *m = p->model;
    const ModelConfig *c = &m->config;
    const Param *head = model_head(m), *bias = param_find(&m->table, PARAM_HEAD_BIAS, -1);
    int classes = c->mask_padding ? c->vocab_size : c->vocab_padded;
    void *logits = model_activation(m, ACT_LOGITS, 0);
    char *losses = model_activation(m, ACT_LOSSES, 0), *norm = model_activation(m, ACT_FINAL_NORM, 0);
    char *dnorm = p->backward ? model_activation(m, ACT_DNORM, 0) : NULL;
    int64_t row_bytes = c->d_model * (int64_t)type_size(m->type), loss_bytes = (int64_t)type_size(m->acc_type);

    block_final_norm(p);
    for (int64_t row = 0; row < p->N; row += m->acts.logits_rows) {
        int64_t n = p->N - row < m->acts.logits_rows ? p->N - row : m->acts.logits_rows;
        bool accumulate = p->accumulate || row > 0;
        model_logits(p, row, n);
        m->ops->cross_entropy(p->stream, &(CrossEntropy){.losses = losses + row * loss_bytes, // (n)
                                                         .logits = logits,                    // (n, Vp)
                                                         .targets = p->batch->targets + row,  // (n)
                                                         .scale = p->backward ? p->scale : 0,
                                                         .cap_kind = (SoftcapKind)c->softcap_kind,
                                                         .cap = c->softcap,
                                                         .n = n,
                                                         .V = classes,
                                                         .Vp = c->vocab_padded});
        if (!p->backward) continue;
        linear_backward_weight(p, logits, norm + row * row_bytes, head, n, accumulate);
        linear_backward_input(p, dnorm + row * row_bytes, logits, head, n, false);
        if (bias) bias_backward(p, bias, logits, n, accumulate);
    }
    m->ops->loss_sum(p->stream, &(LossSum){.total = m->loss, .losses = losses, .n = p->N});
}

static void embedding_forward(Pass *p) {
    const ModelConfig *c = &p->model->config;
    void *out = model_activation(p->model, c->embed_norm ? ACT_EMBED : ACT_RESID1, 0);
    p->model->ops->embedding_forward(
        p->stream,
        &(EmbeddingForward){.out = out,                                     // (N, C)
                            .wte = weight(p, PARAM_TOKEN_EMBEDDING, -1),    // (Vp, C)
                            .wpe = weight(p, PARAM_POSITION_EMBEDDING, -1), // (context, C)
                            .batch = p->batch,
                            .pos_offset = p->position,
                            .C = c->d_model});
    p->resid = out, p->delta = NULL;
    if (!c->embed_norm) return;
    norm_forward(p, &embed_norm, 0);
    p->resid = model_activation(p->model, ACT_RESID1, 0);
}

static void zero_gradient(const Pass *p, const Param *param) {
    if (param == NULL || p->accumulate) return;
    device_zero(p->stream, gradient(p, param), (size_t)param_elements(param) * type_size(p->model->acc_type));
}

static size_t residual_bytes(const Pass *p) {
    return (size_t)(p->N * p->model->config.d_model) * type_size(p->model->type);
}

// The operation adds. To the token embedding a tied head has written already; the others start from zero.
static void embedding_backward(Pass *p) {
    Model *m = p->model;
    const Param *token = param_find(&m->table, PARAM_TOKEN_EMBEDDING, -1);
    const Param *position = param_find(&m->table, PARAM_POSITION_EMBEDDING, -1);
    void *dout = model_activation(m, ACT_DRESID, 0), *dnorm = model_activation(m, ACT_DNORM, 0);
    if (!m->config.tied_head) zero_gradient(p, token);
    zero_gradient(p, position);
    if (m->config.embed_norm) {
        device_zero(p->stream, dnorm, residual_bytes(p));
        norm_backward(p, dnorm, dout, &embed_norm, 0);
        dout = dnorm;
    }
    m->ops->embedding_backward(p->stream, &(EmbeddingBackward){.dwte = gradient(p, token),    // (Vp, C)
                                                               .dwpe = gradient(p, position), // (context, C)
                                                               .dout = dout,                  // (N, C)
                                                               .batch = p->batch,
                                                               .C = m->config.d_model});
}

void block_forward(Pass *p, int block) {
    int n_layer = p->model->config.n_layer;
    if (block == 0) embedding_forward(p);
    else if (block <= n_layer) layer_forward(p, block - 1);
    else head_forward(p);
}

void block_backward(Pass *p, int block) {
    Model *m = p->model;
    void *dresid = model_activation(m, ACT_DRESID, 0);
    if (block == 0) embedding_backward(p);
    else if (block <= m->config.n_layer) layer_backward(p, block - 1);
    else {
        device_zero(p->stream, dresid, residual_bytes(p));
        norm_backward(p, dresid, model_activation(m, ACT_DNORM, 0), &final_norm, -1);
    }
}
