#include "run/hf/pretrained.h"

#include "model/ops.h"
#include "run/checkpoint/checkpoint.h"
#include "run/hf/hf.h"
#include "base/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EVAL_SEQUENCE = 1024, EVAL_TOKENS = 4096 }; // evaluation batches of a Hugging Face directory

// A run configuration for a Hugging Face directory.
static bool describe_directory(RunConfig *config, const char *dir, Error *err) {
    options_init(config, &run_options);
    if (!hf_read_config(&config->model, dir, err)) return false;
    config->norm_bias = config->model.norm_bias ? NORM_BIAS_YES : NORM_BIAS_NO;
    config->seq_len = config->model.context < EVAL_SEQUENCE ? config->model.context : EVAL_SEQUENCE;
    config->micro_batch = EVAL_TOKENS / config->seq_len;
    return true;
}

bool pretrained_config(RunConfig *config, const char *path, Error *err) {
    char file[PATH_BYTES], run[PATH_BYTES];
    int64_t step;
    *config = (RunConfig){0};
    if (hf_is_directory(path)) return describe_directory(config, path, err);
    path_split_step(run, &step, path);
    path_join(file, run, "config.conf");
    if (access(run, F_OK) == 0 && access(file, F_OK) != 0)
        return error_set(err, "%s is neither a run (config.conf) nor a Hugging Face directory (config.json)", run);
    return config_load_run(config, run, err);
}

bool pretrained_info(PretrainedInfo *info, const char *path, Error *err) {
    RunConfig *config = malloc(sizeof *config);
    ASSERT(config);
    bool ok = pretrained_config(config, path, err);
    if (ok) {
        *info = (PretrainedInfo){.model = config->model,
                                 .dtype = (DtypeChoice)config->dtype,
                                 .val_tokens = config->val_tokens,
                                 .seq_len = config->seq_len,
                                 .micro_batch = config->micro_batch};
        snprintf(info->path, sizeof info->path, "%s", path);
        strcpy(info->vocab, config->vocab);
        strcpy(info->val_data, config->val_data);
    }
    free(config);
    return ok;
}

bool pretrained_weights(RunState *state, Model *model, Stream *stream, const char *path, Error *err) {
    bool found;
    char note[1024], run[PATH_BYTES];
    int64_t step;
    CheckpointParts parts = {.model = model, .stream = stream};
    *state = (RunState){.step = -1};
    if (hf_is_directory(path)) return hf_read_weights(model, stream, path, err);
    path_split_step(run, &step, path);
    if (!checkpoint_load(state, &found, note, run, step, &parts, err)) return false;
    if (!found) return error_set(err, "%s has no checkpoint yet", run);
    if (note[0]) fprintf(stderr, "warning: %s\n", note);
    return true;
}

static bool open_vocab(Pretrained *pretrained, const PretrainedInfo *info, Error *err) {
    pretrained->vocab = vocab_open(info->vocab, err);
    if (!pretrained->vocab) return error_prefix(err, "--vocab");
    if (vocab_size(pretrained->vocab) <= info->model.vocab_size) return true;
    return error_set(err, "--vocab %s has %d tokens, but the model of %s has only %d: it belongs to another model",
                     info->vocab, vocab_size(pretrained->vocab), info->path, info->model.vocab_size);
}

static bool check_vocab(const Vocab *vocab, const RunState *state, const PretrainedInfo *info, Error *err) {
    if (!state->vocab || vocab_is_none(vocab) || state->vocab == vocab_fingerprint(vocab)) return true;
    return error_set(err, "--vocab %s is not the vocabulary that %s was trained with: restore its file, or name it",
                     info->vocab, info->path);
}

bool pretrained_open(Pretrained *pretrained, const PretrainedInfo *info, const BatchShape *run, const char *device,
                     int threads, Error *err) {
    *pretrained = (Pretrained){0};
    bool ok = open_vocab(pretrained, info, err) && device_open(&pretrained->device, device, threads, err);
    if (ok) {
        pretrained->stream = stream_create(pretrained->device);
        // If this device does not support the run's dtype, use the device's default.
        bool supported = layer_ops(pretrained->device, config_type(info->dtype, pretrained->device)) != NULL;
        DtypeChoice dtype = supported ? info->dtype : DTYPE_AUTO;
        ok = config_check_device(&info->model, dtype, pretrained->device, err) &&
             model_create(&pretrained->model, &info->model, pretrained->device,
                          config_type(dtype, pretrained->device), run, err);
        if (!ok) pretrained->model = (Model){0};
        RunState state;
        ok = ok && pretrained_weights(&state, &pretrained->model, pretrained->stream, info->path, err) &&
             check_vocab(pretrained->vocab, &state, info, err);
        if (ok) {
            pretrained->step = state.step;
            pretrained->vocab_verified = state.vocab && !vocab_is_none(pretrained->vocab);
        }
    }
    if (!ok) pretrained_close(pretrained);
    return ok;
}

void pretrained_close(Pretrained *pretrained) {
    if (pretrained->model.device) model_free(&pretrained->model);
    if (pretrained->stream) stream_destroy(pretrained->stream);
    if (pretrained->device) device_close(pretrained->device);
    vocab_close(pretrained->vocab);
    *pretrained = (Pretrained){0};
}
