// The training loop: steps, evaluations, samples, checkpoints and log records.
#include "run/training/trainer.h"

#include "base/nvtx.h"
#include "run/training/sample.h"
#include "base/signals.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const double LOSS_DECAY = 0.99; // decay of the moving average for --loss-jump

static const char *run_end_name(RunEnd end) {
    static const char *const names[] = {"finished", "target", "time", "signal"};
    return names[end];
}

static bool is_due(int64_t step, int64_t every) {
    return every > 0 && step % every == 0;
}

static void begin_record(JsonWriter *w, const char *kind, const Trainer *t) {
    json_begin_object(w, NULL);
    json_string(w, "kind", kind);
    json_int(w, "step", t->state.step);
    json_int(w, "tokens", t->state.step * config_step_tokens(t->config));
}

static bool end_record(JsonWriter *w, Trainer *t, Error *err) {
    json_end_object(w);
    if (trainer_is_leader(t)) return metrics_write(&t->metrics, w, err);
    json_writer_free(w);
    return true;
}

// The signal after which the run stops, 0: none. Several ranks stop after the same step: see Trainer.stop.
static int stop_signal(const Trainer *t) {
    return comm_size(t->comm) > 1 ? t->stop > 0 ? t->stop : 0 : signals_received();
}

static bool evaluate(bool *complete, Trainer *t, Error *err) {
    ValidationResult result;
    nvtx_push("evaluate", t->state.step);
    bool ok = trainer_evaluate(&result, complete, t, err);
    nvtx_pop();
    if (!ok) return false;
    if (!*complete) return true;
    t->state.val_loss = result.loss;
    JsonWriter w = {0};
    char bits[48] = "";
    begin_record(&w, "val", t);
    json_double(&w, "val_loss", result.loss);
    if (result.bytes > 0) {
        json_double(&w, "bits_per_byte", result.bits_per_byte);
        snprintf(bits, sizeof bits, "  %.4f bits per byte", result.bits_per_byte);
    }
    json_double(&w, "elapsed_s", t->state.elapsed_s);
    progress_print(&t->progress, true, "step %" PRId64 "/%" PRId64 "  validation loss %.4f%s", t->state.step,
                   t->config->steps, result.loss, bits);
    return end_record(&w, t, err);
}

static bool evaluate_hellaswag(bool *complete, Trainer *t, Error *err) {
    nvtx_push("HellaSwag", t->state.step);
    HellaswagResult result = trainer_hellaswag(complete, t);
    nvtx_pop();
    if (!*complete) return true;
    JsonWriter w = {0};
    begin_record(&w, "hellaswag", t);
    json_double(&w, "acc_norm", result.acc_norm);
    json_double(&w, "acc", result.acc);
    json_int(&w, "examples", result.examples);
    json_double(&w, "elapsed_s", t->state.elapsed_s);
    progress_print(&t->progress, true, "step %" PRId64 "/%" PRId64 "  HellaSwag accuracy %.4f", t->state.step,
                   t->config->steps, result.acc_norm);
    return end_record(&w, t, err);
}

static int never(void) {
    return 0;
}

static bool sample(bool *complete, Trainer *t, Error *err) {
    const RunConfig *c = t->config;
    SampleConfig s = {.vocab = t->data->vocab,
                      .prompt = c->sample_prompt,
                      .prompt_size = strlen(c->sample_prompt),
                      .tokens = c->sample_tokens,
                      .draw = {.temperature = 1, .top_p = 1},
                      .seed = (uint64_t)c->seed,
                      .index = (uint64_t)t->state.step << 32,
                      .stop = comm_size(t->comm) > 1 ? never : signals_received};
    char *text = NULL;
    size_t size;
    int64_t n_drawn;
    FILE *out = open_memstream(&text, &size);
    ASSERT(out);
    bool ok = sample_text(&n_drawn, out, &t->model, t->stream, &s, err);
    fclose(out);
    *complete = !s.stop();
    if (ok && *complete) {
        JsonWriter w = {0};
        begin_record(&w, "sample", t);
        json_string(&w, "text", text);
        progress_print(&t->progress, false, "--- sample at step %" PRId64 "\n%s\n---", t->state.step, text);
        ok = end_record(&w, t, err);
    }
    free(text);
    return ok;
}

// Runs the evaluations and the sample that are due; postpones them if a signal was received.
static bool run_due_evaluations(Trainer *t, Error *err) {
    int64_t step = t->state.step;
    bool last = step == t->config->steps, complete = true;
    if (t->state.reported || stop_signal(t)) return true;
    if (t->data->val.n_shards && (step == 0 || last || is_due(step, t->config->eval_every)))
        if (!evaluate(&complete, t, err)) return false;
    if (complete && t->data->hellaswag.n_examples && step > 0 && (last || is_due(step, t->config->hellaswag_every)))
        if (!evaluate_hellaswag(&complete, t, err)) return false;
    if (complete && step > 0 && is_due(step, t->config->sample_every) && trainer_is_leader(t))
        if (!sample(&complete, t, err)) return false;
    t->state.reported = complete;
    return true;
}

static bool save_step(Trainer *t, Error *err) {
    CheckpointParts parts = trainer_parts(t);
    t->state.applied = optimizer_applied(t->optimizer, t->stream);
    if (!metrics_sync(&t->metrics, err)) return false;
    if (t->diagnose && !diagnose_sync(t->diagnose, err)) return false;
    if (!(t->writer ? checkpoint_writer_begin(t->writer, t->run, &t->state, err)
                    : checkpoint_save(t->run, &parts, &t->state, t->config->keep, err)))
        return false;
    t->saved_step = t->state.step;
    return true;
}

// All weights and states are on all ranks: rank 0 writes them.
static bool save(Trainer *t, Error *err) {
    if (t->saved_step == t->state.step || !trainer_is_leader(t)) return true;
    nvtx_push("checkpoint", t->state.step);
    bool ok = save_step(t, err);
    nvtx_pop();
    return ok;
}

// Peak resident memory of this process in bytes.
static int64_t peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}

static bool record_step(Trainer *t, const StepResult *r, Error *err) {
    const RunState *s = &t->state;
    double ms = r->data_ms + r->forward_backward_ms + r->optimizer_ms;
    double tokens_per_s = 1e3 * (double)config_step_tokens(t->config) / ms;
    double flops = tokens_per_s * model_flops_per_token(&t->config->model, t->config->seq_len);
    bool logged = is_due(s->step, t->config->log_every) || s->step == 1 || s->step == t->config->steps;
    StepLine line = {.step = s->step,
                     .steps = t->config->steps,
                     .skipped = s->skipped,
                     .loss = r->report.loss,
                     .grad_norm = r->report.grad_norm,
                     .lr = scheduled_lr(&t->config->groups[GROUP_HIDDEN], s->step - 1, t->config->steps),
                     .tokens_per_s = tokens_per_s,
                     .mfu = t->peak_flops > 0 ? flops / t->peak_flops : 0,
                     .logged = logged};
    progress_step(&t->progress, &line);
    if (!logged) return true;
    JsonWriter w = {0};
    begin_record(&w, "train", t);
    json_double(&w, "loss", r->report.loss);
    json_begin_object(&w, "lr");
    for (int g = 0; g < GROUP_COUNT; g++)
        if (g != GROUP_HEAD || !t->config->model.tied_head)
            json_double(&w, group_name((ParamGroup)g),
                        scheduled_lr(&t->config->groups[g], s->step - 1, t->config->steps));
    json_end_object(&w);
    json_double(&w, "grad_norm", r->report.grad_norm);
    json_double(&w, "clip_scale", r->report.clip_scale);
    json_double(&w, "step_ms", ms);
    json_double(&w, "tokens_per_s", tokens_per_s);
    json_double(&w, "flops_per_s", flops);
    json_double(&w, "mfu", line.mfu);
    json_int(&w, "memory_bytes", peak_memory());
    if (device_peak_memory(t->device)) json_int(&w, "device_memory_bytes", device_peak_memory(t->device));
    json_double(&w, "elapsed_s", s->elapsed_s);
    json_int(&w, "skipped", s->skipped);
    json_begin_object(&w, "ms");
    json_double(&w, "forward_backward", r->forward_backward_ms);
    json_double(&w, "optimizer", r->optimizer_ms);
    json_double(&w, "data", r->data_ms);
    json_end_object(&w);
    return end_record(&w, t, err);
}

static double loss_limit(const Trainer *t) {
    const RunState *s = &t->state;
    if (t->config->loss_jump == 0 || s->loss_weight == 0) return INFINITY;
    return s->loss_sum / s->loss_weight + t->config->loss_jump;
}

// Counts a bad step; returns false with an error if it ends the run.
static bool handle_bad_step(Trainer *t, const StepReport *report, double limit, Error *err) {
    char what[512];
    RunState *s = &t->state;
    trainer_explain_bad_step(what, sizeof what, t, report, limit);
    if (t->config->on_bad_step == BAD_STEP_STOP)
        return error_set(err,
                         "step %" PRId64
                         " is bad: %s; its update was not applied; resume with --on-bad-step skip, or "
                         "restart with a lower learning rate",
                         s->step + 1, what);
    s->skipped++;
    s->skipped_in_row++;
    progress_print(&t->progress, true, "step %" PRId64 " skipped: %s", s->step + 1, what);
    if (s->skipped_in_row < t->config->max_skips) return true;
    return error_set(err,
                     "step %" PRId64 " is bad (%s): %" PRId64
                     " bad steps in a row (--max-skips); restart with a lower learning rate",
                     s->step + 1, what, s->skipped_in_row);
}

static bool train_step(Trainer *t, Error *err) {
    StepResult r;
    RunState *s = &t->state;
    double limit = loss_limit(t);
    nvtx_push("step", s->step + 1);
    bool ok = trainer_step(&r, t, limit, err);
    nvtx_pop();
    if (!ok) return false;
    if (r.report.ok == 0) {
        if (!handle_bad_step(t, &r.report, limit, err)) return false;
    } else {
        s->skipped_in_row = 0;
        s->loss_sum = LOSS_DECAY * s->loss_sum + (1 - LOSS_DECAY) * r.report.loss;
        s->loss_weight = LOSS_DECAY * s->loss_weight + (1 - LOSS_DECAY);
    }
    s->elapsed_s += 1e-3 * (r.data_ms + r.forward_backward_ms + r.optimizer_ms);
    s->step++;
    s->data_position = loader_position(t->loader);
    s->reported = false;
    return record_step(t, &r, err);
}

// Returns true if the run ends here; *end says why.
static bool is_over(RunEnd *end, const Trainer *t) {
    const RunConfig *c = t->config;
    // A process does at least one step, so that a run that is resumed repeatedly reaches its end.
    bool timed_out = c->max_time > 0 && t->state.step > t->progress.first_step &&
                     seconds_now() - t->progress.start >= c->max_time;
    if (comm_size(t->comm) > 1) timed_out = t->stop == STOP_TIME;
    bool hit = c->target_loss > 0 && t->state.reported && t->state.val_loss <= c->target_loss;
    *end = t->state.step == c->steps && t->state.reported ? RUN_FINISHED
           : hit                                          ? RUN_TARGET
           : stop_signal(t)                               ? RUN_SIGNAL
                                                          : RUN_TIME;
    return *end != RUN_TIME || timed_out;
}

static bool run_steps(RunEnd *end, Trainer *t, Error *err) {
    for (;;) {
        if (!run_due_evaluations(t, err)) return false;
        if (is_over(end, t)) break;
        if (t->state.step > 0 && is_due(t->state.step, t->config->checkpoint_every) && !save(t, err)) return false;
        if (t->writer && !checkpoint_writer_ok(t->writer, err)) return false;
        if (!train_step(t, err)) return false;
    }
    return save(t, err);
}

bool trainer_run(RunEnd *end, Trainer *t, Error *err) {
    bool ok = run_steps(end, t, err);
    // An error of the writer takes precedence: it belongs to an earlier step.
    if (t->writer && !checkpoint_writer_wait(t->writer, err)) return false;
    if (!ok) return false;
    JsonWriter w = {0};
    begin_record(&w, "end", t);
    json_string(&w, "reason", run_end_name(*end));
    json_double(&w, "elapsed_s", t->state.elapsed_s);
    return end_record(&w, t, err) && (!trainer_is_leader(t) || metrics_sync(&t->metrics, err));
}
