#include "run/training/plan.h"

#include "dist/parts.h"

#include "base/host_memory.h"
#include "base/json.h"
#include "data/loader.h"
#include "model/model.h"
#include "run/training/diagnose.h"
#include "run/training/hellaswag.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool plan_open_vocab(Datasets *data, const RunConfig *config, Error *err) {
    *data = (Datasets){.vocab = vocab_open(config->vocab, err)};
    if (!data->vocab) return error_prefix(err, "--vocab");
    int known = vocab_size(data->vocab), size = config->model.vocab_size;
    if (size == 0 || size >= known) return true;
    return error_set(err, "--vocab-size %d is too small for --vocab %s, which has %d tokens", size, config->vocab,
                     known);
}

bool plan_open_data(Datasets *data, const RunConfig *config, Error *err) {
    const DatasetPaths paths = {.vocab = config->vocab,
                                .train_data = config->train_data,
                                .val_data = config->val_data,
                                .hellaswag = config->hellaswag,
                                .val_tokens = config->val_tokens};
    int64_t positions = (int64_t)config->micro_batch * config->seq_len;
    if (!datasets_open(data, &paths, err)) return false;
    if (!config->hellaswag[0]) return true;
    return hellaswag_check(&data->hellaswag, config->hellaswag, &config->model, positions, err) ||
           error_prefix(err, "--hellaswag");
}

MemoryPlan plan_memory(const RunConfig *config, const ParamTable *table, const Device *device) {
    MemoryPlan plan = {0};
    BatchShape shape = config_batch_shape(config);
    Type type = config_type((DtypeChoice)config->dtype, device);
    ModelMemory m = model_memory(&config->model, type, &shape);
    plan.weights = m.weights;
    plan.grads = m.grads;
    plan.activations = m.activations;
    optimizer_memory(&plan.optimizer_state, &plan.optimizer_scratch, device, table, config->groups, type);
    // Those of the loader, the current one on the device, and those of the evaluation on host and device.
    plan.batches = (LOADER_SLOTS + 3) * batch_bytes(config->micro_batch, config->seq_len);
    if (config->diagnose) plan.diagnostics = diagnose_memory(table);
    int ranks = config->ranks > 1 ? config->ranks : 1;
    if (ranks > 1 || config->sum_parts > 1)
        plan.sums = part_sums_memory(config->sum_parts, ranks, 0, table->elements);
    int64_t for_passes = model_scratch(&config->model, device, type, &shape);
    int64_t for_update = optimizer_stream_scratch(device, table, config->groups, type);
    plan.workspace = device_gemm_workspace(device) + (for_passes > for_update ? for_passes : for_update);
    plan.total = plan.weights + plan.grads + plan.activations + plan.optimizer_state + plan.optimizer_scratch +
                 plan.batches + plan.diagnostics + plan.sums + plan.workspace;
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

bool plan_check(const RunConfig *config, const Datasets *data, const MemoryPlan *memory, int local_ranks,
                Error *err) {
    if (data->train.n_shards && config->shard_tail == SHARD_TAIL_DROP) {
        LoaderConfig loader = config_loader(config);
        int64_t n = loader_batch_count(&data->train, &loader);
        if (n < config->steps)
            return error_set(err,
                             "--train-data has %" PRId64
                             " batches with --shard-tail drop, too few for --steps %" PRId64
                             "; add shards, train for fewer steps, or use --shard-tail join",
                             n, config->steps);
    }
    if (memory->available && memory->total > memory->available / local_ranks) {
        char need[32], have[32], ranks[48] = "";
        if (local_ranks > 1) snprintf(ranks, sizeof ranks, "the %d ranks on this host: ", local_ranks);
        size_text(need, memory->total * local_ranks);
        size_text(have, memory->available);
        return error_set(err,
                         "%sthe run needs %s of memory, but only %s are available: reduce --micro-batch (now %d), "
                         "--seq-len or the model; --dry-run shows the breakdown",
                         ranks, need, have, config->micro_batch);
    }
    return true;
}

// 124439808 as "124,439,808".
static const char *format_thousands(char text[32], int64_t n) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRId64, n), out = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-') text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = 0;
    return text;
}

static const char *schedule_text(const Schedule *s, char text[96]) {
    int n = snprintf(text, 96, "%s", option_choice_name(SCHEDULE_NAMES, s->kind));
    if (s->warmup) n += snprintf(text + n, 96 - (size_t)n, ", warm-up %" PRId64, s->warmup);
    if (s->kind == SCHEDULE_WSD) n += snprintf(text + n, 96 - (size_t)n, ", cooldown %g", s->cooldown);
    if (s->kind != SCHEDULE_CONSTANT) n += snprintf(text + n, 96 - (size_t)n, ", final %g", s->final);
    if (s->decay_every)
        snprintf(text + n, 96 - (size_t)n, ", times %g every %" PRId64 " steps", s->decay_factor, s->decay_every);
    return text;
}

// The value of an option as command-line text.
typedef struct {
    char text[64];
} OptionValue;

static OptionValue option_value(const RunConfig *config, const char *option) {
    OptionValue value;
    const OptionSpec *spec = option_find(&run_options, option);
    ASSERT(spec);
    option_text(value.text, sizeof value.text, config, spec);
    return value;
}

// Prints the model options; optional features only if they are used.
static void print_choices(FILE *out, const RunConfig *config) {
    const ModelConfig *m = &config->model;
#define WORD(option) option_value(config, option).text
    fprintf(out, "            %s eps %g", WORD("norm"), m->norm_eps);
    if (!m->norm_gain) fprintf(out, " without gains");
    if (m->norm_bias) fprintf(out, " with biases");
    if (m->embed_norm) fprintf(out, ", also after the embedding");
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
            : m->biases == BIASES_QKV ? "biases in queries, keys, values"
                                      : "no biases",
            m->tied_head ? "head tied to the embedding" : "untied head", m->head_bias ? " with a bias" : "");
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

// Returns the number of elements with a role; *n_tensors: the number of tensors.
int64_t plan_role_elements(int *n_tensors, const ParamTable *table, Role role) {
    int64_t elements = 0;
    *n_tensors = 0;
    for (int i = 0; i < table->n_params; i++) {
        const Param *p = &table->params[i];
        if (p->role != role) continue;
        elements += p->valid_rows * p->cols;
        ++*n_tensors;
    }
    return elements;
}

int64_t plan_group_elements(const ParamTable *table, ParamGroup group) {
    int64_t elements = 0;
    int n;
    for (int role = ROLE_TOKEN_EMBEDDING; role <= ROLE_BIAS; role++)
        if (group_of_role((Role)role) == group) elements += plan_role_elements(&n, table, (Role)role);
    return elements;
}

static void print_model(FILE *out, const RunConfig *config, const ParamTable *table) {
    const ModelConfig *m = &config->model;
    char n[32];
    fprintf(out, "Model       %s parameters: %d layers, width %d, %d heads of %d",
            format_thousands(n, table->total), m->n_layer, m->d_model, m->n_head, m->head_dim);
    if (m->n_kv_head != m->n_head) fprintf(out, " (%d for keys and values)", m->n_kv_head);
    fprintf(out, ", MLP %d, context %d\n", m->d_ff, m->context);
    print_choices(out, config);
    for (int role = ROLE_TOKEN_EMBEDDING; role <= ROLE_BIAS; role++) {
        int count;
        int64_t elements = plan_role_elements(&count, table, (Role)role);
        if (count)
            fprintf(out, "            %-20s %4d tensors %16s\n", role_name((Role)role), count,
                    format_thousands(n, elements));
    }
}

void plan_print_options(FILE *out, const ParamGroupOptions *options) {
    char words[96], text[OPTION_TEXT_MAX];
    int column = fprintf(out, "                   "), n = optimizer_option_count(options->def);
    for (int i = 0; i < n; i++) {
        param_group_text(text, sizeof text, options, i);
        if (column > 90) column = fprintf(out, "\n                   ") - 1;
        column += fprintf(out, " %s %s%s", optimizer_option(options->def, i).name, text, i + 1 < n ? "," : "");
    }
    fprintf(out, "\n                    schedule %s\n", schedule_text(&options->schedule, words));
}

static void print_optimizers(FILE *out, const RunConfig *config, const ParamTable *table) {
    for (int g = 0; g < GROUP_COUNT; g++) {
        const ParamGroupOptions *options = &config->groups[g];
        int64_t elements = plan_group_elements(table, (ParamGroup)g);
        if (!elements) continue;
        char n[32];
        fprintf(out, "%-11s %-7s %s, %s parameters\n", g == GROUP_HIDDEN ? "Optimizer" : "",
                group_name((ParamGroup)g), options->def->name, format_thousands(n, elements));
        plan_print_options(out, options);
    }
}

void plan_memory_parts(MemoryPart parts[MEMORY_PARTS], const MemoryPlan *m) {
    const MemoryPart all[MEMORY_PARTS] = {{"weights", "weights", m->weights, false},
                                          {"gradients", "gradients", m->grads, false},
                                          {"activations", "activations", m->activations, false},
                                          {"optimizer state", "optimizer_state", m->optimizer_state, false},
                                          {"optimizer scratch", "optimizer_scratch", m->optimizer_scratch, false},
                                          {"batches", "batches", m->batches, false},
                                          {"sums", "sums over parts and ranks", m->sums, true},
                                          {"diagnostics", "diagnostics", m->diagnostics, true},
                                          {"workspace", "workspace", m->workspace, true}};
    memcpy(parts, all, sizeof all);
}

static void print_memory(FILE *out, const MemoryPlan *m) {
    MemoryPart parts[MEMORY_PARTS];
    plan_memory_parts(parts, m);
    char text[32];
    size_text(text, m->total);
    fprintf(out, "Memory      %s", text);
    size_text(text, m->available);
    if (m->available) fprintf(out, " of %s available", text);
    fprintf(out, ":");
    for (int i = 0; i < MEMORY_PARTS; i++) {
        if (parts[i].optional && parts[i].bytes == 0) continue;
        size_text(text, parts[i].bytes);
        fprintf(out, "%s%s %s", i == 0 ? " " : i == 3 ? ",\n            " : ", ", parts[i].name, text);
    }
    fprintf(out, "\n");
    if (m->checkpoint_copy == 0) return;
    char have[32];
    size_text(text, m->checkpoint_copy);
    size_text(have, m->host_available);
    if (plan_copies_checkpoints(m))
        fprintf(out, "            host: %s for a copy, so that checkpoints are written while training continues\n",
                text);
    else
        fprintf(out,
                "            host: only %s available, too little for a copy of %s: training waits while "
                "checkpoints are "
                "written\n",
                have, text);
}

static void print_data(FILE *out, const RunConfig *config, const Datasets *data) {
    char n[32];
    int64_t tokens = config->steps * config_step_tokens(config);
    if (data->train.n_shards)
        fprintf(out, "Data        %s tokens in %d shard%s: %.3g epochs\n",
                format_thousands(n, data->train.total_tokens), data->train.n_shards,
                data->train.n_shards == 1 ? "" : "s", (double)tokens / (double)data->train.total_tokens);
    else fprintf(out, "Data        no training data (--train-data)\n");
    if (config->align_documents)
        fprintf(out,
                "            each sequence begins at a document (token %d); skipped tokens make epochs shorter\n",
                config->document_token);
    if (data->val.n_shards) {
        fprintf(out, "            validation on %s tokens", format_thousands(n, data->val_tokens));
        if (data->val_tokens < config->val_tokens)
            fprintf(out, ": all of it, fewer than the %s of --val-tokens", format_thousands(n, config->val_tokens));
        fprintf(out, "\n");
    } else {
        fprintf(out, "            no validation (--val-data)\n");
    }
    if (data->hellaswag.n_examples)
        fprintf(out, "            HellaSwag, %s examples\n", format_thousands(n, data->hellaswag.n_examples));
}

double plan_step_flops(const RunConfig *config) {
    return model_flops_per_token(&config->model, config->seq_len) * (double)config_step_tokens(config);
}

static void print_ranks(FILE *out, const RunConfig *config) {
    if (config->ranks <= 1 && config->sum_parts == 1) return;
    fprintf(out,
            "Ranks       %d, every one with all weights; gradients are summed in %d parts: the same bits for any "
            "number\n"
            "            of ranks up to %d with as many threads each; memory below is of one rank\n",
            config->ranks, config->sum_parts, config->sum_parts);
}

// On a CPU: how bf16 matrices are multiplied, or by how much that would be faster.
static void print_bf16(FILE *out, const RunPlan *plan) {
    const Device *device = plan->device;
    if (device->kind != DEVICE_CPU || device->bf16 == NULL) return;
    if (config_type((DtypeChoice)plan->config->dtype, device) == TYPE_BF16)
        fprintf(out, "            bf16 GEMMs by our kernels for %s\n", device->bf16);
    else
        fprintf(out, "            with --dtype bf16 GEMMs are up to %.1f times as fast (%s)\n",
                device_peak_flops(device, TYPE_BF16) / device_peak_flops(device, TYPE_F32), device->bf16);
}

void plan_print(FILE *out, const RunPlan *plan) {
    const RunConfig *config = plan->config;
    char n[32], tokens[32], device[768];
    int64_t G = config_step_tokens(config);
    print_model(out, config, plan->table);
    print_optimizers(out, config, plan->table);
    fprintf(out, "Training    %s steps of %s tokens", format_thousands(n, config->steps),
            format_thousands(tokens, G));
    fprintf(out, ": %s tokens, %.3g per parameter\n", format_thousands(n, config->steps * G),
            (double)config->steps * (double)G / (double)plan->table->total);
    double flops = plan_step_flops(config);
    fprintf(out,
            "            per step: %d sequences of %d tokens, in micro-batches of %d, %.4g FLOPs; whole run: %.4g "
            "FLOPs\n",
            config->batch_size, config->seq_len, config->micro_batch, flops, flops * (double)config->steps);
    if (config->diagnose)
        fprintf(out, "            diagnostics of the matrices every %s steps\n",
                format_thousands(n, config->diagnose));
    print_data(out, config, plan->data);
    print_ranks(out, config);
    print_memory(out, plan->memory);
    if (config->note[0]) fprintf(out, "Note        %s\n", config->note);
    device_describe(device, sizeof device, plan->device);
    fprintf(out, "Device      %s\n", device);
    print_bf16(out, plan);
}
