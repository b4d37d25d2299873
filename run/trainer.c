#include "run/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool trainer_create(Trainer *t, const RunConfig *config, const RunData *data, Device *device,
                    const ParamTable *table, Error *err) {
    *t = (Trainer){.config = config, .data = data, .device = device, .saved_step = -1, .metrics = {.fd = -1}};
    t->state.val_loss = NAN;
    t->stream = stream_create(device);
    ModelRun shape = config_model_run(config);
    if (!model_create(&t->model, &config->model, device, TYPE_F32, &shape, err)) {
        t->model = (Model){0};
        trainer_free(t);
        return false;
    }
    t->optimizer = optimizer_create(device, TYPE_F32, table, config->groups, err);
    if (t->optimizer && forward_create(&t->forward, &t->model, t->stream, err)) {
        model_init_weights(&t->model, t->stream, (uint64_t)config->seed);
        return true;
    }
    trainer_free(t);
    return false;
}

bool trainer_start_loader(Trainer *t, Error *err) {
    LoaderConfig loader = config_loader(t->config);
    t->loader = loader_create(&t->data->train, &loader, t->state.step, t->state.data_position, err);
    return t->loader != NULL;
}

void trainer_free(Trainer *t) {
    if (t->loader) loader_free(t->loader);
    if (t->optimizer) optimizer_free(t->optimizer);
    forward_free(&t->forward);
    if (t->model.device) model_free(&t->model);
    if (t->stream) stream_destroy(t->stream);
    metrics_close(&t->metrics);
    *t = (Trainer){.metrics = {.fd = -1}};
}

CheckpointParts trainer_parts(Trainer *t) {
    return (CheckpointParts){&t->model, t->optimizer, t->stream, t->data};
}

Batch trainer_upload(Trainer *t, const Batch *host) {
    Batch batch;
    size_t n = (size_t)host->B * (size_t)host->T * sizeof(int32_t);
    batch_layout(&batch, t->forward.memory, host->B, host->T);
    batch.n_unique = host->n_unique;
    device_copy(t->stream, batch.tokens, host->tokens, n);
    device_copy(t->stream, batch.targets, host->targets, n);
    device_copy(t->stream, batch.order, host->order, n);
    device_copy(t->stream, batch.start, host->start, ((size_t)host->n_unique + 1) * sizeof(int32_t));
    device_copy(t->stream, batch.unique, host->unique, (size_t)host->n_unique * sizeof(int32_t));
    return batch;
}

bool trainer_step(StepResult *result, Trainer *t, double loss_limit, Error *err) {
    const RunConfig *c = t->config;
    double scale = 1.0 / (double)config_step_tokens(c), data_s = 0, start = seconds_now();
    model_reset_loss(&t->model, t->stream);
    for (int i = 0; i < c->batch_size / c->micro_batch; i++) {
        Batch host;
        double before = seconds_now();
        if (!loader_next(&host, t->loader, err)) return false;
        data_s += seconds_now() - before;
        Batch batch = trainer_upload(t, &host);
        model_forward_backward(&t->model, t->stream, &batch, scale, i > 0, NULL);
        stream_synchronize(t->stream); // the loader's memory is valid until the next call
    }
    double middle = seconds_now();
    optimizer_step(t->optimizer, t->stream, t->model.master, t->model.weights, t->model.grads, t->model.loss,
                   t->state.step, c->steps, c->clip, scale, loss_limit);
    result->report = optimizer_report(t->optimizer, t->stream);
    result->data_ms = 1e3 * data_s;
    result->forward_backward_ms = 1e3 * (middle - start - data_s);
    result->optimizer_ms = 1e3 * (seconds_now() - middle);
    return true;
}

bool trainer_evaluate(ValidationResult *result, bool *complete, Trainer *t, Error *err) {
    const Validation validation = {.set = &t->data->val,
                                   .tokens = t->data->val_tokens,
                                   .seq_len = t->config->seq_len,
                                   .batch = t->config->micro_batch,
                                   .vocab = t->data->vocab};
    optimizer_evaluation_weights(t->optimizer, t->stream, t->model.master, t->model.weights, true);
    bool ok = evaluate_loss(result, complete, &t->forward, &validation, NULL, err);
    optimizer_evaluation_weights(t->optimizer, t->stream, t->model.master, t->model.weights, false);
    return ok;
}

HellaswagResult trainer_hellaswag(bool *complete, Trainer *t) {
    optimizer_evaluation_weights(t->optimizer, t->stream, t->model.master, t->model.weights, true);
    HellaswagResult result = hellaswag_evaluate(complete, &t->forward, &t->data->hellaswag, NULL);
    optimizer_evaluation_weights(t->optimizer, t->stream, t->model.master, t->model.weights, false);
    return result;
}

// The name of the first parameter whose gradient is not finite; NULL if all are.
static const char *first_bad_gradient(Trainer *t) {
    const ParamTable *table = &t->model.table;
    ASSERT(t->model.acc_type == TYPE_F32);
    for (int i = 0; i < table->n_params; i++) {
        const Param *p = &table->params[i];
        size_t n = (size_t)param_elements(p);
        float *grad = malloc(n * sizeof *grad);
        ASSERT(grad);
        device_copy(t->stream, grad, (const float *)t->model.grads + p->offset, n * sizeof *grad);
        stream_synchronize(t->stream);
        bool bad = false;
        for (size_t j = 0; j < n && !bad; j++) bad = !isfinite(grad[j]);
        free(grad);
        if (bad) return p->name;
    }
    return NULL;
}

void trainer_explain_bad_step(char *text, size_t size, Trainer *t, const StepReport *report, double loss_limit) {
    const char *name = first_bad_gradient(t);
    int n = snprintf(text, size, "loss %g, gradient norm %g", report->loss, report->grad_norm);
    if (name) snprintf(text + n, size - (size_t)n, "; the gradient of %s is not finite", name);
    else if (isfinite(report->loss) && report->loss > loss_limit)
        snprintf(text + n, size - (size_t)n,
                 "; the loss is above the limit of %g, its running mean plus --loss-jump", loss_limit);
}
