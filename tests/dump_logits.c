// dump_logits DIR TOKENS OUT: the logits (T, V) of a run's newest checkpoint or of a Hugging Face directory, in float, for
// the T tokens (int32) of one sequence. For tests that compare them with those of other programs.
#include "run/init_from.h" // defines: network_config, network_weights
#include "tests/fixed_batch.h"

#include "data/file.h" // defines: file_read_whole

#include <stdio.h>

static bool dump(const char *path, Model *model, Stream *stream, const int32_t *tokens, int T, Error *err) {
    FixedBatch batch = fixed_batch_create(model->device, stream, tokens, tokens, 1, T, model->config.vocab_size);
    size_t row = (size_t)model->config.vocab_size * sizeof(float);
    char *logits = malloc((size_t)T * row);
    ASSERT(logits);
    for (int t = 0; t < T; t++) {
        const void *at = model_forward_logits(model, stream, &batch.device, t, 0, NULL);
        device_copy(stream, logits + (size_t)t * row, at, row);
    }
    stream_synchronize(stream);
    FilePiece piece = {logits, (size_t)T * row};
    bool ok = file_replace(path, &piece, 1, err);
    free(logits);
    fixed_batch_free(&batch, model->device);
    return ok;
}

static bool load_and_dump(const char *const *argv, const RunConfig *config, const int32_t *tokens, int T,
                          Error *err) {
    Device *device;
    Model model;
    ModelRun shape = {.B = 1, .T = T, .use = USE_DECODING};
    if (!device_open(&device, "cpu", 1, err)) return false;
    Stream *stream = stream_create(device);
    bool ok = model_create(&model, &config->model, device, TYPE_F32, &shape, err);
    if (ok) {
        ok = network_weights(&model, stream, argv[1], err) && dump(argv[3], &model, stream, tokens, T, err);
        model_free(&model);
    }
    stream_destroy(stream);
    device_close(device);
    return ok;
}

int main(int argc, char **argv) {
    Error err;
    size_t size;
    if (argc != 4) return 2;
    RunConfig *config = malloc(sizeof *config);
    char *tokens = file_read_whole(&size, argv[2], 1 << 20, &err);
    bool ok = config && tokens && network_config(config, argv[1], &err) &&
              load_and_dump((const char *const *)argv, config, (const int32_t *)(void *)tokens,
                            (int)(size / sizeof(int32_t)), &err);
    if (!ok) fprintf(stderr, "error: %s\n", err.text);
    free(tokens);
    free(config);
    return ok ? 0 : 1;
}
