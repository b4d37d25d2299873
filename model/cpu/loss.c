#include "model/cpu/math.h"
#include "model/cpu/ops.h"

enum { CLASS_BLOCK = 1024 }; // classes summed in `real` before the partial sum is added to a double

// An exponential can be kept in place of its logit until the sum of all is known; in bf16 it would be rounded twice,
// and is computed again instead.
static const bool keeps_exps = sizeof(elem) == sizeof(real);

// The sum of exp(z - max) over the first V logits x of a row, in blocks. `keep`: overwrites them with the
// exponentials.
static double sum_of_exps(elem *row, real max, bool keep, bool root, real cap, int V) {
    double total = 0;
    for (int c0 = 0; c0 < V; c0 += CLASS_BLOCK) {
        int n = V - c0 < CLASS_BLOCK ? V - c0 : CLASS_BLOCK;
        real sum = 0;
        elem *part = row + c0;
        if (cap > 0) {
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < n; c++) sum += real_exp(softcapped(from_elem(part[c]), root, cap) - max);
        } else if (keep) {
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < n; c++) {
                real e = real_exp(from_elem(part[c]) - max);
                part[c] = to_elem(e);
                sum += e;
            }
        } else {
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < n; c++) sum += real_exp(from_elem(part[c]) - max);
        }
        total += (double)sum;
    }
    return total;
}

// Overwrites the logits x of a row, or the exponentials that were kept, with factor exp(z - max) dz/dx.
static void scale_exps(elem *row, real factor, real max, bool kept, bool root, real cap, int V) {
    if (cap > 0) {
#pragma omp simd
        for (int c = 0; c < V; c++) {
            real z = softcapped(from_elem(row[c]), root, cap);
            row[c] = to_elem(factor * real_exp(z - max) * softcap_derivative(z, root, cap));
        }
    } else if (kept) {
        for (int c = 0; c < V; c++) row[c] = to_elem(from_elem(row[c]) * factor);
    } else {
#pragma omp simd
        for (int c = 0; c < V; c++) row[c] = to_elem(factor * real_exp(from_elem(row[c]) - max));
    }
}

// Returns the loss of one row of logits. If scale is not 0, overwrites the row with scale (softmax - onehot) dz/dx.
// Soft-capped logits are computed twice, because the gradient needs z and the row only holds x.
static real row_loss(elem *restrict row, int32_t target, real scale, bool root, real cap, int V, int Vp) {
    if (target < 0) {
        if (scale != 0) memset(row, 0, (size_t)Vp * sizeof(elem));
        return 0;
    }
    real max = from_elem(row[0]);
#pragma omp simd reduction(max : max)
    for (int c = 0; c < V; c++) max = from_elem(row[c]) > max ? from_elem(row[c]) : max;
    real logit = from_elem(row[target]);
    if (cap > 0) max = softcapped(max, root, cap), logit = softcapped(logit, root, cap); // both are monotonic
    bool keep = keeps_exps && scale != 0 && cap == 0;
    double total = sum_of_exps(row, max, keep, root, cap, V);
    if (scale != 0) {
        real factor = (real)((double)scale / total),
             derivative = cap > 0 ? softcap_derivative(logit, root, cap) : 1;
        scale_exps(row, factor, max, keep, root, cap, V);
        for (int c = V; c < Vp; c++) row[c] = to_elem(0);
        // before it was rounded: near 1 the difference below would be all rounding error
        real softmax = keeps_exps ? from_elem(row[target]) : factor * real_exp(logit - max) * derivative;
        row[target] = to_elem(softmax - scale * derivative);
    }
    return (real)(log(total) - ((double)logit - (double)max));
}

void OP_TABLE(cross_entropy)(Stream *s, const CrossEntropy *a) {
    (void)s;
    real *losses = a->losses; // (n)
    elem *logits = a->logits; // (n, Vp)
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
