#include "run/commands.h"

#include "run/checkpoint.h" // defines: checkpoint_load
#include "run/sample.h"     // defines: sample_text

#include <stdlib.h>
#include <string.h>

typedef struct {
    char prompt[OPTION_TEXT_MAX], vocab[OPTION_TEXT_MAX], device[OPTION_TEXT_MAX];
    int tokens, top_k, threads;
    double temperature;
    int64_t seed;
    bool help;
} SampleOptions;

#define AT(field) offsetof(SampleOptions, field)
static const OptionSpec specs[] = {
    {.name = "prompt", .kind = KIND_TEXT, .offset = AT(prompt), .def = ""},
    {.name = "tokens", .kind = KIND_INT, .offset = AT(tokens), .def = "200", .min = 1, .max = 1e6},
    {.name = "temperature", .kind = KIND_NUMBER, .offset = AT(temperature), .def = "0.8", .min = 0, .max = 100},
    {.name = "top-k", .kind = KIND_INT, .offset = AT(top_k), .def = "0", .min = 0, .max = 65536},
    {.name = "seed", .kind = KIND_INT64, .offset = AT(seed), .def = "1", .min = 0, .max = 9e18},
    {.name = "vocab", .kind = KIND_TEXT, .offset = AT(vocab), .def = ""},
    {.name = "device", .kind = KIND_TEXT, .offset = AT(device), .def = "auto"},
    {.name = "threads", .kind = KIND_INT, .offset = AT(threads), .def = "0", .min = 0, .max = 65536},
    {.name = "help", .kind = KIND_YES_NO, .offset = AT(help), .def = "no"},
};
static const OptionTable table = {specs, (int)(sizeof specs / sizeof *specs)};

static const char help[] =
    "usage: train sample RUN [options]\n"
    "\n"
    "Prints text that the newest checkpoint of a run writes.\n"
    "\n"
    "  --prompt TEXT         what it begins with\n"
    "  --tokens N            to add, default: 200\n"
    "  --temperature X       below 1 safer, above 1 wilder, 0: always the likeliest; default: 0.8\n"
    "  --top-k K             only the K likeliest tokens, default: 0, all\n"
    "  --seed N              another one gives another text, default: 1\n"
    "  --vocab NAME          instead of the run's own, for one that has moved\n"
    "  --device, --threads   as in training\n"
    "\n"
    "example: train sample runs/a --prompt \"It is a truth\"\n";

static bool sample(const char *run, const SampleOptions *o, const RunConfig *config, const Vocab *vocab,
                   Device *device, Error *err) {
    Model model;
    RunState state;
    bool found;
    char note[1024];
    Stream *stream = stream_create(device);
    ModelRun shape = {.B = 1, .T = config->model.context, .use = USE_DECODING};
    if (!model_create(&model, &config->model, device, TYPE_F32, &shape, err)) {
        stream_destroy(stream);
        return false;
    }
    CheckpointParts parts = {.model = &model, .stream = stream};
    bool ok = checkpoint_load(&state, &found, note, run, &parts, err);
    if (ok && !found) ok = error_set(err, "%s has no checkpoint yet", run);
    if (ok) {
        if (note[0]) fprintf(stderr, "warning: %s\n", note);
        SampleConfig s = {.vocab = vocab,
                          .prompt = o->prompt,
                          .tokens = o->tokens,
                          .temperature = o->temperature,
                          .top_k = o->top_k,
                          .seed = (uint64_t)o->seed};
        char *text = sample_text(&model, stream, &s, err);
        ok = text != NULL;
        if (ok) puts(text);
        free(text);
    }
    model_free(&model);
    stream_destroy(stream);
    return ok;
}

static bool open_and_sample(const char *run, const SampleOptions *o, Error *err) {
    Device *device;
    Vocab *vocab = NULL;
    RunConfig *config = malloc(sizeof *config);
    ASSERT(config);
    bool ok = config_load_run(config, run, err);
    if (ok && o->vocab[0]) strcpy(config->vocab, o->vocab);
    ok = ok && (vocab = config_open_vocab(config, err)) && device_open(&device, o->device, o->threads, err);
    if (ok) {
        ok = sample(run, o, config, vocab, device, err);
        device_close(device);
    }
    vocab_close(vocab);
    free(config);
    return ok;
}

bool command_sample(int argc, const char *const *argv, Error *err) {
    SampleOptions o = {0};
    int n_runs;
    const char **runs = malloc((size_t)(argc + 1) * sizeof *runs);
    ASSERT(runs);
    bool ok = options_from_arguments(&o, &table, runs, &n_runs, argc, argv, err);
    if (ok && o.help) fputs(help, stdout);
    else if (ok && n_runs != 1) ok = error_set(err, "give one run: train sample RUN --prompt TEXT");
    else if (ok) ok = open_and_sample(runs[0], &o, err);
    free(runs);
    return ok;
}
