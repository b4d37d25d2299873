// model/params.h - the one table of parameters. Allocation, initialization, routing to optimizers, sharding,
// checkpoint names, export and the memory plan are all derived from it.
#ifndef POLAR_MODEL_PARAMS_H
#define POLAR_MODEL_PARAMS_H

#include "model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { ROLE_TOKEN_EMBEDDING, ROLE_POSITION_EMBEDDING, ROLE_HEAD, ROLE_HIDDEN, ROLE_GAIN, ROLE_BIAS } Role;

// What a parameter is in the network; one record per kind and layer.
typedef enum {
    PARAM_TOKEN_EMBEDDING,    // (Vp, C); rows V.. are zero and stay zero
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
    PARAM_HEAD_WEIGHT, // (Vp, C), absent when tied
    PARAM_HEAD_BIAS,   // (Vp)
    PARAM_X,           // matrices of their own, no network's: param_table_init_matrices
    PARAM_Y,
    PARAM_KIND_COUNT
} ParamKind;

typedef enum { INIT_ZERO, INIT_ONE, INIT_NORMAL, INIT_UNIFORM } InitKind;

// Rows [row, row + rows) of a parameter that are a matrix of their own to whoever wants them so (q, k, v), or `heads`
// matrices of equally many rows.
typedef struct {
    const char *name;
    int64_t row, rows;
    int heads;
} RowSplit;

// What of a parameter is one matrix: all of it, each of its splits, each head of them.
typedef enum { SPLIT_NONE, SPLIT_ROWS, SPLIT_HEADS } SplitLevel;

typedef struct {
    char name[64]; // "layers.3.attention.qkv.weight": the name in checkpoints
    ParamKind kind;
    Role role;
    int layer;          // -1 outside the layers
    int n_dims;         // 1: a vector of `cols` elements (rows is 1); 2: a (rows, cols) matrix
    int64_t rows, cols; // a row is an output neuron, cols the fan-in
    int64_t valid_rows; // rows before the vocabulary's padding; rows elsewhere
    RowSplit splits[3]; // natural row splits in order; n_splits 0: the parameter is one matrix
    int n_splits;
    InitKind init;
    double init_std; // of both distributions
    int64_t offset;  // first element, in every arena that has the layout of the parameters
} Param;

// Offsets are layer-major and multiples of PARAM_ALIGN elements; the gaps are zero in every arena and stay zero.
enum { PARAM_ALIGN = 64 };

typedef struct {
    Param *params; // in order of offset
    int n_params;
    int n_layer;
    int64_t elements;     // of an arena, gaps included
    int64_t layer_stride; // elements from a parameter of layer l to the same of l + 1
    int64_t total;        // parameters of the network, padding of the vocabulary left out
} ParamTable;

void param_table_init(ParamTable *table, const ModelConfig *config);
// A table of n matrices "x", "y" (at most 2) of these rows and cols, hidden matrices to an optimizer, that start uniform
// in [-1, 1).
void param_table_init_matrices(ParamTable *table, const int64_t (*shapes)[2], int n);
void param_table_free(ParamTable *table);

// The record of a kind in a layer (any layer for kinds outside the layers); NULL where the network has none.
const Param *param_find(const ParamTable *table, ParamKind kind, int layer);
static inline int64_t param_elements(const Param *p) {
    return p->rows * p->cols;
}
static inline bool param_is_matrix(const Param *p) {
    return p->n_dims == 2;
}
const char *role_name(Role role);

// Writes the initial values of elements [first, first + n) of a parameter, in double, drawn by (seed, name, element).
void param_init_values(double *values, const Param *param, uint64_t seed, int64_t first, int64_t n);

// A matrix group: `count` (rows, cols) matrices, e.g. one kind over the layers, or the k rows of it. Each parameter has
// `parts` of them, one after the other (heads; otherwise 1), and the parameters are at a fixed stride.
typedef struct {
    const Param *first;     // the record of the first one
    int64_t row;            // first row of the view within the parameter
    int64_t offset, stride; // in elements
    int count, parts;
    int64_t rows, cols;
} MatrixGroup;

// How a parameter is cut at a level: its natural splits, or one that is everything. Returns their number.
int param_splits(RowSplit splits[3], const Param *param, SplitLevel level);

// The views of one kind of parameter over all layers, one group per split. Returns the number of groups (at most 3).
int param_matrix_groups(MatrixGroup groups[3], const ParamTable *table, ParamKind kind, SplitLevel level);

#ifdef __cplusplus
}
#endif
#endif
