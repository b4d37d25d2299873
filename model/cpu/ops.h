// model/cpu/ops.h - the CPU's layer operations, one declaration per operation; the table of an instance is put
// together in model/cpu/table.c. For the cpu_ops_*.c files of model/ only.
#ifndef POLAR_MODEL_CPU_OPS_H
#define POLAR_MODEL_CPU_OPS_H

#include "device/cpu/cpu.h"
#include "model/ops.h"

#include <math.h>
#include <string.h>

void OP_TABLE(embedding_forward)(Stream *s, void *out, const void *wte, const void *wpe, const Batch *batch, int C,
                                 int pos_offset);
void OP_TABLE(embedding_backward)(Stream *s, void *dwte, void *dwpe, const void *dout, const Batch *batch, int C);
void OP_TABLE(norm_forward)(Stream *s, void *resid, void *out, void *mean, void *rstd, const void *x,
                            const void *delta, const void *gain, const void *bias, NormKind kind, double eps,
                            int64_t N, int C);
void OP_TABLE(norm_backward)(Stream *s, void *dx, void *dgain, void *dbias, const void *dout, const void *x,
                             const void *mean, const void *rstd, const void *gain, NormKind kind, int64_t N, int C,
                             bool accumulate);
void OP_TABLE(qk_forward)(Stream *s, void *x, void *rstd, const void *cos, const void *sin,
                          const HeadsShape *shape);
void OP_TABLE(qk_backward)(Stream *s, void *dx, const void *y, const void *rstd, const void *cos, const void *sin,
                           const HeadsShape *shape);
void OP_TABLE(swiglu_forward)(Stream *s, void *out, const void *gate, const void *up, int64_t n);
void OP_TABLE(swiglu_backward)(Stream *s, void *dgate, void *dup, const void *dout, const void *gate,
                               const void *up, int64_t n);
void OP_TABLE(softcap)(Stream *s, void *logits, SoftcapKind kind, double cap, int64_t n);
void OP_TABLE(activation_forward)(Stream *s, void *out, const void *in, ActivationKind kind, int64_t n);
void OP_TABLE(activation_backward)(Stream *s, void *din, const void *dout, const void *in, ActivationKind kind,
                                   int64_t n);
void OP_TABLE(attention_forward)(Stream *s, void *out, void *lse, const void *q, const void *k, const void *v,
                                 const AttentionShape *shape);
void OP_TABLE(attention_backward)(Stream *s, void *dq, void *dk, void *dv, void *delta, const void *dout,
                                  const void *q, const void *k, const void *v, const void *out, const void *lse,
                                  const AttentionShape *shape);
void OP_TABLE(cross_entropy)(Stream *s, void *losses, void *logits, const int32_t *targets, double scale,
                             SoftcapKind cap_kind, double cap, int64_t n, int V, int Vp);
void OP_TABLE(bias_backward)(Stream *s, void *dbias, const void *dout, int64_t N, int C, bool accumulate);
void OP_TABLE(loss_sum)(Stream *s, double *total, const void *losses, int64_t n);

#endif
