// model/model.h - the model: parameters, activations, and the forward and backward pass.
//
// The model is a list of blocks: 0 is the embedding, 1..n_layer are the layers, n_layer + 1 is the final norm,
// the head and the loss. The forward and backward pass run the blocks in order and call the hooks around each.
#ifndef POLAR_MODEL_MODEL_H
#define POLAR_MODEL_MODEL_H

#include "device/device.h"
#include "model/activations.h"
#include "data/batch.h"
#include "model/ops.h"
#include "model/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    ModelConfig config;
    ParamTable table;
    Device *device;
    Type type;     // of weights and activations
    Type acc_type; // of master weights, gradients and statistics
    const LayerOps *ops;
    void *master;     // (table.elements) of acc_type
    void *weights;    // (table.elements) of type; equal to `master` if the types are equal
    void *grads;      // (table.elements) of acc_type; NULL when the model was created for inference
    double *loss;     // device memory: sum of the losses since the last model_reset_loss
    void *cos, *sin;  // (context, head_dim / 2) of acc_type: RoPE tables; NULL without RoPE
    BatchShape shape; // maximum batch shape: the size of the activations
    ActivationTable acts;
    void *arena; // holds all activations
} Model;

// Callbacks around the blocks, for sharded or data-parallel training; any may be NULL. params_acquire(b) is called
// before the weights of block b are read (gather them), params_release(b) after, grads_ready(b) once the gradients of
// block b are final (start their reduction). The token embedding belongs to block 0; a tied head reads it too.
typedef struct {
    void *context;
    void (*params_acquire)(void *context, Stream *stream, int block);
    void (*params_release)(void *context, Stream *stream, int block);
    void (*grads_ready)(void *context, Stream *stream, int block);
} ModelHooks;

// Allocates a model for batches of up to `shape`, with gradients if its use is USE_TRAINING. The weights are zero until
// model_init_weights or a checkpoint fills them. Errors: out of memory, type not supported by the device, sequence
// longer than the context.
bool model_create(Model *model, const ModelConfig *config, Device *device, Type type, const BatchShape *shape,
                  Error *err);
void model_free(Model *model);

// Bytes that model_create allocates for these arguments, by purpose.
typedef struct {
    int64_t weights, grads, activations;
} ModelMemory;
ModelMemory model_memory(const ModelConfig *config, Type type, const BatchShape *shape);

// Bytes of the stream's scratch buffer that forward and backward need (stream_reserve).
int64_t model_scratch(const ModelConfig *config, const Device *device, Type type, const BatchShape *shape);

// Initializes every parameter. Each element is a function of (seed, name, index): the same on every device and type.
void model_init_weights(Model *model, Stream *stream, uint64_t seed);

// Casts the master weights to the weights; call after writing the master weights.
void model_refresh_weights(Model *model, Stream *stream);

// Copies one parameter from host memory (acc_type elements) to the master weights and refreshes its weights.
// Synchronizes the stream.
void model_set_param(Model *model, Stream *stream, const Param *param, const void *values);

// Forward, loss and backward of one micro-batch (device memory). Adds the sum of its losses to *model->loss, and scale
// times the gradient of that sum to model->grads (overwrites them if not `accumulate`). scale = 1/M gives the gradient
// of the mean loss over a step's M tokens.
void model_forward_backward(Model *model, Stream *stream, const Batch *batch, double scale, bool accumulate,
                            const ModelHooks *hooks);

// Forward and loss only: adds the sum of the losses to *model->loss.
void model_forward_loss(Model *model, Stream *stream, const Batch *batch, const ModelHooks *hooks);

// Copies the first n of the last forward pass's B T losses, one per position, to the host; a loss is 0 if its target is
// negative. Synchronizes the stream.
void model_read_losses(double *losses, const Model *model, Stream *stream, int64_t n);

// Returns true if sequences can be processed incrementally: every layer has a KV cache of its own.
bool model_can_continue(const Model *model);

// Returns the logits (Vp) at index t of sequence 0 of the batch: in device memory, of the model's type, soft-capped.
// `position` is the position in the sequence of the batch's first token. If it is > 0 (requires B = 1 and
// model_can_continue), the preceding positions are read from the KV cache that the previous calls filled.
const void *model_forward_logits(Model *model, Stream *stream, const Batch *batch, int t, int position,
                                 const ModelHooks *hooks);

// Copies the first n logits of the last such call to the host as floats; not for F64. Synchronizes the stream.
void model_read_logits(float *logits, const Model *model, Stream *stream, int64_t n);

// Sets the loss sum to zero.
void model_reset_loss(Model *model, Stream *stream);

#ifdef __cplusplus
}
#endif
#endif
