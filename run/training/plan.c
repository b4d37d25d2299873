#include "run/training/plan.h"

#include "base/host_memory.h"
#include "data/loader.h"
#include "model/model.h"
#include "run/training/diagnose.h"
#include "run/training/hellaswag.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool plan_open_data(Datasets *data, const RunConfig *config, Error *err) {
    Vocab *vocab = config_open_vocab(config, err);
    const DatasetPaths paths = {.train_data = config->train_data,
                                .val_data = config->val_data,
                                .hellaswag = config->hellaswag,
                                .val_tokens = config->val_tokens};
    int64_t positions = (int64_t)config->micro_batch * config->seq_len;
    *data = (Datasets){0};
    if (!vocab || !datasets_open(data, vocab, &paths, err)) return false;
    if (!config->hellaswag[0] ||
        hellaswag_check(&data->hellaswag, config->hellaswag, &config->model, positions, err))
        return true;
    datasets_close(data);
    return error_prefix(err, "--hellaswag");
}

MemoryPlan plan_memory(const RunConfig *config, const ParamTable *table, const Device *device) {
    MemoryPlan plan = {0};
    ModelRun shape = config_model_run(config);
    Type type = config_type((DtypeChoice)config->dtype, device);
    ModelMemory m = model_memory(&config->model, type, &shape);
    plan.weights = m.weights;
    plan.grads = m.grads;
    plan.activations = m.activations;
    optimizer_memory(&plan.optimizer_state, &plan.optimizer_scratch, device, table, config->groups, type);
    // The loader's, the one at work, the evaluation's on the host and on the device.
    plan.batches = (LOADER_SLOTS + 3) * batch_bytes(config->micro_batch, config->seq_len);
    if (config->diagnose) plan.diagnostics = diagnose_memory(table);
    int64_t in_passes = model_scratch(&config->model, device, type, &shape);
    int64_t in_update = optimizer_stream_scratch(device, table, config->groups, type);
    plan.workspace = device_product_workspace(device) + (in_passes > in_update ? in_passes : in_update);
    plan.total = plan.weights + plan.grads + plan.activations + plan.optimizer_state + plan.optimizer_scratch +
                 plan.batches + plan.diagnostics + plan.workspace;
    plan.available = device_memory_available(device);
    if (!device_is_host(device) && config->checkpoint_every > 0) {
        plan.checkpoint_copy = table->elements * (int64_t)type_size(type_accumulate(type)) + plan.optimizer_state;
        plan.host_available = host_memory_available();
    }
    return plan;
}

bool plan_copies_checkpoints(const MemoryPlan *plan) {
    if (plan->checkpoint_copy == 0) return false;
    return plan->host_available == 0 || plan->checkpoint_copy <= plan->host_available / 10 * 9;
}

void plan_choose_micro_batch(RunConfig *config, const ParamTable *table, const Device *device) {
    enum { GPU_TOKENS = 65536 };
    if (!config->micro_batch_open || device->kind != DEVICE_CUDA) return;
    RunConfig trial = *config;
    for (int d = config->batch_size; d > config->micro_batch; d--) {
        if (config->batch_size % d != 0 || (int64_t)d * config->seq_len > GPU_TOKENS) continue;
        trial.micro_batch = d;
        MemoryPlan plan = plan_memory(&trial, table, device);
        if (plan.total > plan.available / 10 * 9) continue;
        config->micro_batch = d;
        return;
    }
}

static void size_text(char text[32], int64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int u = 0;
    for (; x >= 1024 && u < 4; u++) x /= 1024;
    snprintf(text, 32, u ? "%.1f %s" : "%.0f %s", x, units[u]);
}

bool plan_check(const RunConfig *config, const Datasets *data, const MemoryPlan *memory, Error *err) {
    if (data->train.n_shards && config->shard_tail == SHARD_TAIL_DROP) {
        LoaderConfig loader = config_loader(config);
        int64_t n = loader_batch_count(&data->train, &loader);
        if (n < config->steps)
            return error_set(err,
                             "--train-data has %" PRId64
                             " batches with --shard-tail drop, too few for --steps %" PRId64
                             "; add shards, take fewer steps, or use --shard-tail join",
                             n, config->steps);
    }
    if (memory->available && memory->total > memory->available) {
        char need[32], have[32];
        size_text(need, memory->total);
        size_text(have, memory->available);
        return error_set(
            err,
            "the run needs %s of memory and %s are available; lower --micro-batch (now %d) or --seq-len, "
            "or choose a smaller network; --dry-run shows what takes it",
            need, have, config->micro_batch);
    }
    return true;
}

// 124439808 as "124,439,808".
static const char *commas(char text[32], int64_t n) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRId64, n), out = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-') text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = 0;
    return text;
}

static const char *duration_words(const Schedule *s, char text[96]) {
    int n = snprintf(text, 96, "%s", schedule_name(s->kind));
    if (s->warmup) n += snprintf(text + n, 96 - (size_t)n, ", warm-up %" PRId64, s->warmup);
    if (s->kind == SCHEDULE_WSD) n += snprintf(text + n, 96 - (size_t)n, ", cooldown %g", s->cooldown);
    if (s->kind != SCHEDULE_CONSTANT) n += snprintf(text + n, 96 - (size_t)n, ", final %g", s->final);
    if (s->decay_every)
        snprintf(text + n, 96 - (size_t)n, ", times %g every %" PRId64 " steps", s->decay_factor, s->decay_every);
    return text;
}

// The value of an option as the command line has it.
typedef struct {
    char text[64];
} Word;

static Word word_of(const RunConfig *config, const char *option) {
    Word word;
    const OptionSpec *spec = option_find(&run_options, option);
    ASSERT(spec);
    option_text(word.text, sizeof word.text, config, spec);
    return word;
}

// The network's choices; those that a network can do without are named where it has them.
static void print_choices(FILE *out, const RunConfig *config) {
    const ModelConfig *m = &config->model;
#define WORD(option) word_of(config, option).text
    fprintf(out, "            %s eps %g", WORD("norm"), m->norm_eps);
    if (!m->norm_gain) fprintf(out, " without gains");
    if (m->norm_bias) fprintf(out, " with biases");
    if (m->embed_norm) fprintf(out, ", also of the embedding");
    fprintf(out, "; positions %s", WORD("positions"));
    if (model_has_rope(m)) fprintf(out, " base %g", m->rope_base);
    fprintf(out, "; attention");
    if (m->attention_scale > 0) fprintf(out, " scale %g", m->attention_scale);
    else fprintf(out, " scale 1/sqrt(%d)", m->head_dim);
    if (m->qk_norm) fprintf(out, ", qk-norm");
    if (m->depth_scaled_attention) fprintf(out, ", output / sqrt(%d)", 2 * m->n_layer);
    fprintf(out, "; %s\n", WORD("activation"));

    fprintf(out, "            vocabulary %d", m->vocab_size);
    if (m->vocab_padded > m->vocab_size)
        fprintf(out, " (padded to %d, %s)", m->vocab_padded, m->mask_padding ? "masked" : "not masked");
    fprintf(out, "; %s; %s%s",
            m->biases == BIASES_ALL   ? "biases"
            : m->biases == BIASES_QKV ? "biases of queries, keys, values"
                                      : "no biases",
            m->tied_head ? "head tied to the embedding" : "head of its own", m->head_bias ? " with a bias" : "");
    if (m->softcap > 0) fprintf(out, ", soft-cap %g (%s)", m->softcap, WORD("softcap-form"));

    if (config->init_from[0]) {
        fprintf(out, "\n            initial weights from %s\n", config->init_from);
        return;
    }
    fprintf(out, "\n            initial weights %s %g", WORD("init"), m->init_std);
    if (m->embed_init_std > 0) fprintf(out, ", embeddings normal %g", m->embed_init_std);
    fprintf(out, ", residual projections %s", WORD("residual-init"));
    fprintf(out, "%s\n", m->zero_head ? ", head zero" : "");
#undef WORD
}

static void print_network(FILE *out, const RunConfig *config, const ParamTable *table) {
    const ModelConfig *m = &config->model;
    char n[32];
    fprintf(out, "Network     %s parameters: %d layers, width %d, %d heads of %d", commas(n, table->total),
            m->n_layer, m->d_model, m->n_head, m->head_dim);
    if (m->n_kv_head != m->n_head) fprintf(out, " (%d for keys and values)", m->n_kv_head);
    fprintf(out, ", MLP %d, context %d\n", m->d_ff, m->context);
    print_choices(out, config);
    for (int role = ROLE_TOKEN_EMBEDDING; role <= ROLE_BIAS; role++) {
        int64_t elements = 0;
        int count = 0;
        for (int i = 0; i < table->n_params; i++) {
            const Param *p = &table->params[i];
            if ((int)p->role != role) continue;
            elements += p->valid_rows * p->cols;
            count++;
        }
        if (count)
            fprintf(out, "            %-20s %4d tensors %16s\n", role_name((Role)role), count, commas(n, elements));
    }
}

void plan_print_settings(FILE *out, const GroupSettings *s) {
    char words[96], text[128];
    int column = fprintf(out, "                   ");
    for (int i = 0; i < s->def->n_options; i++) {
        group_setting_text(text, sizeof text, s, i);
        if (column > 90) column = fprintf(out, "\n                   ") - 1;
        column += fprintf(out, " %s %s%s", s->def->options[i].name, text, i + 1 < s->def->n_options ? "," : "");
    }
    fprintf(out, "\n                    schedule %s\n", duration_words(&s->schedule, words));
}

static void print_optimizers(FILE *out, const RunConfig *config, const ParamTable *table) {
    for (int g = 0; g < GROUP_COUNT; g++) {
        const GroupSettings *s = &config->groups[g];
        int64_t elements = 0;
        for (int i = 0; i < table->n_params; i++) {
            const Param *p = &table->params[i];
            if (group_of_role(p->role) != (Group)g) continue;
            elements += p->valid_rows * p->cols;
        }
        if (!elements) continue;
        char n[32];
        fprintf(out, "%-11s %-7s %s, %s parameters\n", g == GROUP_HIDDEN ? "Optimizer" : "", group_name((Group)g),
                s->def->name, commas(n, elements));
        plan_print_settings(out, s);
    }
}

static void print_memory(FILE *out, const MemoryPlan *m) {
    const struct {
        const char *name;
        int64_t bytes;
    } parts[8] = {{"weights", m->weights},
                  {"gradients", m->grads},
                  {"activations", m->activations},
                  {"optimizer state", m->optimizer_state},
                  {"optimizer scratch", m->optimizer_scratch},
                  {"batches", m->batches},
                  {"diagnostics", m->diagnostics}, // these two not everywhere
                  {"workspace", m->workspace}};
    char text[32];
    size_text(text, m->total);
    fprintf(out, "Memory      %s", text);
    size_text(text, m->available);
    if (m->available) fprintf(out, " of %s available", text);
    fprintf(out, ":");
    for (int i = 0; i < 8; i++) {
        if (i >= 6 && parts[i].bytes == 0) continue;
        size_text(text, parts[i].bytes);
        fprintf(out, "%s%s %s", i == 0 ? " " : i == 3 ? ",\n            " : ", ", parts[i].name, text);
    }
    fprintf(out, "\n");
    if (m->checkpoint_copy == 0) return;
    char have[32];
    size_text(text, m->checkpoint_copy);
    size_text(have, m->host_available);
    if (plan_copies_checkpoints(m))
        fprintf(out,
                "            of the host's %s for a copy that checkpoints are written from, beside the training\n",
                text);
    else
        fprintf(
            out,
            "            the host has only %s: too little for a copy of %s, so training waits while checkpoints "
            "are written\n",
            have, text);
}

static void print_data(FILE *out, const RunConfig *config, const Datasets *data) {
    char n[32];
    int64_t tokens = config->steps * config_step_tokens(config);
    if (data->train.n_shards)
        fprintf(out, "Data        %s tokens in %d shard%s: %.3g epochs\n", commas(n, data->train.total_tokens),
                data->train.n_shards, data->train.n_shards == 1 ? "" : "s",
                (double)tokens / (double)data->train.total_tokens);
    else fprintf(out, "Data        none given (--train-data)\n");
    if (config->align_documents)
        fprintf(out,
                "            each sequence begins at a document (token %d); skipped tokens make epochs shorter\n",
                config->document_token);
    if (data->val.n_shards) {
        fprintf(out, "            validation on %s tokens", commas(n, data->val_tokens));
        if (data->val_tokens < config->val_tokens)
            fprintf(out, ": the whole set, which is smaller than the %s asked for", commas(n, config->val_tokens));
        fprintf(out, "\n");
    } else {
        fprintf(out, "            no validation (--val-data)\n");
    }
    if (data->hellaswag.n_examples)
        fprintf(out, "            HellaSwag, %s examples\n", commas(n, data->hellaswag.n_examples));
}

void plan_print(FILE *out, const RunConfig *config, const ParamTable *table, const Datasets *data,
                const MemoryPlan *memory) {
    char n[32], tokens[32];
    int64_t G = config_step_tokens(config);
    print_network(out, config, table);
    print_optimizers(out, config, table);
    fprintf(out, "Training    %s steps of %s tokens", commas(n, config->steps), commas(tokens, G));
    fprintf(out, ": %s tokens, %.3g a parameter\n", commas(n, config->steps * G),
            (double)config->steps * (double)G / (double)table->total);
    double flops = model_flops_per_token(&config->model, config->seq_len) * (double)G;
    fprintf(out,
            "            a step: %d sequences of %d, in micro-batches of %d, %.4g FLOPs; the run: %.4g FLOPs\n",
            config->batch_size, config->seq_len, config->micro_batch, flops, flops * (double)config->steps);
    if (config->diagnose)
        fprintf(out, "            diagnostics of the matrices every %s steps\n", commas(n, config->diagnose));
    print_data(out, config, data);
    print_memory(out, memory);
    if (config->note[0]) fprintf(out, "Note        %s\n", config->note);
}
