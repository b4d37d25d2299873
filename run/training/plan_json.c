// The plan as JSON, for scripts.
#include "base/json.h"
#include "run/training/plan.h"

#include <stdio.h>

static void json_groups(JsonWriter *w, const RunPlan *plan) {
    char text[OPTION_TEXT_MAX];
    json_begin_array(w, "groups");
    for (int g = 0; g < GROUP_COUNT; g++) {
        const ParamGroupOptions *options = &plan->config->groups[g];
        int64_t elements = plan_group_elements(plan->table, (ParamGroup)g);
        if (!elements) continue;
        json_begin_object(w, NULL);
        json_string(w, "group", group_name((ParamGroup)g));
        json_string(w, "optimizer", options->def->name);
        json_int(w, "parameters", elements);
        json_begin_object(w, "options");
        for (int i = 0; i < optimizer_option_count(options->def); i++) {
            param_group_text(text, sizeof text, options, i);
            json_string(w, optimizer_option(options->def, i).name, text);
        }
        for (int i = 0; i < schedule_options.n_specs; i++) {
            option_text(text, sizeof text, &options->schedule, &schedule_options.specs[i]);
            json_string(w, schedule_options.specs[i].name, text);
        }
        json_end_object(w);
        json_end_object(w);
    }
    json_end_array(w);
}

static void json_parameters(JsonWriter *w, const RunPlan *plan) {
    json_begin_object(w, "parameters");
    json_int(w, "total", plan->table->total);
    for (int role = ROLE_TOKEN_EMBEDDING; role <= ROLE_BIAS; role++) {
        int count;
        int64_t elements = plan_role_elements(&count, plan->table, (Role)role);
        if (count) json_int(w, role_name((Role)role), elements);
    }
    json_end_object(w);
}

static void json_training(JsonWriter *w, const RunPlan *plan) {
    const RunConfig *c = plan->config;
    json_begin_object(w, "training");
    json_int(w, "steps", c->steps);
    json_int(w, "tokens", c->steps * config_step_tokens(c));
    json_int(w, "tokens_per_step", config_step_tokens(c));
    json_int(w, "batch_size", c->batch_size);
    json_int(w, "micro_batch", c->micro_batch);
    json_int(w, "seq_len", c->seq_len);
    json_double(w, "flops_per_step", plan_step_flops(c));
    json_double(w, "flops", plan_step_flops(c) * (double)c->steps);
    json_end_object(w);
}

static void json_data(JsonWriter *w, const RunPlan *plan) {
    const Datasets *d = plan->data;
    double tokens = (double)plan->config->steps * (double)config_step_tokens(plan->config);
    json_begin_object(w, "data");
    json_int(w, "train_tokens", d->train.total_tokens);
    json_int(w, "train_shards", d->train.n_shards);
    json_double(w, "epochs", d->train.n_shards ? tokens / (double)d->train.total_tokens : 0);
    json_int(w, "val_tokens", d->val.n_shards ? d->val_tokens : 0);
    json_int(w, "hellaswag_examples", d->hellaswag.n_examples);
    json_end_object(w);
}

static void json_memory(JsonWriter *w, const MemoryPlan *m) {
    MemoryPart parts[MEMORY_PARTS];
    plan_memory_parts(parts, m);
    json_begin_object(w, "memory");
    for (int i = 0; i < MEMORY_PARTS; i++) json_int(w, parts[i].key, parts[i].bytes);
    json_int(w, "total", m->total);
    json_int(w, "available", m->available);
    json_int(w, "checkpoint_copy", m->checkpoint_copy);
    json_int(w, "host_available", m->host_available);
    json_end_object(w);
}

void plan_print_json(FILE *out, const RunPlan *plan) {
    JsonWriter w = {0};
    char device[768];
    device_describe(device, sizeof device, plan->device);
    json_begin_object(&w, NULL);
    json_parameters(&w, plan);
    json_groups(&w, plan);
    json_training(&w, plan);
    json_data(&w, plan);
    json_memory(&w, plan->memory);
    json_string(&w, "device", device);
    json_string(&w, "note", plan->config->note);
    json_end_object(&w);
    fprintf(out, "%s\n", w.text);
    json_writer_free(&w);
}
