#include "run/load.h"

#include "run/checkpoint.h" // defines: checkpoint_load
#include "run/config.h"     // defines: RunConfig, config_load_run

#include <stdlib.h>
#include <string.h>

bool network_info(NetworkInfo *info, const char *path, Error *err) {
    RunConfig *config = malloc(sizeof *config);
    ASSERT(config);
    bool ok = config_load_run(config, path, err);
    if (ok) {
        *info = (NetworkInfo){.model = config->model,
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

static bool load_weights(Network *n, const NetworkInfo *info, Error *err) {
    RunState state;
    bool found;
    char note[1024];
    CheckpointParts parts = {.model = &n->model, .stream = n->stream};
    if (!checkpoint_load(&state, &found, note, info->path, &parts, err)) return false;
    if (!found) return error_set(err, "%s has no checkpoint yet", info->path);
    if (note[0]) fprintf(stderr, "warning: %s\n", note);
    n->step = state.step;
    return true;
}

static bool open_vocab(Network *n, const NetworkInfo *info, Error *err) {
    n->vocab = vocab_open(info->vocab, err);
    if (!n->vocab) return error_prefix(err, "--vocab");
    if (vocab_size(n->vocab) <= info->model.vocab_size) return true;
    return error_set(err, "--vocab %s has %d tokens, but the network of %s only %d: it belongs to another one",
                     info->vocab, vocab_size(n->vocab), info->path, info->model.vocab_size);
}

bool load_network(Network *n, const NetworkInfo *info, const ModelRun *run, const char *device, int threads,
                  Error *err) {
    *n = (Network){0};
    bool ok = open_vocab(n, info, err) && device_open(&n->device, device, threads, err);
    if (ok) {
        n->stream = stream_create(n->device);
        ok = model_create(&n->model, &info->model, n->device, TYPE_F32, run, err);
        if (!ok) n->model = (Model){0};
        ok = ok && load_weights(n, info, err);
    }
    if (!ok) network_close(n);
    return ok;
}

void network_close(Network *n) {
    if (n->model.device) model_free(&n->model);
    if (n->stream) stream_destroy(n->stream);
    if (n->device) device_close(n->device);
    vocab_close(n->vocab);
    *n = (Network){0};
}
