// model/params.h - the parameter table. Allocation, initialization, assignment to optimizers, sharding, checkpoint
// names, export and the memory plan are derived from it.
#ifndef POLAR_MODEL_PARAMS_H
#define POLAR_MODEL_PARAMS_H

#include "model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { ROLE_TOKEN_EMBEDDING, ROLE_POSITION_EMBEDDING, ROLE_HEAD, ROLE_HIDDEN, ROLE_GAIN, ROLE_BIAS } Role;

// The place of a parameter in the model. The table has one entry per kind and layer.
typedef enum {
    PARAM_TOKEN_EMBEDDING,    // (Vp, C); the padding rows V.. are always zero
    PARAM_POSITION_EMBEDDING, // (context, C)
    PARAM_EMBED_NORM_GAIN,    // (C)
    PARAM_EMBED_NORM_BIAS,    // (C)
    PARAM_NORM1_GAIN,         // (C)
    PARAM_NORM1_BIAS,         // (C)
    PARAM_QKV_WEIGHT,         // ((n_head + 2 n_kv_head) head_dim, C): rows q | k | v
    PARAM_QKV_BIAS,
    PARAM_ATTENTION_PROJ_WEIGHT, // (C, n_head head_dim)
    PARAM_ATTENTION_PROJ_BIAS,   // (C)
    PARAM_NORM2_GAIN,
    PARAM_NORM2_BIAS,
    PARAM_MLP_GATE_WEIGHT, // (d_ff, C), SwiGLU only
    PARAM_MLP_GATE_BIAS,   // (d_ff)
    PARAM_MLP_UP_WEIGHT,   // (d_ff, C)
    PARAM_MLP_UP_BIAS,     // (d_ff)
    PARAM_MLP_DOWN_WEIGHT, // (C, d_ff)
    PARAM_MLP_DOWN_BIAS,   // (C)
    PARAM_FINAL_NORM_GAIN,
    PARAM_FINAL_NORM_BIAS,
    PARAM_HEAD_WEIGHT, // (Vp, C), only if untied
    PARAM_HEAD_BIAS,   // (Vp)
    PARAM_X,           // the unknowns of a matrix problem, not part of a model: param_table_init_matrices
    PARAM_Y,
    PARAM_KIND_COUNT
} ParamKind;

typedef enum { INIT_ZERO, INIT_ONE, INIT_NORMAL, INIT_UNIFORM } InitKind;

// Rows [row, row + rows) of a parameter that an optimizer may treat as a separate matrix (q, k, v), or as `heads`
// matrices with rows / heads rows each.
typedef struct {
    const char *name;
    int64_t row, rows;
    int heads;
} RowSplit;

// The unit that an optimizer treats as one matrix: the whole parameter, each row split, or each head of a split.
typedef enum { SPLIT_NONE, SPLIT_ROWS, SPLIT_HEADS } SplitLevel;

typedef struct {
    char name[64]; // "layers.3.attention.qkv.weight": the name in checkpoints
    ParamKind kind;
    Role role;
    int layer;          // -1 outside the layers
    int n_dims;         // 1: a vector of `cols` elements (rows is 1); 2: a (rows, cols) matrix
    int64_t rows, cols; // rows: fan-out, cols: fan-in
    int64_t valid_rows; // rows without the vocabulary padding
    RowSplit splits[3]; // in order; n_splits 0: the parameter is a single matrix
    int n_splits;
    InitKind init;
    double init_std; // standard deviation, of either distribution
    int64_t offset;  // first element in every arena with the parameter layout (weights, gradients, ...)
} Param;

// Offsets are layer-major and multiples of PARAM_ALIGN elements; the padding between parameters is always zero.
enum { PARAM_ALIGN = 64 };

typedef struct {
    Param *params; // by ascending offset
    int n_params;
    int n_layer;
    int64_t elements;     // size of an arena, padding included
    int64_t layer_stride; // offset between the same parameter of layers l and l + 1, in elements
    int64_t total;        // parameter count of the model without vocabulary padding
} ParamTable;

void param_table_init(ParamTable *table, const ModelConfig *config);
// A table of n <= 2 matrices "x", "y" with shapes (rows, cols), with the role of hidden matrices, initialized uniformly
// in [-1, 1).
void param_table_init_matrices(ParamTable *table, const int64_t (*shapes)[2], int n);
void param_table_free(ParamTable *table);

// The parameter of a kind in a layer (`layer` is ignored for kinds outside the layers); NULL if the model has none.
const Param *param_find(const ParamTable *table, ParamKind kind, int layer);
static inline int64_t param_elements(const Param *p) {
    return p->rows * p->cols;
}
static inline bool param_is_matrix(const Param *p) {
    return p->n_dims == 2;
}
const char *role_name(Role role);

// Writes the initial values of elements [first, first + n) of a parameter: functions of (seed, name, element).
void param_init_values(double *values, const Param *param, uint64_t seed, int64_t first, int64_t n);

// `count` matrices of the same shape (rows, cols) that are processed as one batch: one kind in all layers, or one row
// split of it. Each parameter contributes `parts` consecutive matrices (its heads, or 1); parameters are `stride`
// apart.
typedef struct {
    const Param *first;     // parameter of the first matrix
    int64_t row;            // first row within the parameter
    int64_t offset, stride; // in elements
    int count, parts;
    int64_t rows, cols;
} MatrixGroup;

// The splits of a parameter at a level: its row splits, or one split with all rows. Returns their number.
int param_splits(RowSplit splits[3], const Param *param, SplitLevel level);

// The matrix groups of one kind of parameter over all layers, one per split. Returns the number of groups (at most 3).
int param_matrix_groups(MatrixGroup groups[3], const ParamTable *table, ParamKind kind, SplitLevel level);

#ifdef __cplusplus
}
#endif
#endif
