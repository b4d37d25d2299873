// model/activations.h - the table of activations, as the parameters have theirs. The arena and the memory plan
// are derived from it.
#ifndef POLAR_MODEL_ACTIVATIONS_H
#define POLAR_MODEL_ACTIVATIONS_H

#include "device/device.h"
#include "model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

// What an arena is for. TRAINING: forward and backward. EVALUATION: forward only. DECODING: forward in pieces, with the
// keys and values of earlier positions kept in every layer's ACT_QKV.
typedef enum { USE_TRAINING, USE_EVALUATION, USE_DECODING } ModelUse;

// What the backward pass makes again instead of keeping it. ACTIVATIONS: outputs of norms and of the MLP's activation.
// LAYER: all but the input of every layer. The gradients have the same bits.
typedef enum { RECOMPUTE_NONE, RECOMPUTE_ACTIVATIONS, RECOMPUTE_LAYER } Recompute;

// How long an activation is needed. RESIDUAL and SAVED are written by the forward pass and read by the backward pass,
// RECOMPUTABLE likewise, but cheap to make again from saved ones; a layer can be made again from its RESIDUAL one.
// SCRATCH lives within a block.
typedef enum { ACT_RESIDUAL, ACT_SAVED, ACT_RECOMPUTABLE, ACT_SCRATCH } ActKeep;

// Per layer unless said otherwise; those that the network has no use for have no elements. A = n_head head_dim, Q = A + 2 n_kv_head head_dim.
typedef enum {
    ACT_EMBED,       // (N, C) once: the embedding before its norm
    ACT_EMBED_MEAN,  // (N) once
    ACT_EMBED_RSTD,  // (N) once
    ACT_RESID1,      // (N, C) input of the first norm; layer 0: output of the embedding
    ACT_NORM1,       // (N, C)
    ACT_NORM1_MEAN,  // (N)
    ACT_NORM1_RSTD,  // (N)
    ACT_QKV,         // (N, Q) queries and keys normalized and rotated
    ACT_QK_RSTD,     // (N, n_head + n_kv_head)
    ACT_ATTENTION,   // (N, A)
    ACT_LSE,         // (B, n_head, T)
    ACT_RESID2,      // (N, C) input of the second norm
    ACT_NORM2,       // (N, C)
    ACT_NORM2_MEAN,  // (N)
    ACT_NORM2_RSTD,  // (N)
    ACT_MLP_GATE,    // (N, d_ff) SwiGLU
    ACT_MLP_UP,      // (N, d_ff) before the activation
    ACT_MLP_ACT,     // (N, d_ff) after it
    ACT_FINAL_RESID, // (N, C) once
    ACT_FINAL_NORM,  // (N, C) once
    ACT_FINAL_MEAN,  // (N) once
    ACT_FINAL_RSTD,  // (N) once
    ACT_DELTA,       // (N, C) once: output of a sub-block, added to the residual by the next norm
    ACT_LOGITS,      // (logits_rows, Vp) once: a chunk of the logits, then their gradient
    ACT_LOSSES,      // (N) once
    ACT_DRESID,      // (N, C) once: gradient of the residual stream
    ACT_DNORM,       // (N, C) once: gradient of a norm's output
    ACT_DATTENTION,  // (N, A) once
    ACT_DQKV,        // (N, Q) once
    ACT_DMLP,        // (N, d_ff) once
    ACT_DMLP_GATE,   // (N, d_ff) once
    ACT_ATT_DELTA,   // (B, n_head, T) once: scratch of the attention's backward pass
    ACT_COUNT
} ActKind;

typedef struct {
    const char *name;
    ActKeep keep;
    Type type;
    bool per_layer;
    bool training;       // only the backward pass needs it; left out of an arena for inference
    int64_t elements;    // of one layer's
    int64_t offset;      // bytes in the arena
    int64_t layer_bytes; // from a layer's to the next's; 0: one for all layers
} Activation;

typedef struct {
    Activation acts[ACT_COUNT];
    int64_t bytes;       // of the arena
    int64_t logits_rows; // positions whose logits exist at once
} ActivationTable;

// What activations are made for: micro-batches of up to (B, T).
typedef struct {
    int B, T;
    ModelUse use;
    Recompute recompute; // training only
} BatchShape;

// Lays out the arena. Per-layer activations that need not be kept share one layer's memory; without training,
// gradients are left out.
void activation_table_init(ActivationTable *table, const ModelConfig *config, Type type, const BatchShape *shape);

#ifdef __cplusplus
}
#endif
#endif
