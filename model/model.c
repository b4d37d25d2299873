#include "model/model.h"

#include "model/blocks.h" // defines: Pass, block_forward, block_backward

#include <stdlib.h>
#include <string.h>

ModelMemory model_memory(const ModelConfig *config, Type type, int B, int T, bool training) {
    ParamTable table;
    ActivationTable acts;
    param_table_init(&table, config);
    activation_table_init(&acts, config, type, B, T, training);
    int64_t elements = table.elements, master = (int64_t)type_size(type_accumulate(type));
    param_table_free(&table);
    int64_t copy = type == type_accumulate(type) ? 0 : elements * (int64_t)type_size(type);
    return (ModelMemory){
        .weights = elements * master + copy, .grads = training ? elements * master : 0, .activations = acts.bytes};
}

bool model_create(Model *m, const ModelConfig *config, Device *device, Type type, int B, int T, bool training,
                  Error *err) {
    *m = (Model){.config = *config, .device = device, .type = type, .B = B, .T = T, .training = training};
    if (!model_config_check(config, err)) return false;
    if (T > config->context) return error_set(err, "seq-len %d is longer than context %d", T, config->context);
    m->ops = layer_ops(device, type);
    if (m->ops == NULL) return error_set(err, "%s has no operations in %s; use f32", device->name, type_name(type));
    m->acc_type = type_accumulate(type);
    param_table_init(&m->table, config);
    activation_table_init(&m->acts, config, type, B, T, training);
    size_t bytes = (size_t)m->table.elements * type_size(m->acc_type);
    m->master = device_alloc(device, bytes);
    m->weights =
        type == m->acc_type ? m->master : device_alloc(device, (size_t)m->table.elements * type_size(type));
    m->grads = training ? device_alloc(device, bytes) : NULL;
    m->loss = device_alloc(device, sizeof *m->loss);
    m->arena = device_alloc(device, (size_t)m->acts.bytes);
    if (m->master && m->weights && (m->grads || !training) && m->loss && m->arena) return true;
    ModelMemory need = model_memory(config, type, B, T, training);
    model_free(m);
    return error_set(err,
                     "not enough memory for the model: %.2f GB of weights, %.2f GB of gradients, %.2f GB of "
                     "activations; a smaller micro-batch needs less",
                     (double)need.weights * 1e-9, (double)need.grads * 1e-9, (double)need.activations * 1e-9);
}

void model_free(Model *m) {
    void *const blocks[] = {m->master, m->weights == m->master ? NULL : m->weights, m->grads, m->loss, m->arena};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) device_free(m->device, blocks[i]);
    param_table_free(&m->table);
    *m = (Model){0};
}

static char *master_of(const Model *m, const Param *p) {
    return (char *)m->master + p->offset * (int64_t)type_size(m->acc_type);
}

void model_set_param(Model *m, Stream *stream, const Param *p, const void *values) {
    ASSERT(m->type == m->acc_type); // an instance with a copy of the weights in another type refreshes it here
    device_copy(stream, master_of(m, p), values, (size_t)param_elements(p) * type_size(m->acc_type));
    stream_synchronize(stream);
}

void model_get_param(void *values, const Model *m, Stream *stream, const Param *p) {
    device_copy(stream, values, master_of(m, p), (size_t)param_elements(p) * type_size(m->acc_type));
    stream_synchronize(stream);
}

// Draws a piece of a parameter at a time: one of the whole would be twice the size of the largest.
static void init_param(Model *m, Stream *stream, const Param *p, uint64_t seed, double *values, int64_t piece) {
    int64_t element = (int64_t)type_size(m->acc_type);
    for (int64_t first = 0; first < param_elements(p); first += piece) {
        int64_t n = param_elements(p) - first < piece ? param_elements(p) - first : piece;
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
    ASSERT(m->type == m->acc_type); // as in model_set_param
    double *values = malloc(PIECE * sizeof *values);
    ASSERT(values != NULL);
    for (int i = 0; i < m->table.n_params; i++) init_param(m, stream, &m->table.params[i], seed, values, PIECE);
    free(values);
}

static void hook(const ModelHooks *hooks, void (*call)(void *, Stream *, int), Stream *stream, int block) {
    if (call) call(hooks->context, stream, block);
}

static const ModelHooks no_hooks = {0};

// All blocks in order; `last` is one less than the number of blocks to leave the head out.
static void forward(Pass *p, int last, const ModelHooks *hooks) {
    ASSERT((int64_t)p->batch->B * p->batch->T <= (int64_t)p->model->B * p->model->T);
    ASSERT(p->batch->T <= p->model->config.context);
    for (int block = 0; block <= last; block++) {
        hook(hooks, hooks->params_acquire, p->stream, block);
        block_forward(p, block);
        hook(hooks, hooks->params_release, p->stream, block);
    }
}

static Pass pass_of(Model *m, Stream *stream, const Batch *batch) {
    return (Pass){.model = m, .stream = stream, .batch = batch, .N = (int64_t)batch->B * batch->T};
}

void model_forward_backward(Model *m, Stream *stream, const Batch *batch, double scale, bool accumulate,
                            const ModelHooks *hooks) {
    ASSERT(m->training);
    if (hooks == NULL) hooks = &no_hooks;
    Pass p = pass_of(m, stream, batch);
    p.backward = true, p.scale = scale, p.accumulate = accumulate;
    int last = m->config.n_layer + 1;
    forward(&p, last, hooks);
    for (int block = last; block >= 0; block--) {
        hook(hooks, hooks->params_acquire, stream, block);
        block_backward(&p, block);
        hook(hooks, hooks->params_release, stream, block);
        hook(hooks, hooks->grads_ready, stream, block);
    }
}

void model_forward_loss(Model *m, Stream *stream, const Batch *batch, const ModelHooks *hooks) {
    Pass p = pass_of(m, stream, batch);
    forward(&p, m->config.n_layer + 1, hooks ? hooks : &no_hooks);
}

const void *model_forward_logits(Model *m, Stream *stream, const Batch *batch, int t, const ModelHooks *hooks) {
    ASSERT(t >= 0 && t < batch->T);
    if (hooks == NULL) hooks = &no_hooks;
    Pass p = pass_of(m, stream, batch);
    int head = m->config.n_layer + 1;
    forward(&p, head - 1, hooks);
    hook(hooks, hooks->params_acquire, stream, head);
    block_final_norm(&p);
    model_logits(&p, t, 1);
    hook(hooks, hooks->params_release, stream, head);
    return model_activation(m, ACT_LOGITS, 0);
}

void model_reset_loss(Model *m, Stream *stream) {
    device_zero(stream, m->loss, sizeof *m->loss);
}

double model_read_loss(Model *m, Stream *stream) {
    double loss;
    device_copy(stream, &loss, m->loss, sizeof loss);
    stream_synchronize(stream);
    return loss;
}
