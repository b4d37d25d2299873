#include "run/cli/commands.h"

#include "run/checkpoint/directory.h"
#include "run/hf/init_from.h"
#include "base/output.h"
#include "base/crc32c.h"
#include "base/path.h"
#include "run/cli/local_ranks.h"
#include "run/training/run_dir.h"
#include "base/signals.h"
#include "run/training/trainer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// One invocation of `train`.
typedef struct {
    RunConfig config;
    Datasets data;
    ParamTable table;
    MemoryPlan memory;
    Device *device;
    Launch launch;
    Comm *comm; // NULL until the ranks have met
    RunDir dir;
    int64_t run_steps; // --resume: of the run, which --steps may change
    Trainer trainer;
    FILE *log;
    char *plan; // as printed
} Job;

static bool is_resume(const Job *s) {
    return s->config.resume[0] != 0;
}

static const char *run_of(const Job *s) {
    return is_resume(s) ? s->config.resume : s->config.out;
}

// The number of ranks: of a launcher, else of --ranks or, on resume, of the run.
static bool find_ranks(Job *s, bool asked, Error *err) {
    RunConfig *c = &s->config;
    if (!launch_detect(&s->launch, c->rendezvous, err)) return false;
    if (s->launch.launcher && asked && c->ranks > 0 && c->ranks != s->launch.size)
        return error_set(err, "--ranks %d, but %s has started %d; leave --ranks out", c->ranks, s->launch.launcher,
                         s->launch.size);
    if (s->launch.launcher || c->ranks == 0) c->ranks = s->launch.size;
    return true;
}

// Starts the ranks if no launcher has, and lets them meet. All but rank 0 print nothing but errors.
static bool meet_ranks(Job *s, Error *err) {
    const RunConfig *c = &s->config;
    if (s->launch.launcher == NULL && c->ranks > 1 && !local_ranks_start(&s->launch, c->ranks, err)) return false;
    if (s->launch.rank > 0 && !freopen("/dev/null", "w", stdout))
        return error_set(err, "cannot open /dev/null: %s", strerror(errno));
    s->comm = comm_open(&s->launch, c->rendezvous_timeout, err);
    return s->comm != NULL;
}

// Builds the configuration from arguments, files and the model of --init-from; opens the vocabulary.
static bool configure(Job *s, int argc, const char *const *argv, Error *err) {
    RunConfig *c = &s->config;
    ConfigSources sources;
    bool ok = config_read(&sources, argc - 1, argv + 1, err);
    bool resume = settings_find(&sources.arguments, "resume") != NULL;
    ok = ok && (resume || init_from_options(&sources, err)) && config_build(c, &sources, err) &&
         find_ranks(s, settings_find(&sources.arguments, "ranks") != NULL, err) &&
         plan_open_vocab(&s->data, c, err) && config_resolve(c, s->data.vocab, err) &&
         (!resume || config_check_resume(c, &sources, err));
    const Setting *steps = ok && resume ? settings_find(&sources.file, "steps") : NULL;
    s->run_steps = steps ? strtoll(steps->text, NULL, 10) : c->steps;
    config_sources_free(&sources);
    return ok;
}

static bool make_plan(Job *s, Error *err) {
    RunConfig *c = &s->config;
    s->device->n_ranks = c->ranks;
    param_table_init(&s->table, &c->model);
    if (!optimizer_check(s->device, &s->table, c->groups, err)) return false;
    if (c->diagnose && !device_can_solve(s->device, err)) return error_prefix(err, "--diagnose");
    if (!config_check_device(&c->model, (DtypeChoice)c->dtype, s->device, err)) return false;
    plan_choose_micro_batch(c, &s->table, s->device);
    if (!plan_open_data(&s->data, c, err)) return false;
    s->memory = plan_memory(c, &s->table, s->device);
    size_t size;
    FILE *out = open_memstream(&s->plan, &size);
    ASSERT(out);
    const RunPlan plan = {c, &s->table, &s->data, &s->memory, s->device};
    (c->json ? plan_print_json : plan_print)(out, &plan);
    fclose(out);
    return true;
}

static bool open_log(Job *s, Error *err) {
    char path[PATH_BYTES];
    path_join(path, run_of(s), "log.txt");
    s->log = fopen(path, "a");
    if (!s->log) return error_set(err, "cannot open %s: %s", path, strerror(errno));
    setvbuf(s->log, NULL, _IOLBF, BUFSIZ);
    signals_set_log(fileno(s->log));
    fputs(s->plan, s->log);
    return true;
}

// Reads the first sequence of a dataset: tokens beyond the vocabulary are an error before the run directory is
// created.
static bool check_tokens(Trainer *t, const ShardSet *set, Error *err) {
    Batch batch;
    if (set->n_shards == 0) return true;
    int64_t T = set->total_tokens - 1;
    batch_layout(&batch, t->forward.host, 1, T < t->config->seq_len ? (int)T : t->config->seq_len);
    return loader_read_at(&batch, set, 0, t->config->model.vocab_size, err);
}

// Trims the diagnostics of an earlier process even without --diagnose.
static bool open_records(Job *s, const char *run, Error *err) {
    Trainer *t = &s->trainer;
    int64_t step = t->state.step;
    bool reported = t->state.reported;
    return metrics_open(&t->metrics, run, "metrics.jsonl", step, reported, err) &&
           (t->diagnose ? diagnose_open(t->diagnose, run, step, reported, err)
                        : metrics_trim(run, "diagnostics.jsonl", step, reported, err));
}

static char *config_text(const RunConfig *config, size_t *size) {
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    ASSERT(out);
    config_print(out, config);
    fclose(out);
    return text;
}

static bool create_dir(Job *s, Error *err) {
    size_t size;
    char *text = config_text(&s->config, &size);
    bool ok = run_dir_create(&s->dir, s->config.out, s->config.overwrite, err) &&
              checkpoint_remove_all(s->dir.path, err) && run_dir_begin(&s->dir, "./train", text, size, err);
    free(text);
    return ok;
}

static bool is_leader(const Job *s) {
    return s->launch.rank == 0;
}

// What all ranks must have in common: the program, the options and the data.
static bool check_same(Job *s, Error *err) {
    size_t size;
    char *options = config_text(&s->config, &size);
    struct {
        char commit[64];
        uint32_t options;
        int64_t train_tokens, val_tokens;
        uint32_t first_shard;
    } same;
    memset(&same, 0, sizeof same);
    snprintf(same.commit, sizeof same.commit, "%s", provenance_commit());
    same.options = crc32c(0, options, size);
    same.train_tokens = s->data.train.total_tokens, same.val_tokens = s->data.val.total_tokens;
    free(options);
    return comm_same(s->comm, "the program, an option or the data", &same, sizeof same, err);
}

// Allocates everything and checks what can be checked, on this rank.
static bool prepare_new(Job *s, Error *err) {
    Trainer *t = &s->trainer;
    if (is_leader(s) && !run_dir_check_new(s->config.out, s->config.overwrite, err)) return false;
    if (!trainer_create(t, &s->config, &s->data, s->device, &s->table, s->comm, err)) return false;
    if (s->config.init_from[0] && !init_from_weights(&t->model, t->stream, &s->config, err)) return false;
    if (!trainer_start_loader(t, err)) return false; // refuses datasets that are too short
    return check_tokens(t, &s->data.train, err) && check_tokens(t, &s->data.val, err);
}

// Everything that can fail for lack of memory or data, on any rank, comes before the directory is created.
static bool begin_new(Job *s, int argc, const char *const *argv, Error *err) {
    if (!comm_all_ok(s->comm, prepare_new(s, err), err)) return false;
    if (!is_leader(s)) return true;
    if (!create_dir(s, err)) return false;
    return provenance_write(&s->dir, s->device, &s->data, argc, argv, err) && open_log(s, err) &&
           open_records(s, s->dir.path, err);
}

static bool write_resume_record(Job *s, Error *err) {
    JsonWriter w = {0};
    char text[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    json_begin_object(&w, NULL);
    json_string(&w, "kind", "resume");
    json_int(&w, "step", s->trainer.state.step);
    json_int(&w, "steps", s->config.steps);
    json_string(&w, "time", text);
    json_string(&w, "commit", provenance_commit());
    json_string(&w, "device", s->device->name);
    json_int(&w, "threads", s->device->n_threads);
    json_end_object(&w);
    return metrics_write(&s->trainer.metrics, &w, err);
}

// Later checkpoints are removed only if that was asked for, and once the one that was named has been loaded.
static bool check_later_checkpoints(const Job *s, Error *err) {
    const RunConfig *c = &s->config;
    char later[256];
    if (c->resume_step < 0)
        return !c->overwrite ||
               error_set(err, "--overwrite with --resume needs --resume %s@STEP, and removes later checkpoints",
                         c->resume);
    if (!checkpoint_readable(c->resume, err)) return false;
    checkpoint_steps_after(later, sizeof later, c->resume, c->resume_step);
    if (!later[0] || c->overwrite) return true;
    return error_set(
        err, "%s has later checkpoints, of steps %s: add --overwrite to remove them, or resume a copy of the run",
        c->resume, later);
}

// --steps may change if the steps that are done would have been the same.
static bool check_new_length(const Job *s, int64_t done, Error *err) {
    const RunConfig *c = &s->config;
    if (c->steps < done)
        return error_set(err,
                         "%s: its checkpoint is at step %" PRId64 ", after the end of the run at step %" PRId64
                         " (--steps)",
                         c->resume, done, c->steps);
    for (int g = 0; g < GROUP_COUNT && c->steps != s->run_steps; g++)
        for (int64_t t = 0; t < done && c->groups[g].def; t++) {
            double before = scheduled_lr(&c->groups[g], t, s->run_steps),
                   now = scheduled_lr(&c->groups[g], t, c->steps);
            if (before == now) continue;
            return error_set(
                err,
                "--steps %" PRId64
                ": the learning rate of the %s parameters depends on the number of steps: step %" PRId64
                " had %g and would have had %g; resume an earlier checkpoint (%s@STEP), or begin a new run with "
                "--init-from %s",
                c->steps, group_name((ParamGroup)g), t + 1, before, now, c->resume, c->resume);
        }
    return true;
}

// Rank 0: what changes in the run's directory once the checkpoint has been loaded.
static bool update_run(Job *s, Error *err) {
    const RunConfig *c = &s->config;
    if (c->resume_step >= 0 && !checkpoint_remove_after(c->resume, c->resume_step, err)) return false;
    if (c->steps == s->run_steps) return true;
    size_t size;
    char *text = config_text(c, &size);
    bool ok = run_dir_set_config(c->resume, "./train", text, size, err);
    free(text);
    return ok;
}

static bool begin_resumed(Job *s, int argc, const char *const *argv, char note[1024], Error *err) {
    Trainer *t = &s->trainer;
    const char *run = s->config.resume;
    bool found, locked = !is_leader(s) || (run_dir_lock(&s->dir, run, err) && check_later_checkpoints(s, err));
    if (locked && is_leader(s)) checkpoint_clean(run);
    if (!comm_all_ok(s->comm, locked, err)) return false; // before the others read
    if (!trainer_create(t, &s->config, &s->data, s->device, &s->table, s->comm, err)) return false;
    CheckpointParts parts = trainer_parts(t);
    if (!checkpoint_load(&t->state, &found, note, run, s->config.resume_step, &parts, err) ||
        !comm_same(s->comm, "the newest checkpoint", &t->state.step, sizeof t->state.step, err))
        return false;
    if (!check_new_length(s, t->state.step, err)) return false;
    if (found) t->saved_step = t->state.step;
    else if (s->config.init_from[0] && !init_from_weights(&t->model, t->stream, &s->config, err))
        return error_prefix(err, "%s has no checkpoint yet and starts over", run);
    if (!trainer_start_loader(t, err)) return false;
    if (!comm_all_ok(s->comm, true, err)) return false; // all have read the checkpoint
    if (!is_leader(s)) return true;
    if (!update_run(s, err)) return false;
    char environment[PATH_BYTES];
    path_join(environment, run, "environment.json");
    if (access(environment, F_OK) != 0 && !provenance_write(&s->dir, s->device, &s->data, argc, argv, err))
        return false;
    return open_log(s, err) && open_records(s, run, err) && write_resume_record(s, err);
}

static void print_end(Job *s, RunEnd end) {
    Trainer *t = &s->trainer;
    const char *run = run_of(s);
    char loss[48] = "";
    if (!isnan(t->state.val_loss)) snprintf(loss, sizeof loss, ", validation loss %.4f", t->state.val_loss);
    if (end == RUN_FINISHED)
        progress_print(&t->progress, true, "finished: %" PRId64 " steps in %.1f s of training%s; %s", t->state.step,
                       t->state.elapsed_s, loss, run);
    else if (end == RUN_TARGET)
        progress_print(&t->progress, true, "target reached: step %" PRId64 ", %.1f s of training%s; %s",
                       t->state.step, t->state.elapsed_s, loss, run);
    else
        progress_print(&t->progress, true, "stopped by %s after step %" PRId64 "; continue with --resume %s",
                       end == RUN_TIME ? "--max-time" : signals_name(t->stop > 0 ? t->stop : signals_received()),
                       t->state.step, run);
}

static bool train(int *status, Job *s, int argc, const char *const *argv, Error *err) {
    char note[1024] = "";
    Trainer *t = &s->trainer;
    RunEnd end;
    signals_install("finishing the step and writing a checkpoint");
    bool ok = is_resume(s) ? begin_resumed(s, argc, argv, note, err) : begin_new(s, argc, argv, err);
    if (!ok) return false;
    t->run = run_of(s);
    progress_begin(&t->progress, s->log, s->config.quiet, t->state.step);
    if (note[0]) progress_print(&t->progress, true, "warning: %s", note);
    if (t->product_flops > 0)
        progress_print(&t->progress, false,
                       "large GEMMs in %s run at %.3g TFLOP/s here; mfu is relative to %.3g TFLOP/s, %s",
                       type_name(t->model.type), 1e-12 * t->product_flops, 1e-12 * t->peak_flops,
                       t->peak_is_of_products          ? "that rate"
                       : s->device->kind == DEVICE_CPU ? "the peak of the cores' multiply-adds"
                                                       : "the peak of the tensor cores");
    if (plan_copies_checkpoints(&s->memory) && !t->writer)
        progress_print(
            &t->progress, true,
            "warning: not enough host memory for a copy of %.1f MiB: training waits while checkpoints are written",
            (double)s->memory.checkpoint_copy / 1048576);
    if (is_resume(s))
        progress_print(&t->progress, false,
                       t->saved_step < 0 ? "resuming: no checkpoint yet, starting over from step %" PRId64
                                         : "resuming from the checkpoint of step %" PRId64,
                       t->state.step);
    ok = trainer_run(&end, t, err);
    progress_end(&t->progress);
    if (!ok) {
        if (s->log) fprintf(s->log, "error: %s\n", err->text);
        return false;
    }
    print_end(s, end);
    *status = end == RUN_SIGNAL || end == RUN_TIME ? EXIT_STOPPED : 0;
    return true;
}

static bool check_arguments(const RunConfig *c, Error *err) {
    if (c->dry_run) return true;
    if (c->json) return error_set(err, "--json needs --dry-run: it is the format of the plan");
    if (!c->resume[0] && !c->out[0])
        return error_set(err, "no output directory given: --out DIR (or --dry-run to print only the plan)");
    if (!c->train_data[0])
        return error_set(
            err, "no training data given: --train-data 'DIR/NAME_train_*.bin' (train tokenize creates shards)");
    return true;
}

static bool run_job(int *status, Job *s, int argc, const char *const *argv, Error *err) {
    RunConfig *c = &s->config;
    if (!configure(s, argc, argv, err) || !check_arguments(c, err)) return false;
    // before the plan is printed, what costs nothing
    if (!c->dry_run &&
        !(is_resume(s) ? check_later_checkpoints(s, err) : run_dir_check_new(c->out, c->overwrite, err)))
        return false;
    if (!c->dry_run && !meet_ranks(s, err)) return false;
    int threads = c->threads ? c->threads : local_ranks_threads(&s->launch);
    if (!comm_all_ok(s->comm, device_open(&s->device, c->device, threads, err) && make_plan(s, err), err))
        return false;
    if (!c->dry_run && !check_same(s, err)) return false;
    if (!c->quiet || c->dry_run) fputs(s->plan, stdout);
    if (c->dry_run) return output_flush(err) && plan_check(c, &s->data, &s->memory, 1, err);
    fputs(c->quiet ? "" : "\n", stdout);
    fflush(stdout);
    return comm_all_ok(s->comm, plan_check(c, &s->data, &s->memory, s->launch.local_size, err), err) &&
           train(status, s, argc, argv, err);
}

bool command_train(int *status, int argc, const char *const *argv, Error *err) {
    Job *s = calloc(1, sizeof *s);
    ASSERT(s);
    s->dir.lock_fd = -1;
    s->trainer.metrics.fd = -1;
    *status = 0;
    bool ok = run_job(status, s, argc, argv, err);
    if (!ok) comm_fail(s->comm, err->text); // on other ranks than 0 it does not return
    trainer_free(&s->trainer);
    signals_set_log(-1);
    if (s->log) fclose(s->log);
    run_dir_unlock(&s->dir);
    if (ok) comm_close(s->comm);
    datasets_close(&s->data);
    param_table_free(&s->table);
    if (s->device) device_close(s->device);
    free(s->plan);
    free(s);
    return ok;
}
