#include "model/blocks.h"

#include <math.h>

void *model_activation(const Model *model, ActKind kind, int layer) {
    const Activation *a = &model->acts.acts[kind];
    ASSERT(model->shape.use == USE_TRAINING || !a->training);
    return (char *)model->arena + a->offset + (a->per_layer ? layer * a->layer_bytes : 0);
}

const Param *model_head(const Model *model) {
    return param_find(&model->table, model->config.tied_head ? PARAM_TOKEN_EMBEDDING : PARAM_HEAD_WEIGHT, -1);
}

// First element of a parameter in the weights or in the gradients; NULL if the model has no such parameter.
static const void *weight(const MicroBatch *mb, ParamKind kind, int layer) {
    const Param *param = param_find(&mb->model->table, kind, layer);
    return param ? (const char *)mb->model->weights + param->offset * (int64_t)type_size(mb->model->type) : NULL;
}

static void *gradient(const MicroBatch *mb, const Param *param) {
    return param ? (char *)mb->model->grads + param->offset * (int64_t)type_size(mb->model->acc_type) : NULL;
}

// Scale factor of a linear layer's GEMM: 1, except for a depth-scaled attention projection.
static double linear_alpha(const MicroBatch *mb, ParamKind kind) {
    const ModelConfig *c = &mb->model->config;
    return kind == PARAM_ATTENTION_PROJ_WEIGHT && c->depth_scaled_attention ? 1 / sqrt(2.0 * c->n_layer) : 1;
}

// out (n, rows) = alpha in (n, cols) W^T + bias.
static void linear_gemm(const MicroBatch *mb, void *out, const void *in, const Param *w, const void *bias,
                        int64_t n) {
    Type type = mb->model->type;
    Gemm g = {.type = type, .c_type = type, .m = n, .n = w->rows, .k = w->cols, .alpha = linear_alpha(mb, w->kind)};
    g.a = in, g.lda = w->cols;                                                  // (n, cols)
    g.b = weight(mb, w->kind, w->layer), g.ldb = w->cols, g.transpose_b = true; // (rows, cols)
    g.c = out, g.ldc = w->rows, g.bias = bias;                                  // (n, rows), (rows)
    device_gemm(mb->stream, &g);
}

static void linear_forward(const MicroBatch *mb, void *out, const void *in, ParamKind kind, ParamKind bias,
                           int layer) {
    linear_gemm(mb, out, in, param_find(&mb->model->table, kind, layer), weight(mb, bias, layer), mb->N);
}

// din (n, cols) = (or +=) alpha dout (n, rows) W.
static void linear_backward_input(const MicroBatch *mb, void *din, const void *dout, const Param *w, int64_t n,
                                  bool add) {
    Type type = mb->model->type;
    Gemm g = {.type = type, .c_type = type, .m = n, .n = w->cols, .k = w->rows, .alpha = linear_alpha(mb, w->kind)};
    g.a = dout, g.lda = w->rows;                          // (n, rows)
    g.b = weight(mb, w->kind, w->layer), g.ldb = w->cols; // (rows, cols)
    g.c = din, g.ldc = w->cols, g.beta = add;             // (n, cols)
    device_gemm(mb->stream, &g);
}

// dW (rows, cols) = (or +=) alpha dout^T (rows, n) in (n, cols).
static void linear_backward_weight(const MicroBatch *mb, const void *dout, const void *in, const Param *w,
                                   int64_t n, bool add) {
    Type type = mb->model->type, sum_type = mb->model->acc_type;
    Gemm g = {
        .type = type, .c_type = sum_type, .m = w->rows, .n = w->cols, .k = n, .alpha = linear_alpha(mb, w->kind)};
    g.a = dout, g.lda = w->rows, g.transpose_a = true;    // (n, rows)
    g.b = in, g.ldb = w->cols;                            // (n, cols)
    g.c = gradient(mb, w), g.ldc = w->cols, g.beta = add; // (rows, cols)
    device_gemm(mb->stream, &g);
}

static void bias_backward(const MicroBatch *mb, const Param *bias, const void *dout, int64_t n, bool accumulate) {
    mb->model->ops->bias_backward(mb->stream, &(BiasBackward){.dbias = gradient(mb, bias), // (C)
                                                              .dout = dout,                // (n, C)
                                                              .accumulate = accumulate,
                                                              .N = n,
                                                              .C = (int)bias->cols});
}

static void linear_backward(const MicroBatch *mb, void *din, bool add_din, const void *dout, const void *in,
                            ParamKind kind, ParamKind bias, int layer) {
    const Param *w = param_find(&mb->model->table, kind, layer), *b = param_find(&mb->model->table, bias, layer);
    linear_backward_weight(mb, dout, in, w, mb->N, mb->accumulate);
    linear_backward_input(mb, din, dout, w, mb->N, add_din);
    if (b) bias_backward(mb, b, dout, mb->N, mb->accumulate);
}

// One of the model's norms: its parameters and activations.
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

// resid += pending_residual (if there is one), then normalizes resid.
static void norm_forward(MicroBatch *mb, const Norm *norm, int layer) {
    Model *model = mb->model;
    void *resid = model_activation(model, norm->in, layer);
    model->ops->norm_forward(mb->stream, &(NormForward){.resid = resid,                                   // (N, C)
                                                        .out = model_activation(model, norm->out, layer), // (N, C)
                                                        .mean = model_activation(model, norm->mean, layer), // (N)
                                                        .rstd = model_activation(model, norm->rstd, layer), // (N)
                                                        .x = mb->resid,                        // (N, C)
                                                        .delta = mb->pending_residual,         // (N, C)
                                                        .gain = weight(mb, norm->gain, layer), // (C)
                                                        .bias = weight(mb, norm->bias, layer), // (C)
                                                        .kind = (NormKind)model->config.norm,
                                                        .eps = model->config.norm_eps,
                                                        .N = mb->N,
                                                        .C = model->config.d_model});
    if (mb->pending_residual) mb->resid = resid;
    mb->pending_residual = NULL;
}

// Recomputes the norm from its saved input.
static void recompute_norm(MicroBatch *mb, const Norm *norm, int layer) {
    mb->resid = model_activation(mb->model, norm->in, layer);
    mb->pending_residual = NULL;
    norm_forward(mb, norm, layer);
}

// dx += gradient of the norm's input; dout is the gradient of its output.
static void norm_backward(MicroBatch *mb, void *dx, const void *dout, const Norm *norm, int layer) {
    Model *model = mb->model;
    const Param *gain = param_find(&model->table, norm->gain, layer),
                *bias = param_find(&model->table, norm->bias, layer);
    model->ops->norm_backward(mb->stream, &(NormBackward){.dx = dx,                                      // (N, C)
                                                          .dgain = gradient(mb, gain),                   // (C)
                                                          .dbias = gradient(mb, bias),                   // (C)
                                                          .dout = dout,                                  // (N, C)
                                                          .x = model_activation(model, norm->in, layer), // (N, C)
                                                          .mean = model_activation(model, norm->mean, layer), // (N)
                                                          .rstd = model_activation(model, norm->rstd, layer), // (N)
                                                          .gain = weight(mb, norm->gain, layer),              // (C)
                                                          .kind = (NormKind)model->config.norm,
                                                          .accumulate = mb->accumulate,
                                                          .N = mb->N,
                                                          .C = model->config.d_model});
}

// Layout of qkv (positions, Q): each row holds the queries, keys and values of one position. The rows of this
// micro-batch begin at row mb->position; with a KV cache the rows before it belong to earlier positions.
typedef struct {
    AttentionShape attention;
    HeadsShape heads;           // queries and keys
    int64_t k_offset, v_offset; // of keys and values within a row, in bytes
    int64_t new_rows_offset;    // of the first row of this micro-batch, in bytes
} QkvLayout;

static QkvLayout qkv_layout(const MicroBatch *mb) {
    const ModelConfig *c = &mb->model->config;
    int64_t A = (int64_t)c->n_head * c->head_dim, K = (int64_t)c->n_kv_head * c->head_dim, Q = A + 2 * K;
    int64_t element = (int64_t)type_size(mb->model->type);
    int B = mb->batch->B, T = mb->batch->T;
    return (QkvLayout){
        .attention = {.B = B,
                      .n_head = c->n_head,
                      .n_kv_head = c->n_kv_head,
                      .head_dim = c->head_dim,
                      .q_len = T,
                      .kv_len = mb->position + T,
                      .q_offset = mb->position,
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
                  .pos_offset = mb->position,
                  .row = Q,
                  .batch = T * Q,
                  .eps = c->norm_eps},
        .k_offset = A * element,
        .v_offset = (A + K) * element,
        .new_rows_offset = mb->position * Q * element};
}

// Statistics of the query and key norms; NULL if the model has none.
static void *qk_rstd(const MicroBatch *mb, int l) {
    return mb->model->config.qk_norm ? model_activation(mb->model, ACT_QK_RSTD, l) : NULL;
}

static bool has_qk_transform(const Model *model) {
    return model->config.qk_norm || model->cos;
}

static void mlp_activation_forward(MicroBatch *mb, int l) {
    Model *model = mb->model;
    void *act = model_activation(model, ACT_MLP_ACT, l), *up = model_activation(model, ACT_MLP_UP, l);
    int64_t n = mb->N * model->config.d_ff;
    ActivationKind kind = (ActivationKind)model->config.activation;
    if (kind == ACTIVATION_SWIGLU) {
        const void *gate = model_activation(model, ACT_MLP_GATE, l);
        model->ops->swiglu_forward(mb->stream, &(SwigluForward){.out = act, .gate = gate, .up = up, .n = n});
    } else {
        model->ops->activation_forward(mb->stream,
                                       &(ActivationForward){.out = act, .in = up, .kind = kind, .n = n});
    }
}

// The layer without its last GEMM (the MLP's output projection).
static void layer_without_mlp_down(MicroBatch *mb, int l) {
    Model *model = mb->model;
    char *qkv = model_activation(model, ACT_QKV, l);
    void *attention = model_activation(model, ACT_ATTENTION, l),
         *sublayer_out = model_activation(model, ACT_PENDING_RESIDUAL, 0);
    QkvLayout layout = qkv_layout(mb);
    char *new_qkv = qkv + layout.new_rows_offset;

    norm_forward(mb, &norm1, l);
    linear_forward(mb, new_qkv, model_activation(model, ACT_NORM1, l), PARAM_QKV_WEIGHT, PARAM_QKV_BIAS, l);
    if (has_qk_transform(model))
        model->ops->qk_forward(mb->stream, &(QkForward){.x = new_qkv,           // (N, Q)
                                                        .rstd = qk_rstd(mb, l), // (N, n_head + n_kv_head)
                                                        .cos = model->cos,      // (context, head_dim / 2)
                                                        .sin = model->sin,      // (context, head_dim / 2)
                                                        .shape = layout.heads});
    model->ops->attention_forward(mb->stream,
                                  &(AttentionForward){.out = attention,                           // (N, A)
                                                      .lse = model_activation(model, ACT_LSE, l), // (B, n_head, T)
                                                      .q = new_qkv,                               // (N, Q)
                                                      .k = qkv + layout.k_offset,                 // (kv_len, Q)
                                                      .v = qkv + layout.v_offset,                 // (kv_len, Q)
                                                      .shape = layout.attention});
    linear_forward(mb, sublayer_out, attention, PARAM_ATTENTION_PROJ_WEIGHT, PARAM_ATTENTION_PROJ_BIAS, l);
    mb->pending_residual = sublayer_out;

    norm_forward(mb, &norm2, l);
    const void *norm = model_activation(model, ACT_NORM2, l);
    if (model->config.activation == ACTIVATION_SWIGLU)
        linear_forward(mb, model_activation(model, ACT_MLP_GATE, l), norm, PARAM_MLP_GATE_WEIGHT,
                       PARAM_MLP_GATE_BIAS, l);
    linear_forward(mb, model_activation(model, ACT_MLP_UP, l), norm, PARAM_MLP_UP_WEIGHT, PARAM_MLP_UP_BIAS, l);
    mlp_activation_forward(mb, l);
}

static void layer_forward(MicroBatch *mb, int l) {
    void *sublayer_out = model_activation(mb->model, ACT_PENDING_RESIDUAL, 0);
    layer_without_mlp_down(mb, l);
    linear_forward(mb, sublayer_out, model_activation(mb->model, ACT_MLP_ACT, l), PARAM_MLP_DOWN_WEIGHT,
                   PARAM_MLP_DOWN_BIAS, l);
    mb->pending_residual = sublayer_out;
}

// Recomputes the activations that the forward pass did not keep.
static void layer_recompute(MicroBatch *mb, int l) {
    Model *model = mb->model;
    if (model->shape.recompute == RECOMPUTE_NONE) return;
    if (model->shape.recompute == RECOMPUTE_LAYER) {
        mb->resid = model_activation(model, ACT_RESID1, l);
        mb->pending_residual = NULL;
        layer_without_mlp_down(mb, l);
        return;
    }
    recompute_norm(mb, &norm1, l);
    recompute_norm(mb, &norm2, l);
    mlp_activation_forward(mb, l);
}

static void mlp_backward(MicroBatch *mb, void *dnorm, const void *dout, int l) {
    Model *model = mb->model;
    void *dmlp = model_activation(model, ACT_DMLP, 0), *dgate = model_activation(model, ACT_DMLP_GATE, 0);
    const void *norm = model_activation(model, ACT_NORM2, l), *up = model_activation(model, ACT_MLP_UP, l);
    int64_t n = mb->N * model->config.d_ff;
    bool swiglu = model->config.activation == ACTIVATION_SWIGLU;
    linear_backward(mb, dmlp, false, dout, model_activation(model, ACT_MLP_ACT, l), PARAM_MLP_DOWN_WEIGHT,
                    PARAM_MLP_DOWN_BIAS, l);
    if (swiglu) {
        model->ops->swiglu_backward(mb->stream, &(SwigluBackward){.dgate = dgate, // (N, F), like all others
                                                                  .dup = dmlp,
                                                                  .dout = dmlp,
                                                                  .gate = model_activation(model, ACT_MLP_GATE, l),
                                                                  .up = up,
                                                                  .n = n});
        linear_backward(mb, dnorm, false, dgate, norm, PARAM_MLP_GATE_WEIGHT, PARAM_MLP_GATE_BIAS, l);
    } else {
        model->ops->activation_backward(mb->stream,
                                        &(ActivationBackward){.din = dmlp, // (N, F), like all others
                                                              .dout = dmlp,
                                                              .in = up,
                                                              .kind = (ActivationKind)model->config.activation,
                                                              .n = n});
    }
    linear_backward(mb, dnorm, swiglu, dmlp, norm, PARAM_MLP_UP_WEIGHT, PARAM_MLP_UP_BIAS, l);
}

// dresid is both the gradient of the residual stream and that of each sub-block output added to it.
static void layer_backward(MicroBatch *mb, int l) {
    Model *model = mb->model;
    char *qkv = model_activation(model, ACT_QKV, l), *dqkv = model_activation(model, ACT_DQKV, 0);
    void *attention = model_activation(model, ACT_ATTENTION, l),
         *dattention = model_activation(model, ACT_DATTENTION, 0);
    void *dresid = model_activation(model, ACT_DRESID, 0), *dnorm = model_activation(model, ACT_DNORM, 0);
    QkvLayout layout = qkv_layout(mb);

    layer_recompute(mb, l);
    mlp_backward(mb, dnorm, dresid, l);
    norm_backward(mb, dresid, dnorm, &norm2, l);

    linear_backward(mb, dattention, false, dresid, attention, PARAM_ATTENTION_PROJ_WEIGHT,
                    PARAM_ATTENTION_PROJ_BIAS, l);
    model->ops->attention_backward(
        mb->stream,
        &(AttentionBackward){.dq = dqkv,                                         // (N, Q)
                             .dk = dqkv + layout.k_offset,                       // (N, Q)
                             .dv = dqkv + layout.v_offset,                       // (N, Q)
                             .delta = model_activation(model, ACT_ATT_DELTA, 0), // (B, n_head, T)
                             .dout = dattention,                                 // (N, A)
                             .q = qkv,                                           // (N, Q)
                             .k = qkv + layout.k_offset,                         // (N, Q)
                             .v = qkv + layout.v_offset,                         // (N, Q)
                             .out = attention,                                   // (N, A)
                             .lse = model_activation(model, ACT_LSE, l),         // (B, n_head, T)
                             .shape = layout.attention});
    if (has_qk_transform(model))
        model->ops->qk_backward(mb->stream, &(QkBackward){.dx = dqkv,             // (N, Q)
                                                          .y = qkv,               // (N, Q)
                                                          .rstd = qk_rstd(mb, l), // (N, n_head + n_kv_head)
                                                          .cos = model->cos,      // (context, head_dim / 2)
                                                          .sin = model->sin,      // (context, head_dim / 2)
                                                          .shape = layout.heads});
    linear_backward(mb, dnorm, false, dqkv, model_activation(model, ACT_NORM1, l), PARAM_QKV_WEIGHT, PARAM_QKV_BIAS,
                    l);
    norm_backward(mb, dresid, dnorm, &norm1, l);
}

void block_final_norm(MicroBatch *mb) {
    norm_forward(mb, &final_norm, -1);
}

void model_logits(MicroBatch *mb, int64_t row, int64_t n) {
    Model *model = mb->model;
    const Param *head = model_head(model);
    const char *norm = model_activation(model, ACT_FINAL_NORM, 0); // (N, C)
    linear_gemm(mb, model_activation(model, ACT_LOGITS, 0),
                norm + row * head->cols * (int64_t)type_size(model->type), head, weight(mb, PARAM_HEAD_BIAS, -1),
                n);
}

// Head and loss, together with their gradients, in chunks of positions: only one chunk of logits exists at a time.
static void head_forward(MicroBatch *mb) {
    Model *model = mb->model;
    const ModelConfig *c = &model->config;
    const Param *head = model_head(model), *bias = param_find(&model->table, PARAM_HEAD_BIAS, -1);
    int classes = c->mask_padding ? c->vocab_size : c->vocab_padded;
    void *logits = model_activation(model, ACT_LOGITS, 0);
    char *losses = model_activation(model, ACT_LOSSES, 0), *norm = model_activation(model, ACT_FINAL_NORM, 0);
    char *dnorm = mb->backward ? model_activation(model, ACT_DNORM, 0) : NULL;
    int64_t row_bytes = c->d_model * (int64_t)type_size(model->type),
            loss_bytes = (int64_t)type_size(model->acc_type);

    block_final_norm(mb);
    for (int64_t row = 0; row < mb->N; row += model->acts.logits_rows) {
        int64_t n = mb->N - row < model->acts.logits_rows ? mb->N - row : model->acts.logits_rows;
        bool accumulate = mb->accumulate || row > 0;
        model_logits(mb, row, n);
        model->ops->cross_entropy(mb->stream, &(CrossEntropy){.losses = losses + row * loss_bytes, // (n)
                                                              .logits = logits,                    // (n, Vp)
                                                              .targets = mb->batch->targets + row, // (n)
                                                              .scale = mb->backward ? mb->scale : 0,
                                                              .cap_kind = (SoftcapKind)c->softcap_kind,
                                                              .cap = c->softcap,
                                                              .n = n,
                                                              .V = classes,
                                                              .Vp = c->vocab_padded});
        if (!mb->backward) continue;
        linear_backward_weight(mb, logits, norm + row * row_bytes, head, n, accumulate);
        linear_backward_input(mb, dnorm + row * row_bytes, logits, head, n, false);
        if (bias) bias_backward(mb, bias, logits, n, accumulate);
    }
    model->ops->loss_sum(mb->stream, &(LossSum){.total = model->loss, .losses = losses, .n = mb->N});
}

static void embedding_forward(MicroBatch *mb) {
    const ModelConfig *c = &mb->model->config;
    void *out = model_activation(mb->model, c->embed_norm ? ACT_EMBED : ACT_RESID1, 0);
    mb->model->ops->embedding_forward(
        mb->stream,
        &(EmbeddingForward){.out = out,                                      // (N, C)
                            .wte = weight(mb, PARAM_TOKEN_EMBEDDING, -1),    // (Vp, C)
                            .wpe = weight(mb, PARAM_POSITION_EMBEDDING, -1), // (context, C)
                            .batch = mb->batch,
                            .pos_offset = mb->position,
                            .C = c->d_model});
    mb->resid = out;
    mb->pending_residual = NULL;
    if (!c->embed_norm) return;
    norm_forward(mb, &embed_norm, 0);
    mb->resid = model_activation(mb->model, ACT_RESID1, 0);
}

static void zero_gradient(const MicroBatch *mb, const Param *param) {
    if (param == NULL || mb->accumulate) return;
    device_zero(mb->stream, gradient(mb, param), (size_t)param_elements(param) * type_size(mb->model->acc_type));
}

static size_t residual_bytes(const MicroBatch *mb) {
    return (size_t)(mb->N * mb->model->config.d_model) * type_size(mb->model->type);
}

// The operation accumulates. A tied head has already written the token embedding's gradient; the others start from
// zero.
static void embedding_backward(MicroBatch *mb) {
    Model *model = mb->model;
    const Param *token = param_find(&model->table, PARAM_TOKEN_EMBEDDING, -1);
    const Param *position = param_find(&model->table, PARAM_POSITION_EMBEDDING, -1);
    void *dout = model_activation(model, ACT_DRESID, 0), *dnorm = model_activation(model, ACT_DNORM, 0);
    if (!model->config.tied_head) zero_gradient(mb, token);
    zero_gradient(mb, position);
    if (model->config.embed_norm) {
        device_zero(mb->stream, dnorm, residual_bytes(mb));
        norm_backward(mb, dnorm, dout, &embed_norm, 0);
        dout = dnorm;
    }
    model->ops->embedding_backward(mb->stream, &(EmbeddingBackward){.dwte = gradient(mb, token),    // (Vp, C)
                                                                    .dwpe = gradient(mb, position), // (context, C)
                                                                    .dout = dout,                   // (N, C)
                                                                    .batch = mb->batch,
                                                                    .C = model->config.d_model});
}

void block_forward(MicroBatch *mb, int block) {
    int n_layer = mb->model->config.n_layer;
    if (block == 0) embedding_forward(mb);
    else if (block <= n_layer) layer_forward(mb, block - 1);
    else head_forward(mb);
}

void block_backward(MicroBatch *mb, int block) {
    Model *model = mb->model;
    void *dresid = model_activation(model, ACT_DRESID, 0);
    if (block == 0) embedding_backward(mb);
    else if (block <= model->config.n_layer) layer_backward(mb, block - 1);
    else {
        device_zero(mb->stream, dresid, residual_bytes(mb));
        norm_backward(mb, dresid, model_activation(model, ACT_DNORM, 0), &final_norm, -1);
    }
}
