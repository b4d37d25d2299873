#include "model/cpu/math.h"
#include "model/cpu/ops.h"

enum { CLASS_BLOCK = 1024 }; // classes summed in `real` before the partial sum is added to a double

// Returns the loss of one row of logits. If scale is not 0, overwrites the row with scale (softmax - onehot) dz/dx.
// Soft-capped logits are computed twice, because the gradient needs z and the row only holds x.
static real row_loss(real *restrict row, int32_t target, real scale, bool root, real cap, int V, int Vp) {
    if (target < 0) {
        if (scale != 0) memset(row, 0, (size_t)Vp * sizeof(real));
        return 0;
    }
    real max = row[0];
#pragma omp simd reduction(max : max)
    for (int c = 0; c < V; c++) max = row[c] > max ? row[c] : max;
    real logit = row[target];
    if (cap > 0) max = softcapped(max, root, cap), logit = softcapped(logit, root, cap); // both are monotonic
    double total = 0;
    for (int c0 = 0; c0 < V; c0 += CLASS_BLOCK) {
        int n = V - c0 < CLASS_BLOCK ? V - c0 : CLASS_BLOCK;
        real sum = 0, *part = row + c0;
        if (cap > 0) {
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < n; c++) sum += real_exp(softcapped(part[c], root, cap) - max);
        } else if (scale != 0) {
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < n; c++) {
                part[c] = real_exp(part[c] - max);
                sum += part[c];
            }
        } else {
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < n; c++) sum += real_exp(part[c] - max);
        }
        total += (double)sum;
    }
    if (scale != 0) {
        real factor = (real)((double)scale / total);
        if (cap > 0) {
#pragma omp simd
            for (int c = 0; c < V; c++) {
                real z = softcapped(row[c], root, cap);
                row[c] = factor * real_exp(z - max) * softcap_derivative(z, root, cap);
            }
        } else {
            for (int c = 0; c < V; c++) row[c] *= factor;
        }
        for (int c = V; c < Vp; c++) row[c] = 0;
        row[target] -= cap > 0 ? scale * softcap_derivative(logit, root, cap) : scale;
    }
    return (real)(log(total) - ((double)logit - (double)max));
}

void OP_TABLE(cross_entropy)(Stream *s, const CrossEntropy *a) {
    (void)s;
    real *losses = a->losses, *logits = a->logits; // (n), (n, Vp)
    bool root = a->cap_kind == SOFTCAP_ROOT;
#pragma omp parallel for schedule(static) if (a->n * a->V > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < a->n; i++)
        losses[i] = row_loss(logits + i * a->Vp, a->targets[i], (real)a->scale, root, (real)a->cap, a->V, a->Vp);
}

void OP_TABLE(loss_sum)(Stream *s, const LossSum *a) {
    (void)s;
    const real *losses = a->losses; // (n)
    double sum = 0;
    for (int64_t i = 0; i < a->n; i++) sum += (double)losses[i];
    *a->total += sum;
}
