#include "model/blocks.h"

#include <math.h>

void *model_activation(const Model *m, ActKind kind, int layer) {
    const Activation *a = &m->acts.acts[kind];
    ASSERT(m->training || !a->training);
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

// out (N, rows) = in (N, cols) W^T + bias.
static void linear_forward(const Pass *p, void *out, const void *in, ParamKind kind, ParamKind bias, int layer) {
    const Param *w = param_find(&p->model->table, kind, layer);
    device_gemm(p->stream, &(Gemm){.type = p->model->type,
                                   .c_type = p->model->type,
                                   .transpose_b = true,
                                   .m = p->N,
                                   .n = w->rows,
                                   .k = w->cols,
                                   .alpha = 1,
                                   .a = in,
                                   .lda = w->cols,
                                   .b = weight(p, kind, layer),
                                   .ldb = w->cols,
                                   .c = out,
                                   .ldc = w->rows,
                                   .bias = weight(p, bias, layer)});
}

// din (n, cols) = dout (n, rows) W;  dW (rows, cols) = or += dout^T in.
static void linear_backward_weight(const Pass *p, void *din, const void *dout, const void *in, const Param *w,
                                   int64_t n, bool accumulate) {
    Type type = p->model->type;
    device_gemm(p->stream, &(Gemm){.type = type,
                                   .c_type = p->model->acc_type,
                                   .transpose_a = true,
                                   .m = w->rows,
                                   .n = w->cols,
                                   .k = n,
                                   .alpha = 1,
                                   .beta = accumulate,
                                   .a = dout,
                                   .lda = w->rows,
                                   .b = in,
                                   .ldb = w->cols,
                                   .c = gradient(p, w),
                                   .ldc = w->cols});
    device_gemm(p->stream, &(Gemm){.type = type,
                                   .c_type = type,
                                   .m = n,
                                   .n = w->cols,
                                   .k = w->rows,
                                   .alpha = 1,
                                   .a = dout,
                                   .lda = w->rows,
                                   .b = weight(p, w->kind, w->layer),
                                   .ldb = w->cols,
                                   .c = din,
                                   .ldc = w->cols});
}

static void linear_backward(const Pass *p, void *din, const void *dout, const void *in, ParamKind kind,
                            ParamKind bias, int layer) {
    const Param *w = param_find(&p->model->table, kind, layer), *b = param_find(&p->model->table, bias, layer);
    linear_backward_weight(p, din, dout, in, w, p->N, p->accumulate);
    if (b) p->model->ops->bias_backward(p->stream, gradient(p, b), dout, p->N, (int)b->cols, p->accumulate);
}

// One of the norms of the network with its place in the tables.
typedef struct {
    ParamKind gain, bias;
    ActKind in, out, mean, rstd;
} Norm;
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
    m->ops->norm_forward(p->stream, resid, model_activation(m, norm->out, layer),
                         model_activation(m, norm->mean, layer), model_activation(m, norm->rstd, layer), p->resid,
                         p->delta, weight(p, norm->gain, layer), weight(p, norm->bias, layer), m->config.norm,
                         m->config.norm_eps, p->N, m->config.d_model);
    if (p->delta) p->resid = resid;
    p->delta = NULL;
}

static void norm_backward(Pass *p, const Norm *norm, int layer) {
    Model *m = p->model;
    m->ops->norm_backward(p->stream, model_activation(m, ACT_DRESID, 0),
                          gradient(p, param_find(&m->table, norm->gain, layer)),
                          gradient(p, param_find(&m->table, norm->bias, layer)), model_activation(m, ACT_DNORM, 0),
                          model_activation(m, norm->in, layer), model_activation(m, norm->mean, layer),
                          model_activation(m, norm->rstd, layer), weight(p, norm->gain, layer), m->config.norm,
                          p->N, m->config.d_model, p->accumulate);
}

// Queries, keys and values lie side by side in the rows of qkv (N, Q).
static AttentionShape packed_shape(const Pass *p) {
    const ModelConfig *c = &p->model->config;
    int64_t A = (int64_t)c->n_head * c->head_dim, Q = A + 2 * (int64_t)c->n_kv_head * c->head_dim;
    int T = p->batch->T;
    return (AttentionShape){.B = p->batch->B,
                            .n_head = c->n_head,
                            .n_kv_head = c->n_kv_head,
                            .head_dim = c->head_dim,
                            .q_len = T,
                            .kv_len = T,
                            .q_row = Q,
                            .q_batch = T * Q,
                            .kv_row = Q,
                            .kv_batch = T * Q,
                            .out_row = A,
                            .out_batch = T * A,
                            .scale = 1 / sqrt((double)c->head_dim)};
}

// Where q, k and v begin in a row of qkv, in bytes.
static void packed_offsets(int64_t offsets[3], const Pass *p) {
    const Param *qkv = param_find(&p->model->table, PARAM_QKV_WEIGHT, 0);
    for (int i = 0; i < 3; i++) offsets[i] = qkv->splits[i].row * (int64_t)type_size(p->model->type);
}

static void layer_forward(Pass *p, int l) {
    Model *m = p->model;
    char *qkv = model_activation(m, ACT_QKV, l);
    void *attention = model_activation(m, ACT_ATTENTION, l), *delta = model_activation(m, ACT_DELTA, 0);
    void *up = model_activation(m, ACT_MLP_UP, l), *act = model_activation(m, ACT_MLP_ACT, l);
    AttentionShape shape = packed_shape(p);
    int64_t at[3];
    packed_offsets(at, p);

    norm_forward(p, &norm1, l);
    linear_forward(p, qkv, model_activation(m, ACT_NORM1, l), PARAM_QKV_WEIGHT, PARAM_QKV_BIAS, l);
    m->ops->attention_forward(p->stream, attention, model_activation(m, ACT_LSE, l), qkv + at[0], qkv + at[1],
                              qkv + at[2], &shape);
    linear_forward(p, delta, attention, PARAM_ATTENTION_PROJ_WEIGHT, PARAM_ATTENTION_PROJ_BIAS, l);
    p->delta = delta;

    norm_forward(p, &norm2, l);
    linear_forward(p, up, model_activation(m, ACT_NORM2, l), PARAM_MLP_UP_WEIGHT, PARAM_MLP_UP_BIAS, l);
    m->ops->activation_forward(p->stream, act, up, m->config.activation, p->N * m->config.d_ff);
    linear_forward(p, delta, act, PARAM_MLP_DOWN_WEIGHT, PARAM_MLP_DOWN_BIAS, l);
    p->delta = delta;
}

// dresid is at once the gradient of the residual stream and of the delta that was added to it.
static void layer_backward(Pass *p, int l) {
    Model *m = p->model;
    char *qkv = model_activation(m, ACT_QKV, l), *dqkv = model_activation(m, ACT_DQKV, 0);
    void *attention = model_activation(m, ACT_ATTENTION, l), *dattention = model_activation(m, ACT_DATTENTION, 0);
    void *dresid = model_activation(m, ACT_DRESID, 0), *dnorm = model_activation(m, ACT_DNORM, 0);
    void *dmlp = model_activation(m, ACT_DMLP, 0);
    AttentionShape shape = packed_shape(p);
    int64_t at[3];
    packed_offsets(at, p);

    linear_backward(p, dmlp, dresid, model_activation(m, ACT_MLP_ACT, l), PARAM_MLP_DOWN_WEIGHT,
                    PARAM_MLP_DOWN_BIAS, l);
    m->ops->activation_backward(p->stream, dmlp, dmlp, model_activation(m, ACT_MLP_UP, l), m->config.activation,
                                p->N * m->config.d_ff);
    linear_backward(p, dnorm, dmlp, model_activation(m, ACT_NORM2, l), PARAM_MLP_UP_WEIGHT, PARAM_MLP_UP_BIAS, l);
    norm_backward(p, &norm2, l);

    linear_backward(p, dattention, dresid, attention, PARAM_ATTENTION_PROJ_WEIGHT, PARAM_ATTENTION_PROJ_BIAS, l);
    m->ops->attention_backward(p->stream, dqkv + at[0], dqkv + at[1], dqkv + at[2],
                               model_activation(m, ACT_ATT_DELTA, 0), dattention, qkv + at[0], qkv + at[1],
                               qkv + at[2], attention, model_activation(m, ACT_LSE, l), &shape);
    linear_backward(p, dnorm, dqkv, model_activation(m, ACT_NORM1, l), PARAM_QKV_WEIGHT, PARAM_QKV_BIAS, l);
    norm_backward(p, &norm1, l);
}

void block_final_norm(Pass *p) {
    norm_forward(p, &final_norm, -1);
}

void model_logits(Pass *p, int64_t row, int64_t n) {
    Model *m = p->model;
    const Param *head = model_head(m);
    const char *norm = model_activation(m, ACT_FINAL_NORM, 0);
    device_gemm(p->stream, &(Gemm){.type = m->type,
                                   .c_type = m->type,
                                   .transpose_b = true,
                                   .m = n,
                                   .n = head->rows,
                                   .k = head->cols,
                                   .alpha = 1,
                                   .a = norm + row * head->cols * (int64_t)type_size(m->type),
                                   .lda = head->cols,
                                   .b = weight(p, head->kind, -1),
                                   .ldb = head->cols,
                                   .c = model_activation(m, ACT_LOGITS, 0),
                                   .ldc = head->rows});
}

// The head with its loss, and at once their gradients: a chunk of logits exists only here.
static void head_forward(Pass *p) {
    Model *m = p->model;
    const ModelConfig *c = &m->config;
    const Param *head = model_head(m);
    int classes = c->mask_padding ? c->vocab_size : c->vocab_padded;
    void *logits = model_activation(m, ACT_LOGITS, 0);
    char *losses = model_activation(m, ACT_LOSSES, 0), *norm = model_activation(m, ACT_FINAL_NORM, 0);
    char *dnorm = p->backward ? model_activation(m, ACT_DNORM, 0) : NULL;
    int64_t row_bytes = c->d_model * (int64_t)type_size(m->type), loss_bytes = (int64_t)type_size(m->acc_type);

    block_final_norm(p);
    for (int64_t row = 0; row < p->N; row += m->acts.logits_rows) {
        int64_t n = p->N - row < m->acts.logits_rows ? p->N - row : m->acts.logits_rows;
        model_logits(p, row, n);
        m->ops->cross_entropy(p->stream, losses + row * loss_bytes, logits, p->batch->targets + row,
                              p->backward ? p->scale : 0, n, classes, c->vocab_padded);
        if (p->backward)
            linear_backward_weight(p, dnorm + row * row_bytes, logits, norm + row * row_bytes, head, n,
                                   p->accumulate || row > 0);
    }
    m->ops->loss_sum(p->stream, m->loss, losses, p->N);
}

static void embedding_forward(Pass *p) {
    void *out = model_activation(p->model, ACT_RESID1, 0);
    p->model->ops->embedding_forward(p->stream, out, weight(p, PARAM_TOKEN_EMBEDDING, -1),
                                     weight(p, PARAM_POSITION_EMBEDDING, -1), p->batch, p->model->config.d_model,
                                     0);
    p->resid = out, p->delta = NULL;
}

// The operation adds. To the token embedding a tied head has written already; the others start from zero.
static void embedding_backward(Pass *p) {
    Model *m = p->model;
    const Param *token = param_find(&m->table, PARAM_TOKEN_EMBEDDING, -1);
    const Param *position = param_find(&m->table, PARAM_POSITION_EMBEDDING, -1);
    size_t element = type_size(m->acc_type);
    if (!m->config.tied_head && !p->accumulate)
        device_zero(p->stream, gradient(p, token), (size_t)param_elements(token) * element);
    if (!p->accumulate) device_zero(p->stream, gradient(p, position), (size_t)param_elements(position) * element);
    m->ops->embedding_backward(p->stream, gradient(p, token), gradient(p, position),
                               model_activation(m, ACT_DRESID, 0), p->batch, m->config.d_model);
}

void block_forward(Pass *p, int block) {
    int n_layer = p->model->config.n_layer;
    if (block == 0) embedding_forward(p);
    else if (block <= n_layer) layer_forward(p, block - 1);
    else head_forward(p);
}

void block_backward(Pass *p, int block) {
    Model *m = p->model;
    if (block == 0) embedding_backward(p);
    else if (block <= m->config.n_layer) layer_backward(p, block - 1);
    else {
        size_t bytes = (size_t)(p->N * m->config.d_model) * type_size(m->type);
        device_zero(p->stream, model_activation(m, ACT_DRESID, 0), bytes);
        norm_backward(p, &final_norm, -1);
    }
}
