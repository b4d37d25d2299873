#include "run/training/trainer.h"

#include "base/nvtx.h"
#include "base/signals.h"
#include "run/checkpoint/finite.h"
#include "run/training/gemm_peak.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IN_FLIGHT = 3 }; // copies in flight; the loader's thread fills the other slots meanwhile

static bool create_batches(Trainer *t, Error *err) {
    LoaderConfig loader = config_loader(t->config);
    int B = loader.micro_batch, T = loader.seq_len;
    void *memory = device_alloc(t->device, (size_t)batch_bytes(B, T));
    batch_layout(&t->device_batch, memory, B, T);
    t->loader_memory = device_alloc_host(t->device, (size_t)loader_memory_bytes(&loader));
    for (int i = 0; i < LOADER_SLOTS; i++) t->copied[i] = event_create(t->device);
    return (memory && t->loader_memory) || error_set(err, "out of memory for batches of %d x %d tokens", B, T);
}

bool trainer_is_leader(const Trainer *t) {
    return comm_rank(t->comm) == 0;
}

// The sums over parts; one part on one rank needs none.
static bool create_sums(Trainer *t, Error *err) {
    if (comm_size(t->comm) == 1 && t->config->sum_parts == 1) return true;
    if (!device_is_host(t->device))
        return error_set(err,
                         "--ranks and --sum-parts above 1 need --device cpu: sums over GPUs are not there yet");
    t->sums = part_sums_create(t->stream, t->comm, t->config->sum_parts, t->model.table.elements, err);
    return t->sums != NULL;
}

bool trainer_create(Trainer *t, const RunConfig *config, const Datasets *data, Device *device,
                    const ParamTable *table, Comm *comm, Error *err) {
    *t = (Trainer){
        .config = config, .data = data, .device = device, .comm = comm, .saved_step = -1, .metrics = {.fd = -1}};
    t->state.val_loss = NAN;
    t->stream = stream_create(device);
    BatchShape shape = config_batch_shape(config);
    Type type = config_type((DtypeChoice)config->dtype, device);
    for (size_t i = 0; i < sizeof t->phases / sizeof *t->phases; i++) t->phases[i] = event_create(device);
    // First, so that its memory is free again before the run allocates.
    if (config->measure_peak) {
        t->product_flops = peak_product_rate(device, type);
        t->peak_flops = device_peak_flops(device, type);
        t->peak_is_of_products = t->peak_flops == 0;
        if (t->peak_is_of_products) t->peak_flops = t->product_flops;
        t->peak_flops *= comm_size(comm);
    }
    if (!model_create(&t->model, &config->model, device, type, &shape, err)) {
        t->model = (Model){0};
        trainer_free(t);
        return false;
    }
    t->optimizer = optimizer_create(device, type, table, config->groups, err);
    bool ok = t->optimizer && forward_create(&t->forward, &t->model, t->stream, err);
    t->forward.comm = comm;
    t->exchange = dist_exchange(comm);
    if (ok && comm_size(comm) > 1) optimizer_set_exchange(t->optimizer, &t->exchange);
    ok = ok && create_batches(t, err) && create_sums(t, err);
    if (ok && config->diagnose && trainer_is_leader(t)) {
        t->diagnose = diagnose_create(&t->model, t->optimizer, config->groups, config->diagnose_spectrum, err);
        ok = t->diagnose != NULL;
    }
    MemoryPlan plan = plan_memory(config, table, device);
    if (ok && !stream_reserve(t->stream, plan.workspace - device_gemm_workspace(device)))
        ok = error_set(err, "out of memory: the operations need a workspace of %.1f MiB",
                       (double)plan.workspace / 1048576);
    if (ok && plan_copies_checkpoints(&plan) && trainer_is_leader(t)) {
        CheckpointParts parts = trainer_parts(t);
        t->writer = checkpoint_writer_create(&parts, config->keep);
    }
    if (ok) {
        model_init_weights(&t->model, t->stream, (uint64_t)config->seed);
        return true;
    }
    trainer_free(t);
    return false;
}

bool trainer_start_loader(Trainer *t, Error *err) {
    LoaderConfig loader = config_loader(t->config);
    int parts = t->config->sum_parts, each = loader.batch_size / loader.micro_batch / parts;
    int rank = comm_rank(t->comm), ranks = comm_size(t->comm), begin = parts_begin(parts, ranks, rank);
    loader.first_micro = begin * each;
    loader.n_micro = (parts_begin(parts, ranks, rank + 1) - begin) * each;
    t->loader =
        loader_create(&t->data->train, &loader, t->loader_memory, t->state.step, t->state.data_position, err);
    return t->loader != NULL;
}

void trainer_free(Trainer *t) {
    if (t->loader) loader_free(t->loader);
    part_sums_free(t->sums);
    if (t->writer) checkpoint_writer_free(t->writer);
    if (t->diagnose) diagnose_free(t->diagnose);
    if (t->optimizer) optimizer_free(t->optimizer);
    for (int i = 0; i < 2; i++)
        if (t->passes[i]) graph_free(t->passes[i]);
    if (t->update) graph_free(t->update);
    for (int i = 0; i < LOADER_SLOTS; i++)
        if (t->copied[i]) event_destroy(t->copied[i]);
    if (t->loader_memory) device_free_host(t->device, t->loader_memory);
    if (t->device_batch.tokens) device_free(t->device, t->device_batch.tokens);
    for (size_t i = 0; i < sizeof t->phases / sizeof *t->phases; i++)
        if (t->phases[i]) event_destroy(t->phases[i]);
    forward_free(&t->forward);
    if (t->model.device) model_free(&t->model);
    if (t->stream) stream_destroy(t->stream);
    metrics_close(&t->metrics);
    *t = (Trainer){.metrics = {.fd = -1}};
}

CheckpointParts trainer_parts(Trainer *t) {
    return (CheckpointParts){.model = &t->model, .optimizer = t->optimizer, .stream = t->stream, .data = t->data};
}

// Records the diagnostics of the step that follows the state.
static bool diagnose_step(Trainer *t, Error *err) {
    double lr[GROUP_COUNT];
    int64_t step = t->state.step + 1;
    for (int g = 0; g < GROUP_COUNT; g++) lr[g] = scheduled_lr(&t->config->groups[g], step - 1, t->config->steps);
    return diagnose_after(t->diagnose, t->stream, lr, step, step * config_step_tokens(t->config), err);
}

// Copies the next micro-batch to the device and adds the time waited for data to *data_s. A loader slot is refilled
// only after its copy has ended; the host waits if the device is IN_FLIGHT copies behind.
static bool upload_next(Trainer *t, double *data_s, Error *err) {
    Batch host;
    if (t->uploads >= IN_FLIGHT) {
        event_synchronize(t->copied[(t->uploads - IN_FLIGHT) % LOADER_SLOTS]);
        loader_release(t->loader);
    }
    double before = seconds_now();
    if (!loader_next(&host, t->loader, err)) return false;
    *data_s += seconds_now() - before;
    device_copy(t->stream, t->device_batch.tokens, host.tokens, (size_t)batch_bytes(host.B, host.T));
    event_record(t->copied[t->uploads++ % LOADER_SLOTS], t->stream);
    return true;
}

// Arguments of the forward and backward pass of one micro-batch.
typedef struct {
    double scale;
    bool accumulate;
} Passes;

static void issue_passes(Trainer *t, const void *what) {
    const Passes *p = what;
    model_forward_backward(&t->model, t->stream, &t->device_batch, p->scale, p->accumulate, NULL);
}

static void issue_update(Trainer *t, const void *what) {
    (void)what;
    optimizer_update(t->optimizer, t->stream, t->model.master, t->model.weights, t->model.grads, t->model.loss);
}

// Work that is the same in every step: launched directly in the first, captured in the second, and then launched as
// a graph.
static void repeat(Trainer *t, Graph **recording, void (*issue)(Trainer *, const void *), const void *what) {
    if (!t->warm || !device_can_capture(t->device)) {
        issue(t, what);
        return;
    }
    if (*recording == NULL) {
        graph_capture_begin(t->stream);
        issue(t, what);
        *recording = graph_capture_end(t->stream);
    }
    graph_launch(*recording, t->stream);
}

// Forward and backward passes of this rank's parts of the step, and the sums of all parts of all ranks.
static bool compute_gradient(Trainer *t, double scale, double *data_s, Error *err) {
    const RunConfig *c = t->config;
    int parts = c->sum_parts, each = c->batch_size / c->micro_batch / parts, rank = comm_rank(t->comm),
        ranks = comm_size(t->comm);
    for (int part = parts_begin(parts, ranks, rank); part < parts_begin(parts, ranks, rank + 1); part++) {
        model_reset_loss(&t->model, t->stream);
        for (int i = 0; i < each; i++) {
            if (!upload_next(t, data_s, err)) return false;
            Passes passes = {.scale = scale, .accumulate = i > 0};
            nvtx_push("passes", i);
            repeat(t, &t->passes[passes.accumulate], issue_passes, &passes);
            nvtx_pop();
        }
        if (t->sums) part_sums_add(t->sums, t->model.grads, t->model.loss);
    }
    if (!t->sums) return true;
    // Signals and the end of --max-time travel along, so that all ranks stop after the same step.
    bool timed_out = c->max_time > 0 && seconds_now() - t->progress.start >= c->max_time;
    int64_t own = signals_received() ? signals_received() : timed_out && rank == 0 ? STOP_TIME : 0;
    int64_t *all = calloc((size_t)ranks, sizeof *all);
    ASSERT(all);
    bool ok = part_sums_finish(t->sums, t->model.grads, t->model.loss, own, all, err);
    for (int r = 0; r < ranks && ranks > 1 && t->stop == 0; r++) t->stop = (int)all[r];
    free(all);
    return ok;
}

bool trainer_step(StepResult *result, Trainer *t, double loss_limit, Error *err) {
    const RunConfig *c = t->config;
    double scale = 1.0 / (double)config_step_tokens(c), data_s = 0;
    event_record(t->phases[0], t->stream);
    if (!compute_gradient(t, scale, &data_s, err)) return false;
    event_record(t->phases[1], t->stream);
    bool diagnose = t->diagnose && (t->state.step + 1) % c->diagnose == 0;
    if (diagnose) diagnose_before(t->diagnose, t->stream);
    event_record(t->phases[2], t->stream);
    nvtx_push("optimizer", t->state.step + 1);
    optimizer_begin(t->optimizer, t->stream, t->state.step, c->steps, c->clip, scale, loss_limit);
    if (optimizer_needs_host_sync(t->optimizer)) issue_update(t, NULL);
    else repeat(t, &t->update, issue_update, NULL);
    nvtx_pop();
    event_record(t->phases[3], t->stream);
    t->warm = true;
    result->report = optimizer_report(t->optimizer, t->stream);
    result->data_ms = 1e3 * data_s;
    result->forward_backward_ms = fmax(0, event_elapsed_ms(t->phases[0], t->phases[1]) - result->data_ms);
    result->optimizer_ms = event_elapsed_ms(t->phases[2], t->phases[3]);
    return !diagnose || result->report.ok == 0 || diagnose_step(t, err);
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

// The cause comes before what it causes: a bad number in the state makes the weights bad with the next update, one in
// a weight every gradient.
static bool find_bad_number(Trainer *t, Error *found) {
    CheckpointParts parts = trainer_parts(t);
    return !checkpoint_is_finite(&parts, found) || !finite_gradients(&t->model, t->stream, found);
}

void trainer_explain_bad_step(char *text, size_t size, Trainer *t, const StepReport *report, double loss_limit) {
    Error found;
    int n = snprintf(text, size, "loss %g, gradient norm %g", report->loss, report->grad_norm);
    if (find_bad_number(t, &found)) snprintf(text + n, size - (size_t)n, "; %s", found.text);
    else if (isfinite(report->loss) && report->loss > loss_limit)
        snprintf(text + n, size - (size_t)n,
                 "; the loss is above the limit of %g, its running mean plus --loss-jump", loss_limit);
    else if (isfinite(report->grad_norm))
        snprintf(text + n, size - (size_t)n, "; squares of a gradient above %g overflow", MAX_APPLIED_NORM);
}
