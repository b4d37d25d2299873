// model/ops.h - the operations of the network's layers, declared once, implemented once per device.
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

// Heads that lie side by side in the rows of an array: element (b, t, h, d) stands at
// x[b batch + t row + h head_dim + d]. Position t of the sequence is number pos_offset + t of it.
typedef struct {
    int B, T, n_heads, head_dim, pos_offset;
    int64_t row, batch;
    double eps; // of the norm
} HeadsShape;

typedef struct {
    // out[i] (N, C) = wte[tokens[i]] + wpe[pos_offset + i mod T]. wte (Vp, C), wpe (context, C) or NULL.
    void (*embedding_forward)(Stream *s, void *out, const void *wte, const void *wpe, const Batch *batch, int C,
                              int pos_offset);

    // dwte (Vp, C) += sums of dout (N, C) over the positions of each token, through the batch's index: always adds,
    // because a tied head has written there first. dwpe (context, C), if not NULL, += in rows < T.
    void (*embedding_backward)(Stream *s, void *dwte, void *dwpe, const void *dout, const Batch *batch, int C);

    // resid = x + delta, out = norm(resid) gain + bias; all (N, C). mean, rstd (N) are kept for the backward pass.
    // LayerNorm: rstd = 1 / sqrt(var + eps) with the biased variance (Ba, Kiros, Hinton 2016, eq. 4). RMSNorm: the
    // mean counts as 0 and is not written, rstd = 1 / sqrt(mean(x^2) + eps) (Zhang, Sennrich 2019, eq. 4).
    // delta NULL: resid is not written and x is normalized. resid may be x or delta. gain, bias (C) may be NULL.
    void (*norm_forward)(Stream *s, void *resid, void *out, void *mean, void *rstd, const void *x,
                         const void *delta, const void *gain, const void *bias, NormKind kind, double eps,
                         int64_t N, int C);

    // dx (N, C) += the gradient through the norm whose input was x; dgain, dbias (C) may be NULL.
    void (*norm_backward)(Stream *s, void *dx, void *dgain, void *dbias, const void *dout, const void *x,
                          const void *mean, const void *rstd, const void *gain, NormKind kind, int64_t N, int C,
                          bool accumulate);

    // Of every head x (head_dim) in place: RMSNorm without gain if rstd (B, T, n_heads) is not NULL, which keeps what
    // the backward pass needs; then, if cos and sin (context, head_dim / 2) are not NULL, the rotation of the pairs
    // (j, j + head_dim / 2) by the angle of position and pair: y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin (Su et al.
    // 2021, eq. 34, with halves for neighbours as in Llama).
    void (*qk_forward)(Stream *s, void *x, void *rstd, const void *cos, const void *sin, const HeadsShape *shape);

    // dx in place: the gradient of the output becomes that of the input; y is the output of the forward pass, with
    // the strides of dx. y is not read where rstd is NULL.
    void (*qk_backward)(Stream *s, void *dx, const void *y, const void *rstd, const void *cos, const void *sin,
                        const HeadsShape *shape);

    // out = f(in), n elements. tanh-GELU: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); GELU: x Phi(x) (Hendrycks,
    // Gimpel 2016); ReLU^2: max(x, 0)^2 (So et al. 2021).
    void (*activation_forward)(Stream *s, void *out, const void *in, ActivationKind kind, int64_t n);

    // din = dout f'(in); din may be dout.
    void (*activation_backward)(Stream *s, void *din, const void *dout, const void *in, ActivationKind kind,
                                int64_t n);

    // out = silu(gate) up, silu(x) = x / (1 + e^-x), n elements (Shazeer 2020).
    void (*swiglu_forward)(Stream *s, void *out, const void *gate, const void *up, int64_t n);

    // dgate = dout up silu'(gate), dup = dout silu(gate); dup may be dout.
    void (*swiglu_backward)(Stream *s, void *dgate, void *dup, const void *dout, const void *gate, const void *up,
                            int64_t n);

    // Causal softmax attention by tiles (never more than a tile of scores): out as the shape says, and the
    // log-sum-exp of every row in lse (B, n_head, q_len) for the backward pass (Dao et al. 2022).
    void (*attention_forward)(Stream *s, void *out, void *lse, const void *q, const void *k, const void *v,
                              const AttentionShape *shape);

    // dq, dk, dv, with the strides of q, k, v, are overwritten. dout has the strides of out. delta (B, n_head,
    // q_len) is scratch. Key/value heads shared by several query heads sum over them in order.
    void (*attention_backward)(Stream *s, void *dq, void *dk, void *dv, void *delta, const void *dout,
                               const void *q, const void *k, const void *v, const void *out, const void *lse,
                               const AttentionShape *shape);

    // logits = capped logits in place, n elements: cap tanh(x / cap) or cap x / sqrt(x^2 + cap^2).
    void (*softcap)(Stream *s, void *logits, SoftcapKind kind, double cap, int64_t n);

    // losses[i] = -log softmax(z[i])[targets[i]] over the first V of Vp columns (0 where targets[i] < 0); z are the
    // logits, capped as above if `cap` is not 0. If `scale` is not 0, logits (n, Vp) is overwritten by its gradient,
    // scale (softmax - onehot) dz/dx, 0 in columns >= V.
    void (*cross_entropy)(Stream *s, void *losses, void *logits, const int32_t *targets, double scale,
                          SoftcapKind cap_kind, double cap, int64_t n, int V, int Vp);

    // dbias (C) = or += column sums of dout (N, C).
    void (*bias_backward)(Stream *s, void *dbias, const void *dout, int64_t N, int C, bool accumulate);

    // Bytes of the stream's scratch that the three sums over positions take; NULL: none.
    int64_t (*embedding_backward_scratch)(int64_t N, int C);
    int64_t (*norm_backward_scratch)(int64_t N, int C); // where there is a dgain or a dbias
    int64_t (*bias_backward_scratch)(int64_t N, int C);

    // *total (a double in device memory) += the sum of losses (n), in double.
    void (*loss_sum)(Stream *s, double *total, const void *losses, int64_t n);

    // weights (n), of the instance's type, = master (n), of its accumulation type, rounded. NULL where the two types are
    // equal and the master weights are the weights.
    void (*cast_weights)(Stream *s, void *weights, const void *master, int64_t n);

    // The widest head that attention takes; 0: any.
    int max_head_dim;
} LayerOps;

// The table for a device and type; NULL where there is none.
const LayerOps *layer_ops(const Device *device, Type type);

#ifdef __cplusplus
}
#endif
#endif
