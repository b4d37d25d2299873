// optim/ops.h - the operations of the optimizers: their arguments and what they compute. optim/ops.def lists them once;
// each is implemented once per device, in a file of its family: optim/cpu/NAME.c and optim/cuda/NAME.cu.
//
// Conventions: polar factors and what they are made of (u, o, x below) have the type of the table; master weights,
// gradients and states (`void *`) its accumulation type (type_accumulate); device weights MatrixBatch.weights_type, on
// the CPU always in one arena with the master weights. A network in bf16 can so take its polar factors in bf16 or, by
// the table for f32, in f32. All matrices are dense and row-major with rows * cols elements; a vector is a matrix of one
// row. Sums of squares are double, for each row and then for each matrix, in an order that the device fixes (the CPU adds
// rows one after the other, CUDA as a tree): it depends neither on the number of threads or the shape of launches, nor on
// how many matrices one call has.
//
// Everything that changes from step to step (rates, momentum, bias corrections, clip scale, ok) is read from
// StepInputs and StepReport in device memory, so that a captured graph can be replayed; arguments by value are
// constants of the run. Operations on a MatrixBatch write nothing where report->ok is 0.
#ifndef POLAR_OPTIM_OPS_H
#define POLAR_OPTIM_OPS_H

#include "device/device.h"
#include "optim/optimizer.h"
#include "optim/polar/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// What an update works on: `count` (rows, cols) matrices of one group, each array at a stride of its own.
typedef struct {
    int count;
    int64_t rows, cols;
    int64_t stride;         // of master, weights and grads, in elements
    void *master, *weights; // weights is master where the types are equal
    Type weights_type;
    const void *grads;              // before clipping: the operations multiply by report->clip_scale
    void *state[MAX_STATE_TENSORS]; // what the optimizer declared, in that order
    int64_t state_stride[MAX_STATE_TENSORS];
    ParamGroup group;
    const StepInputs *inputs; // device memory
    const StepReport *report; // device memory
} MatrixBatch;

// sums (count, rows) = sum over a row of x^2; matrices of x stand `stride` elements apart.
typedef struct {
    double *sums;
    const void *x;
    int64_t stride;
    int count;
    int64_t rows, cols;
} RowSumSquares;

// sums (count, rows) = sum over a row of a o b; both dense.
typedef struct {
    double *sums;
    const void *a, *b;
    int count;
    int64_t rows, cols;
} RowDots;

// Decides the step from the n row sums of all gradients and the device's sum of losses:
//   grad_norm = sqrt(sum of row_sums), loss = *loss * loss_scale
//   ok = both finite, loss <= loss_limit and clip_scale grad_norm <= MAX_APPLIED_NORM; applied += ok
//   clip_scale = min(1, max_grad_norm / (grad_norm + 1e-6)), 1 where max_grad_norm is 0 (the convention of
//   torch.nn.utils.clip_grad_norm_)
//   bias_correction = 1 - beta^applied for every group
typedef struct {
    StepReport *report;
    const StepInputs *inputs;
    const double *row_sums;
    int64_t n;
    const double *loss;
} StepGuard;

// What the whole update of an optimizer that treats every element by itself is given beside the scalars of the step: of
// the constants of the run those that its equations in optim/ops.def have.
typedef struct {
    const MatrixBatch *batch;
    double eps, weight_decay;
    bool nesterov;
} ElementUpdate;

// ---- the stations of the polar family; u and o (count, rows, cols) dense ----

// The first. With g = clip_scale grads and b the group's momentum
//   M = b M + (ema ? 1 - b : 1) g
//   U = nesterov ? b M + (ema ? 1 - b : 1) g : M
// row_sums (count, rows) the sums of squares of U's rows. state[0]: M, or NULL: U = g.
typedef struct {
    void *u;
    double *row_sums;
    const MatrixBatch *batch;
    bool ema, nesterov;
} PolarMomentum;

// Every matrix of x (count, rows, cols) divided by ||X||_F factor + eps; its norm is the sum of its row_sums.
// A zero matrix stays zero.
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

// Takes the mean over the rows from every column: O_ij -= mean_i O_ij. row_sums become those of the result.
typedef struct {
    void *o;
    double *row_sums;
    int count;
    int64_t rows, cols;
} CenterColumns;

// What `normalize` divides a matrix by.
typedef enum {
    NORMALIZE_ROWS,     // running second moments of the rows
    NORMALIZE_COLUMNS,  // of the columns
    NORMALIZE_ELEMENTS, // of every element
    NORMALIZE_ROW_NORMS // the norms of the rows, without state
} Normalization;

// O / (sqrt(v) + eps), with v = b2 v + (1 - b2) mean O^2 over each row, over each column, or of each element
// (state[1]: v, as many); or O_i / (||O_i|| + eps) for each row i. row_sums are the sums of squares of O's rows and
// become those of the result.
typedef struct {
    void *o;
    double *row_sums;
    const MatrixBatch *batch;
    Normalization by;
    double eps;
} Normalize;

// How a normalized polar factor becomes an update of the size that the learning rate is meant for.
//   SCALE_SHAPE  sqrt(max(1, rows / cols)), after row normalization gave back the Frobenius norm it found: Muon as
//                released, NorMuon as released
//   SCALE_RMS    rms sqrt(rows cols) / ||O||_F: the update's root mean square is rms, as Adam's is about 0.2 (NorMuon,
//                Algorithm 1, line 10)
//   SCALE_MAX    rms sqrt(max(rows, cols)), on the norm that SCALE_SHAPE has: a root mean square of rms where O is
//                orthogonal. rms 1 in the speedrun records of 2024, 0.2 in Moonlight (Liu et al. 2025, "Muon is scalable")
//   SCALE_SPECTRAL  sqrt(rows / cols), fan-out over fan-in, on that norm: what keeps rates across widths
//   SCALE_FROBENIUS that norm alone
//   SCALE_NUCLEAR   <A, O>^power, on that norm, A the matrix whose polar factor O is: with power 1 the nuclear norm
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
    bool normalize;         // NorMuon's row normalization by state[1]
    double eps;             // of the row normalization
    double power;           // SCALE_NUCLEAR
    const double *row_dots; // (count, rows), device memory: sums of A o O, for SCALE_NUCLEAR
    // (count, rows), device memory: the row sums of squares of O before it was normalized by another operation, which
    // then gets that norm back. NULL: it was not.
    const double *norm_sums;
} RowScaling;

// The factor on each row of the polar factor O whose rows have the sums of squares row_sums (count, rows):
//   normalize: v = b2 v + (1 - b2) row_sums / cols;  s = 1 / (sqrt(v) + eps)   (state[1]: v (rows))
//   otherwise: s = 1
//   factors (count, rows) = s times the scaling rule, which sees ||s O||_F through the row sums.
// Every factor is finite in the type of the weights, but NaN where what it is made of is: that must not be hidden.
// Those of a matrix of zeros whose row_sums are given are 0. row_sums may be NULL where nothing needs them (neither
// SCALE_RMS nor normalization).
typedef struct {
    double *factors;
    const double *row_sums;
    const MatrixBatch *batch;
    RowScaling scaling;
} RowFactors;

// The last: with u = factors[row] O,
//   p = p - lr weight_decay p - lr u
// `cautious`: the decay acts only where u p >= 0 (Chen et al. 2025, "Cautious weight decay").
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

    // Bytes of the stream's scratch that `count` matrices take, fewer no more: for row_sum_squares, row_dots,
    // polar_momentum, polar_scale and what methods need that do not solve; for center_columns and normalize, with sums of
    // columns (which those of center_columns are) or without. NULL: none.
    int64_t (*row_scratch)(int64_t count, int64_t rows, int64_t cols);
    int64_t (*normalize_scratch)(int64_t count, int64_t rows, int64_t cols, bool columns);

    const PolarOps *polar; // what the polar methods need beside products and solves
} OptimOps;

// The table for a device and type; NULL where there is none.
const OptimOps *optim_ops(const Device *device, Type type);

#ifdef __cplusplus
}
#endif
#endif
