// model/config.h - the model architecture as plain data. One implementation covers all; every choice is a field.
#ifndef POLAR_MODEL_CONFIG_H
#define POLAR_MODEL_CONFIG_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { NORM_LAYERNORM, NORM_RMSNORM } NormKind;

// LEARNED: a position embedding added to the token embedding. ROPE: rotary embedding of queries and keys (Su et al.
// 2021). HALF_ROPE: rotates only the first, higher-frequency half of the pairs, which spans the whole frequency range
// (the public step-count benchmark). NONE: no position information.
typedef enum { POSITIONS_LEARNED, POSITIONS_ROPE, POSITIONS_HALF_ROPE, POSITIONS_NONE } PositionKind;

// SWIGLU has two up-projections, silu(gate) up (Shazeer 2020); the others have one.
typedef enum { ACTIVATION_GELU_TANH, ACTIVATION_GELU, ACTIVATION_RELU2, ACTIVATION_SWIGLU } ActivationKind;

// Biases of the linear layers inside the transformer layers: none, all, or only queries, keys and values (Qwen2).
typedef enum { BIASES_NONE, BIASES_ALL, BIASES_QKV } BiasKind;

// Soft-cap of the logits at +-cap: cap tanh(x / cap) (Gemma 2), or cap x / sqrt(x^2 + cap^2) (the benchmark).
typedef enum { SOFTCAP_TANH, SOFTCAP_ROOT } SoftcapKind;

// Initial distribution of matrices and embeddings: N(0, std^2), N(0, std^2 / fan_in), or uniform with standard
// deviation std / sqrt(fan_in); fan_in is the number of columns. PyTorch's linear layers: uniform, std 1/sqrt(3).
typedef enum { DIST_NORMAL, DIST_NORMAL_FAN_IN, DIST_UNIFORM_FAN_IN } InitDistribution;

// Initialization of the projections into the residual stream: std / sqrt(2 n_layer) (GPT-2), like the others, or zero.
typedef enum { RESIDUAL_INIT_SCALED, RESIDUAL_INIT_SAME, RESIDUAL_INIT_ZERO } ResidualInit;

typedef struct {
    int n_layer;
    int n_head;       // query heads
    int n_kv_head;    // key/value heads; must divide n_head
    int d_model;      // C, the width of the residual stream
    int head_dim;     // n_head * head_dim is the width of the attention output
    int d_ff;         // inner width of the MLP
    int vocab_size;   // V, number of tokens
    int vocab_padded; // Vp >= V: rows of the embedding, columns of the logits
    int context;      // maximum sequence length: rows of the position embedding or of the RoPE tables
    int norm;         // NormKind
    double norm_eps;
    bool norm_gain, norm_bias; // affine parameters of the norms; RMSNorm may have neither
    bool embed_norm;           // norm of the embedding before the first layer
    int positions;             // PositionKind
    double rope_base;
    bool qk_norm;                // RMSNorm without gain of every query and key head, before RoPE
    double attention_scale;      // scale of the scores; 0: 1/sqrt(head_dim)
    bool depth_scaled_attention; // divides the attention output projection, without its bias, by sqrt(2 n_layer)
    int activation;              // ActivationKind
    int biases;                  // BiasKind
    bool tied_head;              // the head shares its weight with the token embedding
    bool head_bias;              // (Vp)
    bool mask_padding;           // excludes padded tokens from the softmax (GPT-2: true)
    double softcap;              // cap; 0: off
    int softcap_kind;            // SoftcapKind
    int init;                    // InitDistribution
    double init_std;
    double embed_init_std; // embeddings start as N(0, embed_init_std^2); 0: like the matrices
    int residual_init;     // ResidualInit
    bool zero_head;        // initializes an untied head to zero
} ModelConfig;

// Checks ranges and consistency. The error names the offending option.
bool model_config_check(const ModelConfig *config, Error *err);

// FLOPs of forward and backward per token: 6 per weight of a GEMM (including the head, without the embedding lookup)
// and 12 n_layer d_attention T / 2 for causal attention.
double model_flops_per_token(const ModelConfig *config, int seq_len);

static inline bool model_has_rope(const ModelConfig *config) {
    return config->positions == POSITIONS_ROPE || config->positions == POSITIONS_HALF_ROPE;
}

#ifdef __cplusplus
}
#endif
#endif
