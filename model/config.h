// model/config.h - the architecture of a network, as plain data. Every choice is a field; there is one model.
#ifndef POLAR_MODEL_CONFIG_H
#define POLAR_MODEL_CONFIG_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { NORM_LAYERNORM, NORM_RMSNORM } NormKind;

// LEARNED: a table added to the token embedding. ROPE: queries and keys are rotated (Su et al. 2021). HALF_ROPE: only
// the faster half of the pairs is, with the base spread over it (the public step-count benchmark). NONE: neither.
typedef enum { POSITIONS_LEARNED, POSITIONS_ROPE, POSITIONS_HALF_ROPE, POSITIONS_NONE } PositionKind;

// SWIGLU has two products going up, silu(gate) up (Shazeer 2020); the others one.
typedef enum { ACTIVATION_GELU_TANH, ACTIVATION_GELU, ACTIVATION_RELU2, ACTIVATION_SWIGLU } ActivationKind;

// Of the linear layers within the layers: none, all, or queries, keys and values only (Qwen2).
typedef enum { BIASES_NONE, BIASES_ALL, BIASES_QKV } BiasKind;

// Soft-capping of the logits at +-cap: cap tanh(x / cap) (Gemma 2), or cap x / sqrt(x^2 + cap^2) (the benchmark).
typedef enum { SOFTCAP_TANH, SOFTCAP_ROOT } SoftcapKind;

// How matrices and embeddings are drawn: N(0, std^2), N(0, std^2 / fan_in), or uniform with the deviation
// std / sqrt(fan_in); fan_in is the number of columns. PyTorch's linear layers: uniform with std = 1/sqrt(3).
typedef enum { DIST_NORMAL, DIST_NORMAL_FAN_IN, DIST_UNIFORM_FAN_IN } InitDistribution;

// The projections back into the residual stream: drawn with std / sqrt(2 n_layer) (GPT-2), like all others, or zero.
typedef enum { RESIDUAL_INIT_SCALED, RESIDUAL_INIT_SAME, RESIDUAL_INIT_ZERO } ResidualInit;

typedef struct {
    int n_layer;
    int n_head;       // query heads
    int n_kv_head;    // key and value heads; divides n_head
    int d_model;      // C, the width of the residual stream
    int head_dim;     // n_head * head_dim is the width of the attention output
    int d_ff;         // inner width of the MLP
    int vocab_size;   // V, classes that exist
    int vocab_padded; // Vp >= V, rows of the embedding and columns of the logits
    int context;      // longest sequence: rows of the position embedding or of the table of rotations
    int norm;         // NormKind
    double norm_eps;
    bool norm_gain, norm_bias; // what the norms have; RMSNorm may have neither
    bool embed_norm;           // a norm of the embedding, before the first layer
    int positions;             // PositionKind
    double rope_base;
    bool qk_norm;                // RMSNorm without gain of every query and key head, before the rotation
    double attention_scale;      // of the scores; 0: 1/sqrt(head_dim)
    bool depth_scaled_attention; // the attention's projection is divided by sqrt(2 n_layer), its bias is not
    int activation;              // ActivationKind
    int biases;                  // BiasKind
    bool tied_head;              // the head's weight is the token embedding
    bool head_bias;              // (Vp)
    bool mask_padding;           // padded classes take no part in the softmax (GPT-2: yes)
    double softcap;              // 0: none
    int softcap_kind;            // SoftcapKind
    int init;                    // InitDistribution
    double init_std;
    double embed_init_std; // the embeddings are drawn from N(0, embed_init_std^2); 0: like the matrices
    int residual_init;     // ResidualInit
    bool zero_head;        // an untied head starts at zero
} ModelConfig;

// Checks that the numbers fit together. The text names the option at fault.
bool model_config_check(const ModelConfig *config, Error *err);

// Floating-point operations of one training step per token, forward and backward: 6 per weight of a product
// (the head counts, the embedding look-up does not) and 12 n_layer d_attention T / 2 for causal attention.
double model_flops_per_token(const ModelConfig *config, int seq_len);

static inline bool model_has_rope(const ModelConfig *config) {
    return config->positions == POSITIONS_ROPE || config->positions == POSITIONS_HALF_ROPE;
}

#ifdef __cplusplus
}
#endif
#endif
