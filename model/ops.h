// model/ops.h - the operations of the model's layers, declared once and implemented per device. model/ops.def lists
// them; the contract of each is documented at its argument struct.
//
// Conventions: N = B T positions. Activations and weights (`void *`) have the table's type; statistics, parameter
// gradients and losses have its accumulation type (type_accumulate; the same type on the CPU). Arrays are dense and
// row-major unless strides are given. Outputs come first, sizes last. No operation allocates. Every sum is
// deterministic: its order depends neither on the number of threads nor on addresses.
// `accumulate`: false overwrites a parameter gradient, true adds to it.
#ifndef POLAR_MODEL_OPS_H
#define POLAR_MODEL_OPS_H

#include "device/device.h"
#include "data/batch.h"
#include "model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

// out[i] = wte[tokens[i]] + wpe[pos_offset + i mod T].
typedef struct {
    void *out;       // (N, C)
    const void *wte; // (Vp, C)
    const void *wpe; // (context, C) or NULL
    const Batch *batch;
    int pos_offset, C;
} EmbeddingForward;

// dwte[token] += sum of dout over the token's positions, by the batch's token index; dwpe[t] += sum of dout over the
// batch, for t < T. Always accumulates, because a tied head has already written its gradient to dwte.
typedef struct {
    void *dwte;       // (Vp, C)
    void *dwpe;       // (context, C) or NULL
    const void *dout; // (N, C)
    const Batch *batch;
    int C;
} EmbeddingBackward;

// resid = x + delta, out = norm(resid) gain + bias. mean and rstd are saved for the backward pass.
// LayerNorm: rstd = 1 / sqrt(var + eps) with the biased variance (Ba, Kiros, Hinton 2016, eq. 4). RMSNorm: the
// mean is taken as 0 and not written, rstd = 1 / sqrt(mean(x^2) + eps) (Zhang, Sennrich 2019, eq. 4).
// If delta is NULL, x is normalized and resid is not written. resid may alias x or delta.
typedef struct {
    void *resid, *out;       // (N, C)
    void *mean, *rstd;       // (N)
    const void *x, *delta;   // (N, C)
    const void *gain, *bias; // (C) or NULL
    NormKind kind;
    double eps;
    int64_t N;
    int C;
} NormForward;

// dx += gradient of the norm with respect to its input x.
typedef struct {
    void *dx;                // (N, C)
    void *dgain, *dbias;     // (C) or NULL
    const void *dout, *x;    // (N, C)
    const void *mean, *rstd; // (N)
    const void *gain;        // (C) or NULL
    NormKind kind;
    bool accumulate;
    int64_t N;
    int C;
} NormBackward;

// An array of heads: element (b, t, h, d) is at x[b batch + t row + h head_dim + d]. Row t has position pos_offset + t
// in its sequence.
typedef struct {
    int B, T, n_heads, head_dim, pos_offset;
    int64_t row, batch; // strides in elements
    double eps;         // of the norm
} HeadsShape;

// Normalizes and rotates every head x (head_dim) in place. RMSNorm without gain if rstd, which is saved for the
// backward pass, is not NULL; then RoPE if cos and sin are not NULL: rotates the pairs (j, j + head_dim / 2) by the
// angle of position and pair, y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin (Su et al. 2021, eq. 34, with pairs of halves
// as in Llama).
typedef struct {
    void *x;               // HeadsShape
    void *rstd;            // (B, T, n_heads) or NULL
    const void *cos, *sin; // (context, head_dim / 2) or NULL
    HeadsShape shape;
} QkForward;

// dx in place: the gradient of the output becomes the gradient of the input. y is the output of the forward pass, with
// the strides of dx; it is not read if rstd is NULL.
typedef struct {
    void *dx;              // HeadsShape
    const void *y;         // HeadsShape
    const void *rstd;      // (B, T, n_heads) or NULL
    const void *cos, *sin; // (context, head_dim / 2) or NULL
    HeadsShape shape;
} QkBackward;

// Sizes and strides (in elements) of one attention call. Element (b, t, h, d) of q is at
// q[b q_batch + t q_row + h head_dim + d]; k and v share one pair of strides, out has its own.
// Query t has position q_offset + t and attends to the keys at positions <= its own; kv_len >= q_offset + q_len.
// Query head h uses key/value head h / (n_head / n_kv_head).
typedef struct {
    int B, n_head, n_kv_head, head_dim;
    int q_len, kv_len, q_offset;
    int64_t q_row, q_batch;
    int64_t kv_row, kv_batch;
    int64_t out_row, out_batch;
    double scale; // multiplies the scores; 1/sqrt(head_dim) in GPT-2
} AttentionShape;

// Causal softmax attention by tiles, without materializing the score matrix (FlashAttention, Dao et al. 2022). Saves
// the log-sum-exp of every row for the backward pass.
typedef struct {
    void *out;             // AttentionShape
    void *lse;             // (B, n_head, q_len)
    const void *q, *k, *v; // AttentionShape
    AttentionShape shape;
} AttentionForward;

// Overwrites dq, dk, dv. dk and dv of a key/value head are sums over its query heads, in order.
typedef struct {
    void *dq, *dk, *dv;    // strides of q, k, v
    void *delta;           // (B, n_head, q_len), scratch: row sums of dout out
    const void *dout;      // strides of out
    const void *q, *k, *v; // AttentionShape
    const void *out, *lse; // of the forward pass
    AttentionShape shape;
} AttentionBackward;

// out = f(in). tanh-GELU: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); GELU: x Phi(x) (Hendrycks,
// Gimpel 2016); ReLU^2: max(x, 0)^2 (So et al. 2021). SwiGLU has its own operation.
typedef struct {
    void *out;      // (n)
    const void *in; // (n)
    ActivationKind kind;
    int64_t n;
} ActivationForward;

// din = dout f'(in); din may alias dout.
typedef struct {
    void *din;             // (n)
    const void *dout, *in; // (n)
    ActivationKind kind;
    int64_t n;
} ActivationBackward;

// out = silu(gate) up, silu(x) = x / (1 + e^-x) (Shazeer 2020).
typedef struct {
    void *out;             // (n)
    const void *gate, *up; // (n)
    int64_t n;
} SwigluForward;

// dgate = dout up silu'(gate), dup = dout silu(gate); dup may alias dout.
typedef struct {
    void *dgate, *dup;            // (n)
    const void *dout, *gate, *up; // (n)
    int64_t n;
} SwigluBackward;

// dbias = (or +=) column sums of dout.
typedef struct {
    void *dbias;      // (C)
    const void *dout; // (N, C)
    bool accumulate;
    int64_t N;
    int C;
} BiasBackward;

// Soft-caps logits in place: cap tanh(x / cap) or cap x / sqrt(x^2 + cap^2).
typedef struct {
    void *logits; // (n)
    SoftcapKind kind;
    double cap;
    int64_t n;
} Softcap;

// losses[i] = -log softmax(z[i])[targets[i]] over the first V of Vp columns (0 if targets[i] < 0); z are the
// logits, soft-capped if `cap` is not 0. If `scale` is not 0, logits is overwritten with its gradient,
// scale (softmax - onehot) dz/dx, 0 in columns >= V.
typedef struct {
    void *losses;           // (n)
    void *logits;           // (n, Vp)
    const int32_t *targets; // (n)
    double scale;
    SoftcapKind cap_kind;
    double cap;
    int64_t n;
    int V, Vp;
} CrossEntropy;

// *total += sum of losses, in double.
typedef struct {
    double *total;      // device memory
    const void *losses; // (n)
    int64_t n;
} LossSum;

// weights (the table's type) = master (its accumulation type), rounded to nearest even.
typedef struct {
    void *weights;      // (n)
    const void *master; // (n)
    int64_t n;
} CastWeights;

typedef struct {
#define OP(name, Arguments) void (*name)(Stream * s, const Arguments *a);
#include "model/ops.def"

    // NULL if the two types are equal: the master weights are the weights.
    void (*cast_weights)(Stream *s, const CastWeights *a);

    // Bytes of the stream's scratch buffer that these reductions over positions use; NULL: none.
    int64_t (*embedding_backward_scratch)(int64_t N, int C);
    int64_t (*norm_backward_scratch)(int64_t N, int C); // if there is a dgain or a dbias
    int64_t (*bias_backward_scratch)(int64_t N, int C);

    // Largest head_dim that attention supports; 0: no limit.
    int max_head_dim;
} LayerOps;

// The operations of a device in a type; NULL if unsupported.
const LayerOps *layer_ops(const Device *device, Type type);

#ifdef __cplusplus
}
#endif
#endif
