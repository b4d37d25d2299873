// model/config.h - the architecture of a network, as plain data. Every choice is a field; there is one model.
#ifndef POLAR_MODEL_CONFIG_H
#define POLAR_MODEL_CONFIG_H

#include "device/error.h" // defines: Error

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { NORM_LAYERNORM } NormKind;
typedef enum { POSITIONS_LEARNED } PositionKind;
typedef enum { ACTIVATION_GELU_TANH } ActivationKind;

typedef struct {
    int n_layer;
    int n_head;       // query heads
    int n_kv_head;    // key and value heads; divides n_head
    int d_model;      // C, the width of the residual stream
    int head_dim;     // n_head * head_dim is the width of the attention output
    int d_ff;         // inner width of the MLP
    int vocab_size;   // V, classes that exist
    int vocab_padded; // Vp >= V, rows of the embedding and columns of the logits
    int context;      // longest sequence: rows of the position embedding
    NormKind norm;
    double norm_eps;
    PositionKind positions;
    ActivationKind activation;
    bool biases;       // biases in every linear layer and norm
    bool tied_head;    // the head's weight is the token embedding
    bool mask_padding; // padded classes take no part in the softmax (GPT-2: yes)
    double init_std;   // N(0, init_std); residual projections are scaled by 1/sqrt(2 n_layer)
} ModelConfig;

// Checks that the numbers fit together. The text names the option at fault.
bool model_config_check(const ModelConfig *config, Error *err);

// Floating-point operations of one training step per token, forward and backward: 6 per weight of a product
// (the head counts, the embedding look-up does not) and 12 n_layer d_attention T / 2 for causal attention.
double model_flops_per_token(const ModelConfig *config, int seq_len);

#ifdef __cplusplus
}
#endif
#endif
