#include "run/options/config.h"

#include "base/path.h"
#include "model/ops.h"
#include "run/options/groups.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Tokens of the micro-batch for --micro-batch 0. If SMALL_TOKENS rows of the widest activation have at most
// CACHE_ELEMENTS elements, the output of an operation is still in the cache when the next one reads it.
enum { MICRO_BATCH_TOKENS = 4096, SMALL_TOKENS = 1024, CACHE_ELEMENTS = 1 << 19 };

static const OptionNames names = {.table = &run_options, .optimizers = true};

LoaderConfig config_loader(const RunConfig *c) {
    return (LoaderConfig){.batch_size = c->batch_size,
                          .micro_batch = c->micro_batch,
                          .seq_len = c->seq_len,
                          .vocab_size = c->model.vocab_size,
                          .tail = (ShardTail)c->shard_tail,
                          .align = c->align_documents,
                          .document_token = c->document_token};
}

Type config_type(DtypeChoice dtype, const Device *device) {
    if (dtype == DTYPE_AUTO) return device->kind == DEVICE_CUDA ? TYPE_BF16 : TYPE_F32;
    return dtype == DTYPE_BF16 ? TYPE_BF16 : TYPE_F32;
}

bool config_check_device(const ModelConfig *model, DtypeChoice dtype, const Device *device, Error *err) {
    const LayerOps *ops = layer_ops(device, config_type(dtype, device));
    if (!ops)
        return error_set(err, "--dtype %s is not supported by %s; use --dtype f32",
                         dtype == DTYPE_BF16 ? "bf16" : "f32", device->name);
    if (ops->max_head_dim == 0 || model->head_dim <= ops->max_head_dim) return true;
    return error_set(err,
                     "--head-dim %d exceeds the %d that %s supports; use more heads (--n-head), or --device cpu",
                     model->head_dim, ops->max_head_dim, device->name);
}

BatchShape config_batch_shape(const RunConfig *c) {
    return (BatchShape){
        .B = c->micro_batch, .T = c->seq_len, .use = USE_TRAINING, .recompute = (Recompute)c->recompute};
}

// Determines the token that begins a document, for --align-documents.
static bool derive_document_token(RunConfig *config, const Vocab *vocab, Error *err) {
    enum { GPT2_END_OF_TEXT = 50256 };
    int size = config->model.vocab_size;
    if (!config->align_documents) return true;
    if (config->shard_tail == SHARD_TAIL_DROP)
        return error_set(err, "--align-documents needs --shard-tail join: drop is the fixed order of a benchmark");
    if (config->document_token < 0 && vocab) config->document_token = vocab_end_of_text(vocab);
    if (config->document_token < 0 && size > GPT2_END_OF_TEXT) config->document_token = GPT2_END_OF_TEXT;
    if (config->document_token < 0)
        return error_set(
            err,
            "--align-documents needs to know the token that begins a document: set --document-token or --vocab");
    if (config->document_token >= size)
        return error_set(err, "--document-token %d is not in the vocabulary of %d tokens", config->document_token,
                         size);
    return true;
}

// Sets the model options that are derived from others.
static bool derive_model(RunConfig *config, const Vocab *vocab, Error *err) {
    ModelConfig *m = &config->model;
    if (m->n_kv_head == 0) m->n_kv_head = m->n_head;
    if (m->head_dim == 0) {
        if (m->d_model % m->n_head != 0)
            return error_set(err, "--d-model %d is not a multiple of --n-head %d; change one, or set --head-dim",
                             m->d_model, m->n_head);
        m->head_dim = m->d_model / m->n_head;
    }
    if (m->d_ff == 0) {
        if (m->d_model > INT32_MAX / 4) return error_set(err, "--d-model %d is too large", m->d_model);
        m->d_ff = 4 * m->d_model;
    }
    if (config->norm_bias == NORM_BIAS_AUTO)
        config->norm_bias = m->norm == NORM_LAYERNORM && m->biases == BIASES_ALL ? NORM_BIAS_YES : NORM_BIAS_NO;
    m->norm_bias = config->norm_bias == NORM_BIAS_YES;
    if (m->vocab_size == 0) {
        if (!vocab) return error_set(err, "config.conf has no vocab-size: it was not written by a run");
        m->vocab_size = vocab_is_none(vocab) ? 50257 : vocab_size(vocab);
    }
    if (m->vocab_padded == 0) {
        if (m->vocab_size > INT32_MAX - 63) return error_set(err, "--vocab-size %d is too large", m->vocab_size);
        m->vocab_padded = (m->vocab_size + 63) / 64 * 64;
    }
    if (m->context == 0) m->context = config->seq_len;
    if (config->seq_len > m->context)
        return error_set(err, "--seq-len %d is longer than --context %d", config->seq_len, m->context);
    return model_config_check(m, err);
}

// The parts whose gradients are summed in a fixed order: as many as ranks, if these divide the micro-batches of a
// step.
static bool derive_parts(RunConfig *config, int ranks, Error *err) {
    int K = config->batch_size / config->micro_batch;
    if (config->sum_parts == 0) config->sum_parts = K % ranks == 0 ? ranks : K;
    if (K % config->sum_parts != 0)
        return error_set(
            err,
            "--sum-parts %d does not divide the %d micro-batches of a step (--batch-size %d, --micro-batch %d)",
            config->sum_parts, K, config->batch_size, config->micro_batch);
    if (ranks > config->sum_parts)
        return error_set(err,
                         "%d ranks are more than the %d parts of a step (--sum-parts; it has %d micro-batches): "
                         "take fewer ranks%s",
                         ranks, config->sum_parts, K, config->resume[0] ? "" : ", or a smaller --micro-batch");
    return true;
}

static bool derive_batch(RunConfig *config, Error *err) {
    if (config_step_tokens(config) > (int64_t)1 << 40)
        return error_set(err, "--batch-size %d times --seq-len %d is too large for a step", config->batch_size,
                         config->seq_len);
    if (config->steps > INT64_MAX / config_step_tokens(config))
        return error_set(err, "--steps %" PRId64 " of %" PRId64 " tokens each are too many", config->steps,
                         config_step_tokens(config));
    int ranks = config->ranks > 1 ? config->ranks : 1, parts = config->sum_parts ? config->sum_parts : ranks;
    if (config->micro_batch == 0) {
        int b = 1, tokens = (int64_t)config->model.d_ff * SMALL_TOKENS <= CACHE_ELEMENTS ? SMALL_TOKENS
                                                                                         : MICRO_BATCH_TOKENS;
        for (int d = 1; d <= config->batch_size && (int64_t)d * config->seq_len <= tokens; d++)
            if (config->batch_size % d == 0 &&
                (config->batch_size % parts != 0 || config->batch_size / d % parts == 0))
                b = d;
        config->micro_batch = b;
        config->micro_batch_open = true;
    }
    if (config->batch_size % config->micro_batch != 0)
        return error_set(err, "--micro-batch %d does not divide --batch-size %d", config->micro_batch,
                         config->batch_size);
    return derive_parts(config, ranks, err);
}

// Paths and patterns are stored absolute, so that a run can be resumed from any directory. Data options may have
// several, separated by commas.
static bool make_absolute(char *patterns, bool several, Error *err) {
    char cwd[OPTION_TEXT_MAX], full[OPTION_TEXT_MAX];
    size_t used = 0;
    if (!patterns[0]) return true;
    if (!getcwd(cwd, sizeof cwd)) return error_set(err, "cannot read the current directory: %s", strerror(errno));
    if (access(patterns, F_OK) == 0) several = false;
    for (const char *item = patterns, *end; *item; item = *end ? end + 1 : end) {
        end = several ? strchrnul(item, ',') : item + strlen(item);
        bool absolute = *item == '/' || *item == '~';
        int n = snprintf(full + used, sizeof full - used, "%s%s%s%.*s", used ? "," : "", absolute ? "" : cwd,
                         absolute ? "" : "/", (int)(end - item), item);
        used += (size_t)n;
        if (used >= sizeof full) return error_set(err, "the path %.200s... is too long", full);
    }
    memcpy(patterns, full, used + 1);
    return true;
}

static void add_note(RunConfig *config, const char *note) {
    size_t used = strlen(config->note);
    snprintf(config->note + used, sizeof config->note - used, "%s%s", used ? "; " : "", note);
}

static bool rate_is_given(const ParamGroupOptions *options) {
    return options->given & 1; // the first option of every optimizer is lr
}

static bool has_parameters(const ModelConfig *m, ParamGroup group) {
    if (group == GROUP_HEAD) return !m->tied_head;
    return group != GROUP_VECTOR || m->norm_gain || m->norm_bias || m->biases != BIASES_NONE || m->head_bias;
}

// --lr is the rate of the hidden matrices; the other groups follow it only if they have the same optimizer.
static void note_other_rates(RunConfig *config) {
    char note[256] = "--lr is the rate of the hidden matrices only; the others have defaults:", rate[64];
    bool any = false;
    if (!rate_is_given(&config->groups[GROUP_HIDDEN])) return;
    for (int g = GROUP_HIDDEN + 1; g < GROUP_COUNT; g++) {
        const ParamGroupOptions *options = &config->groups[g];
        if (!has_parameters(&config->model, (ParamGroup)g)) continue;
        if (rate_is_given(options)) return;
        param_group_text(rate, sizeof rate, options, 0);
        size_t used = strlen(note);
        snprintf(note + used, sizeof note - used, "%s --%slr %s", any ? "," : "", group_prefix((ParamGroup)g),
                 rate);
        any = true;
    }
    if (any) add_note(config, note);
}

// Notes what is legal but probably not intended.
static void note_surprises(RunConfig *config) {
    char note[256];
    const Schedule *hidden = &config->groups[GROUP_HIDDEN].schedule;
    if (hidden->warmup >= config->steps) {
        snprintf(note, sizeof note,
                 "--warmup %" PRId64 " is not over after --steps %" PRId64 ": the learning rate stays below --lr",
                 hidden->warmup, config->steps);
        add_note(config, note);
    }
    note_other_rates(config);
}

bool config_resolve(RunConfig *config, const Vocab *vocab, Error *err) {
    if (!derive_model(config, vocab, err)) return false;
    note_surprises(config);
    return derive_document_token(config, vocab, err) && derive_batch(config, err) &&
           make_absolute(config->init_from, false, err) && make_absolute(config->train_data, true, err) &&
           make_absolute(config->val_data, true, err) && make_absolute(config->hellaswag, false, err) &&
           (vocab_name_is_builtin(config->vocab) || make_absolute(config->vocab, false, err));
}

bool config_read_files(Settings *all, const Settings *arguments, const OptionNames *known, Error *err) {
    for (int i = 0; i < arguments->count; i++)
        if (strcmp(arguments->items[i].name, "config") == 0 &&
            !settings_from_file(all, arguments->items[i].text, known, err))
            return false;
    return true;
}

static bool read_run(Settings *file, const char *dir, Error *err) {
    char path[PATH_BYTES];
    path_join(path, dir, "config.conf");
    if (access(dir, F_OK) != 0) return error_set(err, "there is no run %s", dir);
    if (access(path, F_OK) != 0)
        return error_set(err, "%s is not a run directory, or the run ended before it began: it has no config.conf",
                         dir);
    return settings_from_file(file, path, &names, err);
}

bool config_read(ConfigSources *sources, int argc, const char *const *argv, Error *err) {
    *sources = (ConfigSources){0};
    if (!settings_from_arguments(&sources->arguments, NULL, NULL, argc, argv, &names, err)) return false;
    const Setting *resume = settings_find(&sources->arguments, "resume");
    if (!resume) return config_read_files(&sources->file, &sources->arguments, &names, err);
    if (settings_find(&sources->arguments, "config"))
        return error_set(err, "--config cannot be used with --resume: the run keeps its configuration");
    char run[PATH_BYTES];
    int64_t step;
    path_split_step(run, &step, resume->text);
    return read_run(&sources->file, run, err);
}

void config_sources_free(ConfigSources *sources) {
    settings_free(&sources->file);
    settings_free(&sources->arguments);
}

bool config_add_argument(ConfigSources *sources, const char *name, const char *text, const char *origin,
                         Error *err) {
    return settings_add(&sources->arguments, &names, name, text, origin, err);
}

static bool check_tied_head(const Settings *settings, Error *err) {
    for (int i = 0; i < settings->count; i++) {
        const Setting *s = &settings->items[i];
        if (!s->option || s->group != GROUP_HEAD) continue;
        error_set(err,
                  "--%s: the head is tied to the token embedding and has its optimizer; use the embed- options, or "
                  "--no-tied-head",
                  s->name);
        return setting_error(err, s);
    }
    return true;
}

bool config_build(RunConfig *config, const ConfigSources *sources, Error *err) {
    const Settings *file = &sources->file, *arguments = &sources->arguments;
    *config = (RunConfig){0};
    options_init(config, &run_options);
    if (!settings_apply(config, file, err) || !settings_apply(config, arguments, err) ||
        !groups_resolve(config->groups, config->note, file, arguments, err))
        return false;
    char run[PATH_BYTES];
    path_split_step(run, &config->resume_step, config->resume);
    strcpy(config->resume, run); // not longer than before
    return !config->model.tied_head || (check_tied_head(file, err) && check_tied_head(arguments, err));
}

bool config_load_run(RunConfig *config, const char *dir, Error *err) {
    ConfigSources sources = {0};
    bool ok = read_run(&sources.file, dir, err) && config_build(config, &sources, err) &&
              config_resolve(config, NULL, err);
    config_sources_free(&sources);
    return ok;
}

static bool check_override(const RunConfig *run, const RunConfig *config, const Setting *s, Error *err) {
    char before[OPTION_TEXT_MAX], now[OPTION_TEXT_MAX];
    if (s->spec && s->spec->on_resume) return true;
    if (!s->spec || s->spec->not_stored)
        return error_set(err, "--%s cannot be used with --resume: the run keeps its own", s->name);
    option_text(before, sizeof before, run, s->spec);
    option_text(now, sizeof now, config, s->spec);
    if (strcmp(before, now) == 0) return true;
    return error_set(err,
                     "--%s %s cannot be changed on --resume (the run has %s): the run would no longer be "
                     "reproducible; start a new one with --config %s/config.conf",
                     s->name, now, before[0] ? before : "none", config->resume);
}

bool config_check_resume(const RunConfig *config, const ConfigSources *sources, Error *err) {
    RunConfig *run = malloc(sizeof *run);
    ASSERT(run);
    const ConfigSources file = {.file = sources->file};
    bool ok = config_build(run, &file, err) && config_resolve(run, NULL, err);
    for (int i = 0; i < sources->arguments.count && ok; i++)
        ok = check_override(run, config, &sources->arguments.items[i], err);
    free(run);
    return ok;
}

void config_print_table(FILE *out, const void *base, const OptionTable *table) {
    const char *section = "";
    char text[OPTION_TEXT_MAX];
    for (int i = 0; i < table->n_specs; i++) {
        const OptionSpec *spec = &table->specs[i];
        if (spec->not_stored) continue;
        if (strcmp(section, option_section(table, spec)) != 0)
            fprintf(out, "\n# %s\n", option_section(table, spec));
        section = option_section(table, spec);
        option_text(text, sizeof text, base, spec);
        setting_print(out, spec->name, text);
    }
}

void config_print(FILE *out, const RunConfig *config) {
    config_print_table(out, config, &run_options);
    for (int g = 0; g < GROUP_COUNT; g++) {
        if (g == GROUP_HEAD && config->model.tied_head) continue;
        fprintf(out, "\n# Optimizer: %s parameters\n", group_name((ParamGroup)g));
        group_print(out, &config->groups[g], (ParamGroup)g);
    }
}
