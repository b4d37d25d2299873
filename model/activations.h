// model/activations.h - the table of activations, as the parameters have theirs. The arena and the memory plan
// are derived from it.
#ifndef POLAR_MODEL_ACTIVATIONS_H
#define POLAR_MODEL_ACTIVATIONS_H

#include "device/device.h" // defines: Type
#include "model/config.h"  // defines: ModelConfig

#ifdef __cplusplus
extern "C" {
#endif

// SAVED is written by the forward pass and read by the backward pass; RECOMPUTABLE likewise, but cheap to make
// again from saved ones; SCRATCH lives within a block.
typedef enum { ACT_SAVED, ACT_RECOMPUTABLE, ACT_SCRATCH } ActKeep;

// Per layer unless said otherwise. A = n_head head_dim, Q = A + 2 n_kv_head head_dim.
typedef enum {
    ACT_RESID1,      // (N, C) input of the first norm; layer 0: output of the embedding
    ACT_NORM1,       // (N, C)
    ACT_NORM1_MEAN,  // (N)
    ACT_NORM1_RSTD,  // (N)
    ACT_QKV,         // (N, Q)
    ACT_ATTENTION,   // (N, A)
    ACT_LSE,         // (B, n_head, T)
    ACT_RESID2,      // (N, C) input of the second norm
    ACT_NORM2,       // (N, C)
    ACT_NORM2_MEAN,  // (N)
    ACT_NORM2_RSTD,  // (N)
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

// Lays out the arena of a (B, T) micro-batch. Without `training` per-layer activations share one layer's memory and
// gradients are left out.
void activation_table_init(ActivationTable *table, const ModelConfig *config, Type type, int B, int T,
                           bool training);

#ifdef __cplusplus
}
#endif
#endif
