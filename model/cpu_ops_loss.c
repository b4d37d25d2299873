#include "model/cpu_math.h" // defines: real_exp
#include "model/cpu_ops.h"

enum { CLASS_BLOCK = 1024 }; // classes summed in the instance's type before the sum goes to a double

// Loss of one row of logits; with `scale` the row becomes scale (softmax - onehot).
static real row_loss(real *restrict row, int32_t target, real scale, int V, int Vp) {
    if (target < 0) {
        if (scale != 0) memset(row, 0, (size_t)Vp * sizeof(real));
        return 0;
    }
    real max = row[0];
#pragma omp simd reduction(max : max)
    for (int c = 0; c < V; c++) max = row[c] > max ? row[c] : max;
    real logit = row[target];
    double total = 0;
    for (int c0 = 0; c0 < V; c0 += CLASS_BLOCK) {
        int n = V - c0 < CLASS_BLOCK ? V - c0 : CLASS_BLOCK;
        real sum = 0, *part = row + c0;
        if (scale != 0) {
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
        for (int c = 0; c < V; c++) row[c] *= factor;
        for (int c = V; c < Vp; c++) row[c] = 0;
        row[target] -= scale;
    }
    return (real)(log(total) - ((double)logit - (double)max));
}

void OP_TABLE(cross_entropy)(Stream *s, void *losses_, void *logits_, const int32_t *targets, double scale,
                             int64_t n, int V, int Vp) {
    (void)s;
    real *losses = losses_, *logits = logits_; // (n), (n, Vp)
#pragma omp parallel for schedule(static) if (n * V > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) losses[i] = row_loss(logits + i * Vp, targets[i], (real)scale, V, Vp);
}

void OP_TABLE(loss_sum)(Stream *s, double *total, const void *losses_, int64_t n) {
    (void)s;
    const real *losses = losses_; // (n)
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)losses[i];
    *total += sum;
}
