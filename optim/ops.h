// optim/ops.h - the optimizer operations: their arguments and equations. optim/ops.def lists them; each is implemented
// once per device, in optim/cpu/FAMILY.c and optim/cuda/FAMILY.cu.
//
// Conventions: polar factors and the inputs of polar methods (u, o, x below) have the type of the table; master
// weights, gradients and states (`void *`) its accumulation type (type_accumulate); device weights have
// MatrixBatch.weights_type, and on the CPU they are the master weights. A bf16 model can thus compute polar factors in
// bf16 or, with the f32 table, in f32. All matrices are dense and row-major with rows * cols elements; a vector is a
// matrix of one row. Sums of squares are accumulated in double, per row and then per matrix, in an order fixed by the
// device (the CPU adds rows sequentially, CUDA in a tree): it does not depend on the number of threads, the launch
// shape or the batch size.
//
// Everything that changes from step to step (learning rates, momentum, bias corrections, clip scale, ok) is read from
// StepInputs and StepReport in device memory, so that a captured graph can be replayed; arguments passed by value are
// constant during a run. Operations on a MatrixBatch write nothing if report->ok is 0.
#ifndef POLAR_OPTIM_OPS_H
#define POLAR_OPTIM_OPS_H

#include "device/device.h"
#include "optim/optimizer.h"
#include "optim/polar/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// A batch of `count` (rows, cols) matrices of one parameter group; every array has its own stride.
typedef struct {
    int count;
    int64_t rows, cols;
    int64_t stride;         // between matrices of master, weights and grads, in elements
    void *master, *weights; // weights == master if the types are equal
    Type weights_type;
    const void *grads;              // before clipping: the operations multiply by report->clip_scale
    void *state[MAX_STATE_TENSORS]; // in the order of declare_state
    int64_t state_stride[MAX_STATE_TENSORS];
    ParamGroup group;
    const StepInputs *inputs; // device memory
    const StepReport *report; // device memory
} MatrixBatch;

// sums (count, rows) = sum over each row of x^2; `stride` is the distance between matrices of x, in elements.
typedef struct {
    double *sums;
    const void *x;
    int64_t stride;
    int count;
    int64_t rows, cols;
} RowSumSquares;

// sums (count, rows) = sum over each row of the elementwise product a o b; a and b are dense.
typedef struct {
    double *sums;
    const void *a, *b;
    int count;
    int64_t rows, cols;
} RowDots;

// Accepts or rejects the step, from the n row sums of squares of all gradients and the sum of losses:
//   grad_norm = sqrt(sum of row_sums), loss = *loss * loss_scale
//   ok = both finite, loss <= loss_limit and clip_scale grad_norm <= MAX_APPLIED_NORM; applied += ok
//   clip_scale = min(1, max_grad_norm / (grad_norm + 1e-6)), or 1 if max_grad_norm is 0 (the convention of
//   torch.nn.utils.clip_grad_norm_)
//   bias_correction = 1 - beta^applied for every group
typedef struct {
    StepReport *report;
    const StepInputs *inputs;
    const double *row_sums;
    int64_t n;
    const double *loss;
} StepGuard;

// Arguments of an elementwise optimizer's update. Its equation in optim/ops.def tells which of the constants it uses.
typedef struct {
    const MatrixBatch *batch;
    double eps, weight_decay;
    bool nesterov;
} ElementUpdate;

// ---- the stages of the polar pipeline; u and o (count, rows, cols) are dense ----

// The first stage. With g = clip_scale grads and b the group's momentum
//   M = b M + (ema ? 1 - b : 1) g
//   U = nesterov ? b M + (ema ? 1 - b : 1) g : M
// row_sums (count, rows): sums of squares of the rows of U. state[0]: M, or NULL: U = g.
typedef struct {
    void *u;
    double *row_sums;
    const MatrixBatch *batch;
    bool ema, nesterov;
} PolarMomentum;

// Divides every matrix X of x (count, rows, cols) by ||X||_F factor + eps, with ||X||_F from its row_sums. A zero
// matrix stays zero.
typedef struct {
    void *x;
    const double *row_sums;
    int count;
    int64_t rows, cols;
    double factor, eps;
} PolarScale;

// The momentum of polar factors (PolarGrad, polar-first): M = b M + (ema ? 1 - b : 1) O, then O = M. state[0]: M.
typedef struct {
    void *o;
    const MatrixBatch *batch;
    bool ema;
} PolarAverage;

// Subtracts from every column its mean over the rows: O_ij -= mean_i O_ij. Updates row_sums to those of the result.
typedef struct {
    void *o;
    double *row_sums;
    int count;
    int64_t rows, cols;
} CenterColumns;

// The divisor of `normalize`.
typedef enum {
    NORMALIZE_ROWS,     // running second moment of each row
    NORMALIZE_COLUMNS,  // of each column
    NORMALIZE_ELEMENTS, // of each element
    NORMALIZE_ROW_NORMS // the norm of each row; no state
} Normalization;

// O / (sqrt(v) + eps), with v = b2 v + (1 - b2) mean O^2, the mean over a row, a column or just one element
// (state[1]: v, of matching size); or O_i / (||O_i|| + eps) for each row i. row_sums are the sums of squares of the
// rows of O and are updated to those of the result.
typedef struct {
    void *o;
    double *row_sums;
    const MatrixBatch *batch;
    Normalization by;
    double eps;
} Normalize;

// The scale factor between the (normalized) polar factor O and the update.
//   SCALE_SHAPE  sqrt(max(1, rows / cols)); if O was normalized, its Frobenius norm before that is restored first:
//                Muon and NorMuon as released
//   SCALE_RMS    rms sqrt(rows cols) / ||O||_F: the update's root mean square is rms, as Adam's is about 0.2 (NorMuon,
//                Algorithm 1, line 10)
//   SCALE_MAX    rms sqrt(max(rows, cols)), norm restored: a root mean square of rms if O is orthogonal. rms is 1 in
//                the speedrun records of 2024, 0.2 in Moonlight (Liu et al. 2025, "Muon is scalable")
//   SCALE_SPECTRAL  sqrt(rows / cols), fan-out over fan-in, norm restored: learning rates transfer across widths
//   SCALE_FROBENIUS 1, norm restored
//   SCALE_NUCLEAR   <A, O>^power, norm restored, for the polar factor O of A: with power 1 the nuclear norm of A
//                   (PolarGrad: Lau, Long and Su 2025)
typedef enum {
    SCALE_SHAPE,
    SCALE_RMS,
    SCALE_MAX,
    SCALE_SPECTRAL,
    SCALE_FROBENIUS,
    SCALE_NUCLEAR,
    SCALE_COUNT
} ScaleRule;

typedef struct {
    ScaleRule rule;
    double rms;             // SCALE_RMS, SCALE_MAX
    bool normalize;         // NorMuon's row normalization, by state[1]
    double eps;             // of the row normalization
    double power;           // SCALE_NUCLEAR
    const double *row_dots; // (count, rows), device memory: row sums of A o O, for SCALE_NUCLEAR
    // (count, rows), device memory: row sums of squares of O before another operation normalized it; that norm is then
    // restored. NULL: O was not normalized.
    const double *norm_sums;
} RowScaling;

// The factor on each row of the polar factor O; row_sums (count, rows) are the sums of squares of its rows:
//   normalize: v = b2 v + (1 - b2) row_sums / cols;  s = 1 / (sqrt(v) + eps)   (state[1]: v (rows))
//   otherwise: s = 1
//   factors (count, rows) = s times the scaling rule, which takes ||s O||_F from the row sums
// Every factor is finite in the type of the weights, except that a NaN input gives NaN, so that it is not hidden. The
// factors of a zero matrix whose row_sums are given are 0. row_sums may be NULL without SCALE_RMS and normalization.
typedef struct {
    double *factors;
    const double *row_sums;
    const MatrixBatch *batch;
    RowScaling scaling;
} RowFactors;

// The last stage: with u = factors[row] O,
//   p = p - lr weight_decay p - lr u
// `cautious`: decay only the elements with u p >= 0 (Chen et al. 2025, "Cautious weight decay").
typedef struct {
    const MatrixBatch *batch;
    const void *o;
    const double *factors;
    double weight_decay;
    bool cautious;
} PolarUpdate;

typedef struct {
#define OP(name, Arguments) void (*name)(Stream *, const Arguments *);
#include "optim/ops.def"

    // Bytes of the stream's workspace that a batch of up to `count` matrices needs. row_scratch: for row_sum_squares,
    // row_dots, polar_momentum, polar_scale and the polar methods without solvers. normalize_scratch: for
    // center_columns (columns true) and normalize (columns if by NORMALIZE_COLUMNS). NULL: none.
    int64_t (*row_scratch)(int64_t count, int64_t rows, int64_t cols);
    int64_t (*normalize_scratch)(int64_t count, int64_t rows, int64_t cols, bool columns);

    const PolarOps *polar; // further operations of the polar methods
} OptimOps;

// The table for a device and type; NULL if there is none.
const OptimOps *optim_ops(const Device *device, Type type);

#ifdef __cplusplus
}
#endif
#endif
