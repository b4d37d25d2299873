// model/activations.h - the activation table, from which the activation arena and the memory plan are derived.
#ifndef POLAR_MODEL_ACTIVATIONS_H
#define POLAR_MODEL_ACTIVATIONS_H

#include "device/device.h"
#include "model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

// What the activations must support. TRAINING: forward and backward. EVALUATION: forward only. DECODING: incremental
// forward with a KV cache, which is every layer's ACT_QKV.
typedef enum { USE_TRAINING, USE_EVALUATION, USE_DECODING } ModelUse;

// Activation recomputation in the backward pass. ACTIVATIONS: recomputes the outputs of the norms and of the MLP
// activation. LAYER: keeps only the input of every layer. The gradients are bitwise identical.
typedef enum { RECOMPUTE_NONE, RECOMPUTE_ACTIVATIONS, RECOMPUTE_LAYER } Recompute;

// Lifetime of an activation. RESIDUAL, SAVED and RECOMPUTABLE are written by the forward pass and read by the backward
// pass. A whole layer can be recomputed from its RESIDUAL; RECOMPUTABLE ones are cheap to recompute from SAVED ones.
// SCRATCH is used within a block only.
typedef enum { ACT_RESIDUAL, ACT_SAVED, ACT_RECOMPUTABLE, ACT_SCRATCH } ActKeep;

// One per layer unless marked "once"; those that the model does not use have no elements.
// A = n_head head_dim, Q = A + 2 n_kv_head head_dim.
typedef enum {
    ACT_EMBED,            // (N, C) once: the embedding before its norm
    ACT_EMBED_MEAN,       // (N) once
    ACT_EMBED_RSTD,       // (N) once
    ACT_RESID1,           // (N, C) input of the first norm; layer 0: output of the embedding
    ACT_NORM1,            // (N, C)
    ACT_NORM1_MEAN,       // (N)
    ACT_NORM1_RSTD,       // (N)
    ACT_QKV,              // (N, Q) q | k | v, after query/key norm and RoPE
    ACT_QK_RSTD,          // (N, n_head + n_kv_head)
    ACT_ATTENTION,        // (N, A)
    ACT_LSE,              // (B, n_head, T)
    ACT_RESID2,           // (N, C) input of the second norm
    ACT_NORM2,            // (N, C)
    ACT_NORM2_MEAN,       // (N)
    ACT_NORM2_RSTD,       // (N)
    ACT_MLP_GATE,         // (N, d_ff) SwiGLU
    ACT_MLP_UP,           // (N, d_ff) before the activation
    ACT_MLP_ACT,          // (N, d_ff) after it
    ACT_FINAL_RESID,      // (N, C) once
    ACT_FINAL_NORM,       // (N, C) once
    ACT_FINAL_MEAN,       // (N) once
    ACT_FINAL_RSTD,       // (N) once
    ACT_PENDING_RESIDUAL, // (N, C) once: output of a sub-block, added to the residual stream by the next norm
    ACT_LOGITS,           // (logits_rows, Vp) once: a chunk of the logits, then their gradient
    ACT_LOSSES,           // (N) once
    ACT_DRESID,           // (N, C) once: gradient of the residual stream
    ACT_DNORM,            // (N, C) once: gradient of a norm's output
    ACT_DATTENTION,       // (N, A) once
    ACT_DQKV,             // (N, Q) once
    ACT_DMLP,             // (N, d_ff) once
    ACT_DMLP_GATE,        // (N, d_ff) once
    ACT_ATT_DELTA,        // (B, n_head, T) once: scratch of the attention's backward pass
    ACT_COUNT
} ActKind;

typedef struct {
    const char *name;
    ActKeep keep;
    Type type;
    bool per_layer;
    bool training;       // used by the backward pass only; not allocated for inference
    int64_t elements;    // of one layer
    int64_t offset;      // bytes in the arena
    int64_t layer_bytes; // stride between layers, in bytes; 0: shared by all layers
} Activation;

typedef struct {
    Activation acts[ACT_COUNT];
    int64_t bytes;       // size of the arena
    int64_t logits_rows; // positions per chunk of logits
} ActivationTable;

// Largest micro-batch (B, T) and its use.
typedef struct {
    int B, T;
    ModelUse use;
    Recompute recompute; // training only
} BatchShape;

// Lays out the arena. Per-layer activations that are not kept share the memory of one layer; without training,
// activation gradients are not allocated.
void activation_table_init(ActivationTable *table, const ModelConfig *config, Type type, const BatchShape *shape);

#ifdef __cplusplus
}
#endif
#endif
