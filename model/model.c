#include "model/model.h"

#include "base/integers.h"
#include "base/nvtx.h"
#include "model/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Elements of each of the RoPE tables (cosines, sines).
static int64_t rope_table_elements(const ModelConfig *c) {
    return model_has_rope(c) ? (int64_t)c->context * (c->head_dim / 2) : 0;
}

ModelMemory model_memory(const ModelConfig *config, Type type, const BatchShape *shape) {
    ParamTable table;
    ActivationTable acts;
    param_table_init(&table, config);
    activation_table_init(&acts, config, type, shape);
    int64_t elements = table.elements, master = (int64_t)type_size(type_accumulate(type));
    param_table_free(&table);
    int64_t copy = type == type_accumulate(type) ? 0 : elements * (int64_t)type_size(type);
    return (ModelMemory){.weights = elements * master + copy + 2 * rope_table_elements(config) * master,
                         .grads = shape->use == USE_TRAINING ? elements * master : 0,
                         .activations = acts.bytes};
}

// RoPE angle of position p and pair j: p base^(-j / (D / 2)) (Su et al. 2021). HALF_ROPE: the first D / 4 pairs span
// the whole frequency range, both ends included, base^(-j / (D / 4 - 1)); the other pairs are not rotated.
static double rope_angle(const ModelConfig *c, int64_t position, int pair) {
    int pairs = c->head_dim / 2;
    double exponent = (double)pair / pairs;
    if (c->positions == POSITIONS_HALF_ROPE) {
        if (pair >= pairs / 2) return 0;
        exponent = pairs / 2 > 1 ? (double)pair / (pairs / 2 - 1) : 0;
    }
    return (double)position * pow(c->rope_base, -exponent);
}

static void fill_rope_tables(Model *model, Stream *stream) {
    int pairs = model->config.head_dim / 2;
    int64_t n = rope_table_elements(&model->config);
    size_t element = type_size(model->acc_type);
    char *values = malloc(2 * (size_t)n * element);
    ASSERT(values != NULL);
    for (int64_t i = 0; i < 2 * n; i++) { // cosines, then sines
        double angle = rope_angle(&model->config, i % n / pairs, (int)(i % pairs));
        double value = i < n ? cos(angle) : sin(angle);
        float rounded = (float)value;
        memcpy(values + (size_t)i * element, model->acc_type == TYPE_F64 ? (void *)&value : (void *)&rounded,
               element);
    }
    device_copy(stream, model->cos, values, (size_t)n * element);
    device_copy(stream, model->sin, values + (size_t)n * element, (size_t)n * element);
    stream_synchronize(stream);
    free(values);
}

static bool allocate(Model *model) {
    Device *device = model->device;
    size_t element = type_size(model->acc_type), bytes = (size_t)model->table.elements * element;
    size_t rope_bytes = (size_t)rope_table_elements(&model->config) * element;
    bool training = model->shape.use == USE_TRAINING;
    model->master = device_alloc(device, bytes);
    model->weights = model->type == model->acc_type
                         ? model->master
                         : device_alloc(device, (size_t)model->table.elements * type_size(model->type));
    model->grads = training ? device_alloc(device, bytes) : NULL;
    model->loss = device_alloc(device, sizeof *model->loss);
    model->cos = rope_bytes ? device_alloc(device, rope_bytes) : NULL;
    model->sin = rope_bytes ? device_alloc(device, rope_bytes) : NULL;
    model->arena = device_alloc(device, (size_t)model->acts.bytes);
    return model->master && model->weights && (model->grads || !training) && model->loss && model->arena &&
           (!rope_bytes || (model->cos && model->sin));
}

bool model_create(Model *model, const ModelConfig *config, Device *device, Type type, const BatchShape *shape,
                  Error *err) {
    *model = (Model){.config = *config, .device = device, .type = type, .shape = *shape};
    if (!model_config_check(config, err)) return false;
    if (shape->T > config->context)
        return error_set(err, "seq-len %d is longer than context %d", shape->T, config->context);
    model->ops = layer_ops(device, type);
    if (model->ops == NULL) return error_set(err, "%s does not support %s; use f32", device->name, type_name(type));
    model->acc_type = type_accumulate(type);
    param_table_init(&model->table, config);
    activation_table_init(&model->acts, config, type, shape);
    if (!allocate(model)) {
        ModelMemory need = model_memory(config, type, shape);
        model_free(model);
        return error_set(
            err,
            "out of memory: the model needs %.2f GB for weights, %.2f GB for gradients and %.2f GB for "
            "activations; reduce the model or the micro-batch",
            (double)need.weights * 1e-9, (double)need.grads * 1e-9, (double)need.activations * 1e-9);
    }
    if (model->cos) {
        Stream *stream = stream_create(device);
        fill_rope_tables(model, stream);
        stream_destroy(stream);
    }
    return true;
}

void model_free(Model *model) {
    void *const blocks[] = {model->master, model->weights == model->master ? NULL : model->weights,
                            model->grads,  model->loss,
                            model->cos,    model->sin,
                            model->arena};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) device_free(model->device, blocks[i]);
    param_table_free(&model->table);
    *model = (Model){0};
}

static char *master_of(const Model *model, const Param *p) {
    return (char *)model->master + p->offset * (int64_t)type_size(model->acc_type);
}

// Casts the master weights of elements [first, first + n) to the weights, if they are separate arrays.
static void refresh_weights(Model *model, Stream *stream, int64_t first, int64_t n) {
    if (model->weights == model->master) return;
    model->ops->cast_weights(
        stream, &(CastWeights){.weights = (char *)model->weights + first * (int64_t)type_size(model->type),
                               .master = (char *)model->master + first * (int64_t)type_size(model->acc_type),
                               .n = n});
}

void model_refresh_weights(Model *model, Stream *stream) {
    refresh_weights(model, stream, 0, model->table.elements);
}

void model_set_param(Model *model, Stream *stream, const Param *p, const void *values) {
    device_copy(stream, master_of(model, p), values, (size_t)param_elements(p) * type_size(model->acc_type));
    refresh_weights(model, stream, p->offset, param_elements(p));
    stream_synchronize(stream);
}

// Initializes `chunk` elements at a time: a double buffer for a whole parameter would need twice its size in fp32.
static void init_param(Model *model, Stream *stream, const Param *p, uint64_t seed, double *values, int64_t chunk) {
    int64_t element = (int64_t)type_size(model->acc_type);
    for (int64_t first = 0; first < param_elements(p); first += chunk) {
        int64_t n = min_i64(param_elements(p) - first, chunk);
        param_init_values(values, p, seed, first, n);
        if (model->acc_type == TYPE_F32) // in place: float j never overwrites a double that is still to be read
            for (int64_t j = 0; j < n; j++) {
                float value = (float)values[j];
                memcpy((char *)values + j * element, &value, sizeof value);
            }
        device_copy(stream, master_of(model, p) + first * element, values, (size_t)(n * element));
        stream_synchronize(stream);
    }
}

void model_init_weights(Model *model, Stream *stream, uint64_t seed) {
    enum { CHUNK = 1 << 20 };
    double *values = malloc(CHUNK * sizeof *values);
    ASSERT(values != NULL);
    for (int i = 0; i < model->table.n_params; i++)
        init_param(model, stream, &model->table.params[i], seed, values, CHUNK);
    model_refresh_weights(model, stream);
    free(values);
}

// Scratch of the head bias gradient, which is computed per chunk of `rows` positions. The last, shorter chunk may be
// split into more partial sums than the others.
static int64_t head_bias_scratch(const LayerOps *ops, int64_t N, int64_t rows, int columns) {
    int64_t last = N % rows, bytes = ops->bias_backward_scratch(min_i64(N, rows), columns);
    return last ? max_i64(bytes, ops->bias_backward_scratch(last, columns)) : bytes;
}

int64_t model_scratch(const ModelConfig *config, const Device *device, Type type, const BatchShape *shape) {
    const LayerOps *ops = layer_ops(device, type);
    if (ops == NULL || ops->bias_backward_scratch == NULL || shape->use != USE_TRAINING) return 0;
    ParamTable table;
    ActivationTable acts;
    param_table_init(&table, config);
    activation_table_init(&acts, config, type, shape);
    int64_t N = (int64_t)shape->B * shape->T, bytes = ops->embedding_backward_scratch(N, config->d_model);
    if (config->norm_gain || config->norm_bias)
        bytes = max_i64(bytes, ops->norm_backward_scratch(N, config->d_model));
    for (int i = 0; i < table.n_params; i++) {
        const Param *p = &table.params[i];
        if (p->role != ROLE_BIAS) continue;
        bytes =
            max_i64(bytes, p->kind == PARAM_HEAD_BIAS ? head_bias_scratch(ops, N, acts.logits_rows, (int)p->cols)
                                                      : ops->bias_backward_scratch(N, (int)p->cols));
    }
    param_table_free(&table);
    return bytes;
}

static void hook(const ModelHooks *hooks, void (*call)(void *, Stream *, int), Stream *stream, int block) {
    if (call) call(hooks->context, stream, block);
}

static const ModelHooks no_hooks = {0};

// Runs blocks 0..last; last = n_layer + 1 includes the head, last = n_layer leaves it out.
static void forward(MicroBatch *mb, int last, const ModelHooks *hooks) {
    const BatchShape *shape = &mb->model->shape;
    ASSERT((int64_t)mb->batch->B * mb->batch->T + mb->position <= (int64_t)shape->B * shape->T);
    ASSERT(mb->batch->T + mb->position <= mb->model->config.context);
    for (int block = 0; block <= last; block++) {
        hook(hooks, hooks->params_acquire, mb->stream, block);
        nvtx_push("forward", block);
        block_forward(mb, block);
        nvtx_pop();
        hook(hooks, hooks->params_release, mb->stream, block);
    }
}

static MicroBatch micro_batch(Model *model, Stream *stream, const Batch *batch) {
    return (MicroBatch){.model = model, .stream = stream, .batch = batch, .N = (int64_t)batch->B * batch->T};
}

void model_forward_backward(Model *model, Stream *stream, const Batch *batch, double scale, bool accumulate,
                            const ModelHooks *hooks) {
    ASSERT(model->shape.use == USE_TRAINING);
    if (hooks == NULL) hooks = &no_hooks;
    MicroBatch mb = micro_batch(model, stream, batch);
    mb.backward = true, mb.scale = scale, mb.accumulate = accumulate;
    int last = model->config.n_layer + 1;
    forward(&mb, last, hooks);
    for (int block = last; block >= 0; block--) {
        hook(hooks, hooks->params_acquire, stream, block);
        nvtx_push("backward", block);
        block_backward(&mb, block);
        nvtx_pop();
        hook(hooks, hooks->params_release, stream, block);
        hook(hooks, hooks->grads_ready, stream, block);
    }
}

void model_forward_loss(Model *model, Stream *stream, const Batch *batch, const ModelHooks *hooks) {
    MicroBatch mb = micro_batch(model, stream, batch);
    forward(&mb, model->config.n_layer + 1, hooks ? hooks : &no_hooks);
}

void model_read_losses(double *losses, const Model *model, Stream *stream, int64_t n) {
    ASSERT(n <= (int64_t)model->shape.B * model->shape.T);
    device_copy(stream, losses, model_activation(model, ACT_LOSSES, 0), (size_t)n * type_size(model->acc_type));
    stream_synchronize(stream);
    if (model->acc_type != TYPE_F32) return;
    for (int64_t i = n - 1; i >= 0; i--) { // in place: a double never overwrites a float still to be read
        float loss;
        memcpy(&loss, (char *)losses + (size_t)i * sizeof loss, sizeof loss);
        losses[i] = (double)loss;
    }
}

bool model_can_continue(const Model *model) {
    return model->acts.acts[ACT_QKV].layer_bytes > 0;
}

const void *model_forward_logits(Model *model, Stream *stream, const Batch *batch, int t, int position,
                                 const ModelHooks *hooks) {
    ASSERT(t >= 0 && t < batch->T);
    ASSERT(position == 0 || (batch->B == 1 && model_can_continue(model)));
    if (hooks == NULL) hooks = &no_hooks;
    MicroBatch mb = micro_batch(model, stream, batch);
    mb.position = position;
    int head = model->config.n_layer + 1;
    forward(&mb, head - 1, hooks);
    hook(hooks, hooks->params_acquire, stream, head);
    block_final_norm(&mb);
    model_logits(&mb, t, 1);
    hook(hooks, hooks->params_release, stream, head);
    void *logits = model_activation(model, ACT_LOGITS, 0);
    if (model->config.softcap > 0)
        model->ops->softcap(stream, &(Softcap){.logits = logits,
                                               .kind = (SoftcapKind)model->config.softcap_kind,
                                               .cap = model->config.softcap,
                                               .n = model->config.vocab_padded});
    return logits;
}

void model_read_logits(float *logits, const Model *model, Stream *stream, int64_t n) {
    ASSERT(model->type != TYPE_F64 && n <= model->config.vocab_padded);
    device_copy(stream, logits, model_activation(model, ACT_LOGITS, 0), (size_t)n * type_size(model->type));
    stream_synchronize(stream);
    if (model->type == TYPE_F32) return;
    for (int64_t i = n - 1; i >= 0; i--) { // bf16 is the upper half of a float; in place, as above
        uint16_t half;
        memcpy(&half, (char *)logits + (size_t)i * sizeof half, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&logits[i], &bits, sizeof bits);
    }
}

void model_reset_loss(Model *model, Stream *stream) {
    device_zero(stream, model->loss, sizeof *model->loss);
}
