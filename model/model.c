#include "model/model.h"

#include "base/integers.h"
#include "base/nvtx.h"
#include "model/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Elements of the cosines, and of the sines.
static int64_t rotation_elements(const ModelConfig *c) {
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
    return (ModelMemory){.weights = elements * master + copy + 2 * rotation_elements(config) * master,
                         .grads = shape->use == USE_TRAINING ? elements * master : 0,
                         .activations = acts.bytes};
}

// Angle of position p and pair j: p base^(-j / (D / 2)) (Su et al. 2021). HALF_ROPE: the first D / 4 pairs share the
// whole range with both ends included, base^(-j / (D / 4 - 1)), and the others stand still.
static double rotation_angle(const ModelConfig *c, int64_t position, int pair) {
    int pairs = c->head_dim / 2;
    double exponent = (double)pair / pairs;
    if (c->positions == POSITIONS_HALF_ROPE) {
        if (pair >= pairs / 2) return 0;
        exponent = pairs / 2 > 1 ? (double)pair / (pairs / 2 - 1) : 0;
    }
    return (double)position * pow(c->rope_base, -exponent);
}

static void fill_rotations(Model *m, Stream *stream) {
    int pairs = m->config.head_dim / 2;
    int64_t n = rotation_elements(&m->config);
    size_t element = type_size(m->acc_type);
    char *values = malloc(2 * (size_t)n * element);
    ASSERT(values != NULL);
    for (int64_t i = 0; i < 2 * n; i++) { // cosines, then sines
        double angle = rotation_angle(&m->config, i % n / pairs, (int)(i % pairs));
        double value = i < n ? cos(angle) : sin(angle);
        float narrow = (float)value;
        memcpy(values + (size_t)i * element, m->acc_type == TYPE_F64 ? (void *)&value : (void *)&narrow, element);
    }
    device_copy(stream, m->cos, values, (size_t)n * element);
    device_copy(stream, m->sin, values + (size_t)n * element, (size_t)n * element);
    stream_synchronize(stream);
    free(values);
}

static bool allocate(Model *m) {
    Device *device = m->device;
    size_t element = type_size(m->acc_type), bytes = (size_t)m->table.elements * element;
    size_t rotations = (size_t)rotation_elements(&m->config) * element;
    bool training = m->shape.use == USE_TRAINING;
    m->master = device_alloc(device, bytes);
    m->weights =
        m->type == m->acc_type ? m->master : device_alloc(device, (size_t)m->table.elements * type_size(m->type));
    m->grads = training ? device_alloc(device, bytes) : NULL;
    m->loss = device_alloc(device, sizeof *m->loss);
    m->cos = rotations ? device_alloc(device, rotations) : NULL;
    m->sin = rotations ? device_alloc(device, rotations) : NULL;
    m->arena = device_alloc(device, (size_t)m->acts.bytes);
    return m->master && m->weights && (m->grads || !training) && m->loss && m->arena &&
           (!rotations || (m->cos && m->sin));
}

bool model_create(Model *m, const ModelConfig *config, Device *device, Type type, const BatchShape *shape,
                  Error *err) {
    *m = (Model){.config = *config, .device = device, .type = type, .shape = *shape};
    if (!model_config_check(config, err)) return false;
    if (shape->T > config->context)
        return error_set(err, "seq-len %d is longer than context %d", shape->T, config->context);
    m->ops = layer_ops(device, type);
    if (m->ops == NULL) return error_set(err, "%s has no operations in %s; use f32", device->name, type_name(type));
    m->acc_type = type_accumulate(type);
    param_table_init(&m->table, config);
    activation_table_init(&m->acts, config, type, shape);
    if (!allocate(m)) {
        ModelMemory need = model_memory(config, type, shape);
        model_free(m);
        return error_set(err,
                         "not enough memory for the model: %.2f GB of weights, %.2f GB of gradients, %.2f GB of "
                         "activations; a smaller micro-batch needs less",
                         (double)need.weights * 1e-9, (double)need.grads * 1e-9, (double)need.activations * 1e-9);
    }
    if (m->cos) {
        Stream *stream = stream_create(device);
        fill_rotations(m, stream);
        stream_destroy(stream);
    }
    return true;
}

void model_free(Model *m) {
    void *const blocks[] = {
        m->master, m->weights == m->master ? NULL : m->weights, m->grads, m->loss, m->cos, m->sin, m->arena};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) device_free(m->device, blocks[i]);
    param_table_free(&m->table);
    *m = (Model){0};
}

static char *master_of(const Model *m, const Param *p) {
    return (char *)m->master + p->offset * (int64_t)type_size(m->acc_type);
}

// The weights of elements [first, first + n) become the master weights in the instance's type, where the two differ.
static void refresh_weights(Model *m, Stream *stream, int64_t first, int64_t n) {
    if (m->weights == m->master) return;
    m->ops->cast_weights(stream,
                         &(CastWeights){.weights = (char *)m->weights + first * (int64_t)type_size(m->type),
                                        .master = (char *)m->master + first * (int64_t)type_size(m->acc_type),
                                        .n = n});
}

void model_refresh_weights(Model *m, Stream *stream) {
    refresh_weights(m, stream, 0, m->table.elements);
}

void model_set_param(Model *m, Stream *stream, const Param *p, const void *values) {
    device_copy(stream, master_of(m, p), values, (size_t)param_elements(p) * type_size(m->acc_type));
    refresh_weights(m, stream, p->offset, param_elements(p));
    stream_synchronize(stream);
}

// Draws a piece of a parameter at a time: one of the whole would be twice the size of the largest.
static void init_param(Model *m, Stream *stream, const Param *p, uint64_t seed, double *values, int64_t piece) {
    int64_t element = (int64_t)type_size(m->acc_type);
    for (int64_t first = 0; first < param_elements(p); first += piece) {
        int64_t n = min_i64(param_elements(p) - first, piece);
        param_init_values(values, p, seed, first, n);
        if (m->acc_type == TYPE_F32) // in place: a float never overtakes the doubles still to be read
            for (int64_t j = 0; j < n; j++) {
                float value = (float)values[j];
                memcpy((char *)values + j * element, &value, sizeof value);
            }
        device_copy(stream, master_of(m, p) + first * element, values, (size_t)(n * element));
        stream_synchronize(stream);
    }
}

void model_init_weights(Model *m, Stream *stream, uint64_t seed) {
    enum { PIECE = 1 << 20 };
    double *values = malloc(PIECE * sizeof *values);
    ASSERT(values != NULL);
    for (int i = 0; i < m->table.n_params; i++) init_param(m, stream, &m->table.params[i], seed, values, PIECE);
    model_refresh_weights(m, stream);
    free(values);
}

// Of the head's bias, whose positions come in chunks, the last of which may be cut finer than the others.
static int64_t head_bias_scratch(const LayerOps *ops, int64_t N, int64_t rows, int columns) {
    int64_t last = N % rows, most = ops->bias_backward_scratch(min_i64(N, rows), columns);
    return last ? max_i64(most, ops->bias_backward_scratch(last, columns)) : most;
}

int64_t model_scratch(const ModelConfig *config, const Device *device, Type type, const BatchShape *shape) {
    const LayerOps *ops = layer_ops(device, type);
    if (ops == NULL || ops->bias_backward_scratch == NULL || shape->use != USE_TRAINING) return 0;
    ParamTable table;
    ActivationTable acts;
    param_table_init(&table, config);
    activation_table_init(&acts, config, type, shape);
    int64_t N = (int64_t)shape->B * shape->T, most = ops->embedding_backward_scratch(N, config->d_model);
    if (config->norm_gain || config->norm_bias)
        most = max_i64(most, ops->norm_backward_scratch(N, config->d_model));
    for (int i = 0; i < table.n_params; i++) {
        const Param *p = &table.params[i];
        if (p->role != ROLE_BIAS) continue;
        most = max_i64(most, p->kind == PARAM_HEAD_BIAS ? head_bias_scratch(ops, N, acts.logits_rows, (int)p->cols)
                                                        : ops->bias_backward_scratch(N, (int)p->cols));
    }
    param_table_free(&table);
    return most;
}

static void hook(const ModelHooks *hooks, void (*call)(void *, Stream *, int), Stream *stream, int block) {
    if (call) call(hooks->context, stream, block);
}

static const ModelHooks no_hooks = {0};

// All blocks in order; `last` is one less than the number of blocks to leave the head out.
static void forward(Pass *p, int last, const ModelHooks *hooks) {
    const BatchShape *shape = &p->model->shape;
    ASSERT((int64_t)p->batch->B * p->batch->T + p->position <= (int64_t)shape->B * shape->T);
    ASSERT(p->batch->T + p->position <= p->model->config.context);
    for (int block = 0; block <= last; block++) {
        hook(hooks, hooks->params_acquire, p->stream, block);
        nvtx_push("forward", block);
        block_forward(p, block);
        nvtx_pop();
        hook(hooks, hooks->params_release, p->stream, block);
    }
}

static Pass pass_of(Model *m, Stream *stream, const Batch *batch) {
    return (Pass){.model = m, .stream = stream, .batch = batch, .N = (int64_t)batch->B * batch->T};
}

void model_forward_backward(Model *m, Stream *stream, const Batch *batch, double scale, bool accumulate,
                            const ModelHooks *hooks) {
    ASSERT(m->shape.use == USE_TRAINING);
    if (hooks == NULL) hooks = &no_hooks;
    Pass p = pass_of(m, stream, batch);
    p.backward = true, p.scale = scale, p.accumulate = accumulate;
    int last = m->config.n_layer + 1;
    forward(&p, last, hooks);
    for (int block = last; block >= 0; block--) {
        hook(hooks, hooks->params_acquire, stream, block);
        nvtx_push("backward", block);
        block_backward(&p, block);
        nvtx_pop();
        hook(hooks, hooks->params_release, stream, block);
        hook(hooks, hooks->grads_ready, stream, block);
    }
}

void model_forward_loss(Model *m, Stream *stream, const Batch *batch, const ModelHooks *hooks) {
    Pass p = pass_of(m, stream, batch);
    forward(&p, m->config.n_layer + 1, hooks ? hooks : &no_hooks);
}

void model_read_losses(double *losses, const Model *m, Stream *stream, int64_t n) {
    ASSERT(n <= (int64_t)m->shape.B * m->shape.T);
    device_copy(stream, losses, model_activation(m, ACT_LOSSES, 0), (size_t)n * type_size(m->acc_type));
    stream_synchronize(stream);
    if (m->acc_type != TYPE_F32) return;
    for (int64_t i = n - 1; i >= 0; i--) { // in place: a double never overwrites a float still to be read
        float loss;
        memcpy(&loss, (char *)losses + (size_t)i * sizeof loss, sizeof loss);
        losses[i] = (double)loss;
    }
}

bool model_can_continue(const Model *m) {
    return m->acts.acts[ACT_QKV].layer_bytes > 0;
}

const void *model_forward_logits(Model *m, Stream *stream, const Batch *batch, int t, int position,
                                 const ModelHooks *hooks) {
    ASSERT(t >= 0 && t < batch->T);
    ASSERT(position == 0 || (batch->B == 1 && model_can_continue(m)));
    if (hooks == NULL) hooks = &no_hooks;
    Pass p = pass_of(m, stream, batch);
    p.position = position;
    int head = m->config.n_layer + 1;
    forward(&p, head - 1, hooks);
    hook(hooks, hooks->params_acquire, stream, head);
    block_final_norm(&p);
    model_logits(&p, t, 1);
    hook(hooks, hooks->params_release, stream, head);
    void *logits = model_activation(m, ACT_LOGITS, 0);
    if (m->config.softcap > 0)
        m->ops->softcap(stream, &(Softcap){.logits = logits,
                                           .kind = (SoftcapKind)m->config.softcap_kind,
                                           .cap = m->config.softcap,
                                           .n = m->config.vocab_padded});
    return logits;
}

void model_read_logits(float *logits, const Model *m, Stream *stream, int64_t n) {
    ASSERT(m->type != TYPE_F64 && n <= m->config.vocab_padded);
    device_copy(stream, logits, model_activation(m, ACT_LOGITS, 0), (size_t)n * type_size(m->type));
    stream_synchronize(stream);
    if (m->type == TYPE_F32) return;
    for (int64_t i = n - 1; i >= 0; i--) { // BF16 is the upper half of a float; in place, as above
        uint16_t half;
        memcpy(&half, (char *)logits + (size_t)i * sizeof half, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&logits[i], &bits, sizeof bits);
    }
}

void model_reset_loss(Model *m, Stream *stream) {
    device_zero(stream, m->loss, sizeof *m->loss);
}
