// dump_logits DIR TOKENS OUT: the logits (T, V) of a run's newest checkpoint or of a Hugging Face directory, in float, for
// the T tokens (int32) of one sequence. For tests that compare them with those of other programs.
#include "run/hf/pretrained.h"
#include "tests/fixed_batch.h"

#include "base/file.h"

#include <stdio.h>

static bool dump(const char *path, Model *model, Stream *stream, const int32_t *tokens, int T, Error *err) {
    FixedBatch batch = fixed_batch_create(model->device, stream, tokens, tokens, 1, T, model->config.vocab_size);
    int64_t V = model->config.vocab_size;
    float *logits = malloc((size_t)(T * V) * sizeof *logits);
    ASSERT(logits);
    for (int t = 0; t < T; t++) {
        model_forward_logits(model, stream, &batch.device, t, 0, NULL);
        model_read_logits(logits + t * V, model, stream, V);
    }
    FilePiece piece = {logits, (size_t)(T * V) * sizeof *logits};
    bool ok = file_replace(path, &piece, 1, err);
    free(logits);
    fixed_batch_free(&batch, model->device);
    return ok;
}

int main(int argc, char **argv) {
    Error err;
    NetworkInfo info;
    Network network;
    size_t size = 0;
    if (argc != 4) return 2;
    char *text = file_read_whole(&size, argv[2], 1 << 20, &err);
    int32_t *tokens = (int32_t *)(void *)text;
    int T = (int)(size / sizeof *tokens);
    ModelRun shape = {.B = 1, .T = T, .use = USE_DECODING};
    bool ok = text && network_info(&info, argv[1], &err) && load_network(&network, &info, &shape, "cpu", 1, &err);
    if (ok) {
        ok = dump(argv[3], &network.model, network.stream, tokens, T, &err);
        network_close(&network);
    }
    if (!ok) fprintf(stderr, "error: %s\n", err.text);
    free(text);
    return ok ? 0 : 1;
}
