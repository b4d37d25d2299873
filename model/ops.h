// model/ops.h - the operations of the network's layers, declared once, implemented once per device. model/ops.def lists
// them; the contract of each stands at its arguments.
//
// Conventions: N = B T positions; activations and weights (`void *`) have the instance's type, statistics,
// gradients of parameters and losses its accumulation type (type_accumulate; on the CPU the two are the same). All
// arrays are dense and row-major unless strides are given. Outputs come first, sizes last. No operation allocates.
// Every sum has a fixed order that depends on neither the number of threads nor the address.
// `accumulate`: false overwrites the gradient of a parameter, true adds to it.
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

// dwte += sums of dout over the positions of each token, through the batch's index: always adds, because a tied head has
// written there first. dwpe += in rows < T.
typedef struct {
    void *dwte;       // (Vp, C)
    void *dwpe;       // (context, C) or NULL
    const void *dout; // (N, C)
    const Batch *batch;
    int C;
} EmbeddingBackward;

// resid = x + delta, out = norm(resid) gain + bias. mean, rstd are kept for the backward pass.
// LayerNorm: rstd = 1 / sqrt(var + eps) with the biased variance (Ba, Kiros, Hinton 2016, eq. 4). RMSNorm: the
// mean counts as 0 and is not written, rstd = 1 / sqrt(mean(x^2) + eps) (Zhang, Sennrich 2019, eq. 4).
// delta NULL: resid is not written and x is normalized. resid may be x or delta.
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

// dx += the gradient through the norm whose input was x.
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

// Heads that lie side by side in the rows of an array: element (b, t, h, d) stands at
// x[b batch + t row + h head_dim + d]. Position t of the sequence is number pos_offset + t of it.
typedef struct {
    int B, T, n_heads, head_dim, pos_offset;
    int64_t row, batch;
    double eps; // of the norm
} HeadsShape;

// Of every head x (head_dim) in place: RMSNorm without gain if rstd is not NULL, which keeps what
// the backward pass needs; then, if cos and sin are not NULL, the rotation of the pairs (j, j + head_dim / 2) by the angle
// of position and pair: y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin (Su et al. 2021, eq. 34, with halves for neighbours as
// in Llama).
typedef struct {
    void *x;               // by the shape
    void *rstd;            // (B, T, n_heads) or NULL
    const void *cos, *sin; // (context, head_dim / 2) or NULL
    HeadsShape shape;
} QkForward;

// dx in place: the gradient of the output becomes that of the input; y is the output of the forward pass, with
// the strides of dx. y is not read where rstd is NULL.
typedef struct {
    void *dx;              // by the shape
    const void *y;         // by the shape
    const void *rstd;      // (B, T, n_heads) or NULL
    const void *cos, *sin; // (context, head_dim / 2) or NULL
    HeadsShape shape;
} QkBackward;

// Queries and keys of one attention call. Element (b, t, h, d) of q stands at
// q[b q_batch + t q_row + h head_dim + d]; k and v share one pair of strides, out has its own.
// Query t has position q_offset + t and sees the keys at positions <= its own; kv_len >= q_offset + q_len.
// Query head h reads key/value head h / (n_head / n_kv_head).
typedef struct {
    int B, n_head, n_kv_head, head_dim;
    int q_len, kv_len, q_offset;
    int64_t q_row, q_batch;
    int64_t kv_row, kv_batch;
    int64_t out_row, out_batch;
    double scale; // of the scores, 1/sqrt(head_dim) in GPT-2
} AttentionShape;

// Causal softmax attention by tiles (never more than a tile of scores), and the log-sum-exp of every row for the backward
// pass (Dao et al. 2022).
typedef struct {
    void *out;             // by the shape
    void *lse;             // (B, n_head, q_len)
    const void *q, *k, *v; // by the shape
    AttentionShape shape;
} AttentionForward;

// dq, dk, dv are overwritten. Key/value heads shared by several query heads sum over them in order.
typedef struct {
    void *dq, *dk, *dv;    // with the strides of q, k, v
    void *delta;           // (B, n_head, q_len), scratch
    const void *dout;      // with the strides of out
    const void *q, *k, *v; // by the shape
    const void *out, *lse; // of the forward pass
    AttentionShape shape;
} AttentionBackward;

// out = f(in). tanh-GELU: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); GELU: x Phi(x) (Hendrycks,
// Gimpel 2016); ReLU^2: max(x, 0)^2 (So et al. 2021). Not SwiGLU, which has an operation of its own.
typedef struct {
    void *out;      // (n)
    const void *in; // (n)
    ActivationKind kind;
    int64_t n;
} ActivationForward;

// din = dout f'(in); din may be dout.
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

// dgate = dout up silu'(gate), dup = dout silu(gate); dup may be dout.
typedef struct {
    void *dgate, *dup;            // (n)
    const void *dout, *gate, *up; // (n)
    int64_t n;
} SwigluBackward;

// dbias = or += column sums of dout.
typedef struct {
    void *dbias;      // (C)
    const void *dout; // (N, C)
    bool accumulate;
    int64_t N;
    int C;
} BiasBackward;

// logits = capped logits in place: cap tanh(x / cap) or cap x / sqrt(x^2 + cap^2).
typedef struct {
    void *logits; // (n)
    SoftcapKind kind;
    double cap;
    int64_t n;
} Softcap;

// losses[i] = -log softmax(z[i])[targets[i]] over the first V of Vp columns (0 where targets[i] < 0); z are the
// logits, capped as above if `cap` is not 0. If `scale` is not 0, logits is overwritten by its gradient,
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

// *total += the sum of losses, in double.
typedef struct {
    double *total;      // device memory
    const void *losses; // (n)
    int64_t n;
} LossSum;

// weights, of the instance's type, = master, of its accumulation type, rounded.
typedef struct {
    void *weights;      // (n)
    const void *master; // (n)
    int64_t n;
} CastWeights;

typedef struct {
#define OP(name, Arguments) void (*name)(Stream * s, const Arguments *a);
#include "model/ops.def"

    // NULL where the two types are equal and the master weights are the weights.
    void (*cast_weights)(Stream *s, const CastWeights *a);

    // Bytes of the stream's scratch that the three sums over positions take; NULL: none.
    int64_t (*embedding_backward_scratch)(int64_t N, int C);
    int64_t (*norm_backward_scratch)(int64_t N, int C); // where there is a dgain or a dbias
    int64_t (*bias_backward_scratch)(int64_t N, int C);

    // The widest head that attention takes; 0: any.
    int max_head_dim;
} LayerOps;

// The table for a device and type; NULL where there is none.
const LayerOps *layer_ops(const Device *device, Type type);

#ifdef __cplusplus
}
#endif
#endif
