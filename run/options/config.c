#include "run/options/config.h"

#include "base/suggest.h"
#include "model/ops.h"
#include "run/options/groups.h"
#include "run/hf/init_from.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Tokens of the micro-batch chosen for --micro-batch 0. Where a network is so narrow that SMALL_TOKENS of its widest
// activation have CACHED elements or fewer, an operation's output is still in the cache when the next one reads it.
enum { MICRO_BATCH_TOKENS = 4096, SMALL_TOKENS = 1024, CACHED = 1 << 19 };

static bool name_is_flag(const void *context, const char *name, bool *known) {
    const OptionSpec *spec = option_find(context, name);
    Group group;
    const char *option;
    bool is_flag;
    *known = true;
    if (spec) return spec->kind == KIND_YES_NO;
    *known = group_option_split(&group, &option, name);
    return *known && any_optimizer_has(&is_flag, option) && is_flag;
}

static bool name_unknown(const void *context, const char *name, Error *err) {
    const OptionTable *table = context;
    char **group_names;
    int n_group = group_option_names(&group_names), n = 0;
    const char **all = malloc((size_t)(n_group + table->n_specs + 1) * sizeof *all);
    ASSERT(all);
    for (int i = 0; i < table->n_specs; i++) all[n++] = table->specs[i].name;
    for (int i = 0; i < n_group; i++) all[n++] = group_names[i];
    all[n++] = "help";
    const char *near = nearest_name(name, all, n);
    if (near) error_set(err, "unknown option '%s'; did you mean '%s'? (--help lists all)", name, near);
    else error_set(err, "unknown option '%s'; --help lists all", name);
    free(all);
    free(group_names[0]);
    free(group_names);
    return false;
}

OptionNames config_names(const OptionTable *table) {
    return (OptionNames){table, name_is_flag, name_unknown};
}

bool config_apply(void *base, const OptionTable *table, const Settings *settings, bool from_file, Error *err) {
    for (int i = 0; i < settings->count; i++) {
        const Setting *s = &settings->items[i];
        bool known;
        name_is_flag(table, s->name, &known);
        if (!known) {
            name_unknown(table, s->name, err);
            return setting_error(err, s);
        }
        const OptionSpec *spec = option_find(table, s->name);
        if (!spec) continue; // an optimizer's
        if (from_file && spec->not_stored) {
            error_set(err, "'%s' belongs on the command line, not into a file", s->name);
            return setting_error(err, s);
        }
        if (!option_set(base, spec, s->text, err)) return setting_error(err, s);
    }
    return true;
}

LoaderConfig config_loader(const RunConfig *c) {
    return (LoaderConfig){.batch_size = c->batch_size,
                          .micro_batch = c->micro_batch,
                          .seq_len = c->seq_len,
                          .vocab_size = c->model.vocab_size,
                          .tail = (ShardTail)c->shard_tail,
                          .align = c->align_documents,
                          .document_token = c->document_token};
}

Vocab *config_open_vocab(const RunConfig *config, Error *err) {
    Vocab *vocab = vocab_open(config->vocab, err);
    int known = vocab ? vocab_size(vocab) : 0, size = config->model.vocab_size;
    if (!vocab) {
        error_prefix(err, "--vocab");
    } else if (size && size < known) {
        error_set(err, "--vocab-size %d is too small for --vocab %s, which has %d tokens", size, config->vocab,
                  known);
        vocab_close(vocab);
        vocab = NULL;
    }
    return vocab;
}

Type config_type(DtypeChoice dtype, const Device *device) {
    if (dtype == DTYPE_AUTO) return device->kind == DEVICE_CUDA ? TYPE_BF16 : TYPE_F32;
    return dtype == DTYPE_BF16 ? TYPE_BF16 : TYPE_F32;
}

bool config_check_device(const ModelConfig *model, DtypeChoice dtype, const Device *device, Error *err) {
    const LayerOps *ops = layer_ops(device, config_type(dtype, device));
    if (!ops)
        return error_set(err, "--dtype %s: %s has no operations in it; use --dtype f32",
                         dtype == DTYPE_BF16 ? "bf16" : "f32", device->name);
    if (ops->max_head_dim == 0 || model->head_dim <= ops->max_head_dim) return true;
    return error_set(err,
                     "heads of %d are too wide for %s, which takes up to %d; use more of them (--n-head, "
                     "--head-dim), or --device cpu",
                     model->head_dim, device->name, ops->max_head_dim);
}

ModelRun config_model_run(const RunConfig *c) {
    return (ModelRun){
        .B = c->micro_batch, .T = c->seq_len, .use = USE_TRAINING, .recompute = (Recompute)c->recompute};
}

// The token that begins a document, for --align-documents.
static bool derive_document_token(RunConfig *config, Error *err) {
    enum { GPT2_END_OF_TEXT = 50256 };
    int size = config->model.vocab_size;
    if (!config->align_documents) return true;
    if (config->shard_tail == SHARD_TAIL_DROP)
        return error_set(err, "--align-documents needs --shard-tail join: drop is the fixed order of a benchmark");
    if (config->document_token < 0) {
        Vocab *vocab = config_open_vocab(config, err);
        if (!vocab) return false;
        config->document_token = vocab_end_of_text(vocab);
        vocab_close(vocab);
    }
    if (config->document_token < 0 && size > GPT2_END_OF_TEXT) config->document_token = GPT2_END_OF_TEXT;
    if (config->document_token < 0)
        return error_set(err, "--align-documents: which token begins a document? Give --document-token or --vocab");
    if (config->document_token >= size)
        return error_set(err, "--document-token %d is not one of the %d tokens there are", config->document_token,
                         size);
    return true;
}

// Fills in what follows from other options, so that the effective configuration says it.
static bool derive(RunConfig *config, Error *err) {
    ModelConfig *m = &config->model;
    if (m->n_kv_head == 0) m->n_kv_head = m->n_head;
    if (m->head_dim == 0) {
        if (m->d_model % m->n_head != 0)
            return error_set(err, "--d-model %d is not a multiple of --n-head %d; change one, or give --head-dim",
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
        Vocab *vocab = config_open_vocab(config, err);
        if (!vocab) return false;
        m->vocab_size = vocab_is_none(vocab) ? 50257 : vocab_size(vocab);
        vocab_close(vocab);
    }
    if (m->vocab_padded == 0) {
        if (m->vocab_size > INT32_MAX - 63) return error_set(err, "--vocab-size %d is too large", m->vocab_size);
        m->vocab_padded = (m->vocab_size + 63) / 64 * 64;
    }
    if (m->context == 0) m->context = config->seq_len;
    if (config->seq_len > m->context)
        return error_set(err, "--seq-len %d is longer than --context %d", config->seq_len, m->context);
    if (!model_config_check(m, err) || !derive_document_token(config, err)) return false;

    if (config_step_tokens(config) > (int64_t)1 << 40)
        return error_set(err, "--batch-size %d times --seq-len %d is too large for a step", config->batch_size,
                         config->seq_len);
    if (config->steps > INT64_MAX / config_step_tokens(config))
        return error_set(err, "--steps %" PRId64 " of %" PRId64 " tokens each are too many", config->steps,
                         config_step_tokens(config));
    if (config->micro_batch == 0) {
        int b = 1, tokens = (int64_t)m->d_ff * SMALL_TOKENS <= CACHED ? SMALL_TOKENS : MICRO_BATCH_TOKENS;
        for (int d = 1; d <= config->batch_size && (int64_t)d * config->seq_len <= tokens; d++)
            if (config->batch_size % d == 0) b = d;
        config->micro_batch = b;
        config->micro_batch_open = true;
    }
    if (config->batch_size % config->micro_batch != 0)
        return error_set(err, "--micro-batch %d does not divide --batch-size %d", config->micro_batch,
                         config->batch_size);
    return true;
}

// Names and patterns of files are stored absolute, so that a run can be resumed from any directory.
static bool make_absolute(char *pattern, Error *err) {
    char cwd[OPTION_TEXT_MAX], full[2 * OPTION_TEXT_MAX];
    if (!pattern[0] || pattern[0] == '/') return true;
    if (!getcwd(cwd, sizeof cwd)) return error_set(err, "the current directory cannot be found; go to another one");
    int n = snprintf(full, sizeof full, "%s/%s", cwd, pattern);
    if (n >= OPTION_TEXT_MAX) return error_set(err, "the path %.200s... is too long", full);
    memcpy(pattern, full, (size_t)n + 1);
    return true;
}

// On resume only options that leave the course of the run alone may differ from the run's own.
static bool check_resume_overrides(const RunConfig *run, const RunConfig *given, const Settings *arguments,
                                   Error *err) {
    for (int i = 0; i < arguments->count; i++) {
        const char *name = arguments->items[i].name;
        const OptionSpec *spec = option_find(&run_options, name);
        if (spec && spec->on_resume) continue;
        if (spec && !spec->not_stored) {
            char before[OPTION_TEXT_MAX], now[OPTION_TEXT_MAX];
            option_text(before, sizeof before, run, spec);
            option_text(now, sizeof now, given, spec);
            if (strcmp(before, now) == 0) continue;
            return error_set(
                err,
                "--%s %s cannot be changed on --resume (the run has %s): the run would no longer be the "
                "one it was; start a new one with --config %s/config.conf",
                name, now, before[0] ? before : "none", given->resume);
        }
        return error_set(err, "--%s cannot be given with --resume: the run keeps its own", name);
    }
    return true;
}

static bool build(RunConfig *config, const Settings *file, const Settings *arguments, Error *err) {
    options_init(config, &run_options);
    const Setting *name = settings_find(arguments, "config");
    if (name) snprintf(config->config, sizeof config->config, "%s", name->text);
    if (!config_apply(config, &run_options, file, true, err) ||
        !config_apply(config, &run_options, arguments, false, err))
        return false;
    if (!derive(config, err) || !groups_resolve(config, file, arguments, err)) return false;
    return make_absolute(config->init_from, err) && make_absolute(config->train_data, err) &&
           make_absolute(config->val_data, err) && make_absolute(config->hellaswag, err) &&
           (vocab_name_is_builtin(config->vocab) || make_absolute(config->vocab, err));
}

bool config_load_run(RunConfig *config, const char *dir, Error *err) {
    char path[OPTION_TEXT_MAX + 16];
    Settings file = {0}, arguments = {0};
    snprintf(path, sizeof path, "%s/config.conf", dir);
    if (access(dir, F_OK) != 0) return error_set(err, "there is no run %s", dir);
    if (access(path, F_OK) != 0)
        return error_set(err, "%s is not a run, or ended before it began: it has no config.conf", dir);
    *config = (RunConfig){0};
    bool ok = settings_from_file(&file, path, err) && build(config, &file, &arguments, err);
    settings_free(&file);
    return ok;
}

bool config_read_files(Settings *all, const Settings *arguments, Error *err) {
    for (int i = 0; i < arguments->count; i++) {
        if (strcmp(arguments->items[i].name, "config") != 0) continue;
        Settings one = {0}; // a name may stand once in a file, but again in the next
        bool ok = settings_from_file(&one, arguments->items[i].text, err);
        for (int j = 0; j < one.count && ok; j++)
            settings_add(all, one.items[j].name, one.items[j].text, one.items[j].origin);
        settings_free(&one);
        if (!ok) return false;
    }
    return true;
}

static bool load(RunConfig *config, Settings *file, Settings *arguments, Error *err) {
    const Setting *resume = settings_find(arguments, "resume");
    if (!resume)
        return config_read_files(file, arguments, err) && init_from_options(arguments, file, err) &&
               build(config, file, arguments, err);

    if (settings_find(arguments, "config"))
        return error_set(err, "--config cannot be given with --resume: the run keeps its own");
    RunConfig *run = calloc(1, sizeof *run);
    ASSERT(run);
    char path[OPTION_TEXT_MAX + 16];
    snprintf(path, sizeof path, "%s/config.conf", resume->text);
    bool ok = config_load_run(run, resume->text, err) && settings_from_file(file, path, err) &&
              build(config, file, arguments, err) && check_resume_overrides(run, config, arguments, err);
    free(run);
    return ok;
}

bool config_load(RunConfig *config, int argc, const char *const *argv, Error *err) {
    const OptionNames names = config_names(&run_options);
    Settings file = {0}, arguments = {0};
    *config = (RunConfig){0};
    bool ok = settings_from_arguments(&arguments, NULL, NULL, argc, argv, &names, err) &&
              load(config, &file, &arguments, err);
    settings_free(&file);
    settings_free(&arguments);
    return ok;
}

void config_print_group(FILE *out, const GroupSettings *s, Group group) {
    const char *prefix = group_prefix(group);
    char name[128], text[128];
#define PRINT(option, ...)                                                                                         \
    do {                                                                                                           \
        snprintf(name, sizeof name, "%s%s", prefix, option);                                                       \
        snprintf(text, sizeof text, __VA_ARGS__);                                                                  \
        setting_print(out, name, text);                                                                            \
    } while (0)
    PRINT("optimizer", "%s", s->def->name);
    for (int i = 0; i < s->def->n_options; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, s->def->options[i].name);
        group_setting_text(text, sizeof text, s, i);
        setting_print(out, name, text);
    }
    PRINT("schedule", "%s", schedule_name(s->schedule.kind));
    PRINT("warmup", "%" PRId64, s->schedule.warmup);
    PRINT("cooldown", "%.17g", s->schedule.cooldown);
    PRINT("final-lr", "%.17g", s->schedule.final);
#undef PRINT
}

void config_print_table(FILE *out, const void *base, const OptionTable *table) {
    const char *section = "";
    char text[OPTION_TEXT_MAX];
    for (int i = 0; i < table->n_specs; i++) {
        const OptionSpec *spec = &table->specs[i];
        if (spec->not_stored) continue;
        if (strcmp(section, spec->section) != 0) fprintf(out, "\n# %s\n", spec->section);
        section = spec->section;
        option_text(text, sizeof text, base, spec);
        setting_print(out, spec->name, text);
    }
}

void config_print(FILE *out, const RunConfig *config) {
    config_print_table(out, config, &run_options);
    for (int g = 0; g < GROUP_COUNT; g++) {
        if (g == GROUP_HEAD && config->model.tied_head) continue;
        fprintf(out, "\n# Optimizer: %s parameters\n", group_name((Group)g));
        config_print_group(out, &config->groups[g], (Group)g);
    }
}
