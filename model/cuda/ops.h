// model/cuda/ops.h - the layer operations on CUDA, one declaration per operation of model/ops.h; T is the type of
// activations and weights, float or __nv_bfloat16. model/cuda/table.cu puts the tables together. For the cuda_ops_*.cu
// files of model/ only.
#ifndef POLAR_MODEL_CUDA_OPS_H
#define POLAR_MODEL_CUDA_OPS_H

#include "model/ops.h"

template <typename T>
void embedding_forward_cuda(Stream *s, void *out, const void *wte, const void *wpe, const Batch *batch, int C,
                            int pos_offset);
int64_t embedding_backward_scratch_cuda(int64_t N, int C);
template <typename T>
void embedding_backward_cuda(Stream *s, void *dwte, void *dwpe, const void *dout, const Batch *batch, int C);
template <typename T>
void norm_forward_cuda(Stream *s, void *resid, void *out, void *mean, void *rstd, const void *x, const void *delta,
                       const void *gain, const void *bias, NormKind kind, double eps, int64_t N, int C);
int64_t norm_backward_scratch_cuda(int64_t N, int C);
template <typename T>
void norm_backward_cuda(Stream *s, void *dx, void *dgain, void *dbias, const void *dout, const void *x,
                        const void *mean, const void *rstd, const void *gain, NormKind kind, int64_t N, int C,
                        bool accumulate);
template <typename T>
void qk_forward_cuda(Stream *s, void *x, void *rstd, const void *cos, const void *sin, const HeadsShape *shape);
template <typename T>
void qk_backward_cuda(Stream *s, void *dx, const void *y, const void *rstd, const void *cos, const void *sin,
                      const HeadsShape *shape);
template <typename T>
void activation_forward_cuda(Stream *s, void *out, const void *in, ActivationKind kind, int64_t n);
template <typename T>
void activation_backward_cuda(Stream *s, void *din, const void *dout, const void *in, ActivationKind kind,
                              int64_t n);
template <typename T> void swiglu_forward_cuda(Stream *s, void *out, const void *gate, const void *up, int64_t n);
template <typename T>
void swiglu_backward_cuda(Stream *s, void *dgate, void *dup, const void *dout, const void *gate, const void *up,
                          int64_t n);
template <typename T>
void attention_forward_cuda(Stream *s, void *out, void *lse, const void *q, const void *k, const void *v,
                            const AttentionShape *shape);
template <typename T>
void attention_backward_cuda(Stream *s, void *dq, void *dk, void *dv, void *delta, const void *dout, const void *q,
                             const void *k, const void *v, const void *out, const void *lse,
                             const AttentionShape *shape);
template <typename T> void softcap_cuda(Stream *s, void *logits, SoftcapKind kind, double cap, int64_t n);
template <typename T>
void cross_entropy_cuda(Stream *s, void *losses, void *logits, const int32_t *targets, double scale,
                        SoftcapKind cap_kind, double cap, int64_t n, int V, int Vp);
int64_t bias_backward_scratch_cuda(int64_t N, int C);
template <typename T>
void bias_backward_cuda(Stream *s, void *dbias, const void *dout, int64_t N, int C, bool accumulate);
void loss_sum_cuda(Stream *s, double *total, const void *losses, int64_t n);
template <typename T> void cast_weights_cuda(Stream *s, void *weights, const void *master, int64_t n);

#endif
