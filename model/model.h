// model/model.h - the network: parameters, activations, and the driver that runs it forward and backward.
//
// The network is a list of blocks: 0 is the embedding, 1..n_layer are the layers, n_layer + 1 is the final norm,
// the head and the loss. One driver runs them and calls the hooks around each.
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
    Type type, acc_type; // of weights and activations; of master weights, gradients and statistics
    const LayerOps *ops;
    void *master;     // (table.elements) of acc_type
    void *weights;    // (table.elements) of type; is `master` where the types are equal
    void *grads;      // (table.elements) of acc_type; NULL when the model was created for inference
    double *loss;     // device memory: sum of the losses since the last reset
    void *cos, *sin;  // (context, head_dim / 2) of acc_type, the rotations; NULL without
    BatchShape shape; // what the activations have room for
    ActivationTable acts;
    void *arena; // of the activations
} Model;

// What others may do around the blocks; any may be NULL. params_acquire(b) before the block's weights are read
// (gather them), params_release(b) after, grads_ready(b) when no later block adds to the gradients of block b
// (start their reduction). The token embedding belongs to block 0, a tied head reads it too.
typedef struct {
    void *context;
    void (*params_acquire)(void *context, Stream *stream, int block);
    void (*params_release)(void *context, Stream *stream, int block);
    void (*grads_ready)(void *context, Stream *stream, int block);
} ModelHooks;

// Allocates a model for what `shape` says; training adds gradients. The weights are zero until model_init_weights or a
// checkpoint fills them. Errors: out of memory, no operations for the type, a sequence longer than the context.
bool model_create(Model *model, const ModelConfig *config, Device *device, Type type, const BatchShape *shape,
                  Error *err);
void model_free(Model *model);

// Bytes that model_create allocates for these arguments, by what they are for.
typedef struct {
    int64_t weights, grads, activations;
} ModelMemory;
ModelMemory model_memory(const ModelConfig *config, Type type, const BatchShape *shape);

// Bytes of the stream's scratch that a pass takes (stream_reserve).
int64_t model_scratch(const ModelConfig *config, const Device *device, Type type, const BatchShape *shape);

// Draws every parameter by (seed, name, element), independent of device and type.
void model_init_weights(Model *model, Stream *stream, uint64_t seed);

// Brings the weights to the values of the master weights, after those were written.
void model_refresh_weights(Model *model, Stream *stream);

// Copies one parameter from host memory as master values (acc_type elements) and refreshes its weights. Waits for the
// stream.
void model_set_param(Model *model, Stream *stream, const Param *param, const void *values);

// Forward, loss and backward of one micro-batch (device memory). Adds the sum of its losses to *model->loss and
// scale times its gradient to model->grads (overwrites them if not `accumulate`). For the mean over a step's M
// tokens scale is 1/M.
void model_forward_backward(Model *model, Stream *stream, const Batch *batch, double scale, bool accumulate,
                            const ModelHooks *hooks);

// Forward and loss only: adds the sum of the losses to *model->loss.
void model_forward_loss(Model *model, Stream *stream, const Batch *batch, const ModelHooks *hooks);

// The losses of the last forward pass (B T), one a position, 0 where the target was negative. Waits for the stream.
void model_read_losses(double *losses, const Model *model, Stream *stream, int64_t n);

// Whether a sequence can be run in pieces: every layer keeps its keys and values.
bool model_can_continue(const Model *model);

// Logits (Vp, of the instance's type, in device memory, capped) at position t of sequence 0 of the batch, whose first
// position is number `position` of the sequence. position > 0 (then B = 1 and model_can_continue): the positions
// before it are those of the calls before.
const void *model_forward_logits(Model *model, Stream *stream, const Batch *batch, int t, int position,
                                 const ModelHooks *hooks);

// The first n logits of the last such call, as floats; not of an instance in F64. Waits for the stream.
void model_read_logits(float *logits, const Model *model, Stream *stream, int64_t n);

// Sets the loss sum to zero.
void model_reset_loss(Model *model, Stream *stream);

#ifdef __cplusplus
}
#endif
#endif
