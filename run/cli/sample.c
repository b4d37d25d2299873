#include "run/cli/commands.h"

#include "run/hf/pretrained.h"
#include "base/progress.h"
#include "run/training/sample.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char prompt[OPTION_TEXT_MAX], vocab[OPTION_TEXT_MAX], device[OPTION_TEXT_MAX];
    int tokens, samples, top_k, threads;
    double temperature, top_p;
    int64_t seed;
    bool verbose, help;
} SampleOptions;

#define AT(field) offsetof(SampleOptions, field)
static const OptionSpec specs[] = {
    {.name = "prompt", .kind = KIND_TEXT, .offset = AT(prompt), .def = ""},
    {.name = "tokens", .kind = KIND_INT, .offset = AT(tokens), .def = "200", .min = 1, .max = 1e6},
    {.name = "samples", .kind = KIND_INT, .offset = AT(samples), .def = "1", .min = 1, .max = 1e6},
    {.name = "temperature", .kind = KIND_NUMBER, .offset = AT(temperature), .def = "0.8", .min = 0, .max = 100},
    {.name = "top-k", .kind = KIND_INT, .offset = AT(top_k), .def = "0", .min = 0, .max = 65536},
    {.name = "top-p", .kind = KIND_NUMBER, .offset = AT(top_p), .def = "1", .min = 0, .max = 1},
    {.name = "seed", .kind = KIND_INT64, .offset = AT(seed), .def = "1", .min = 0, .max = 9e18},
    {.name = "vocab", .kind = KIND_TEXT, .offset = AT(vocab), .def = ""},
    {.name = "device", .kind = KIND_TEXT, .offset = AT(device), .def = "auto"},
    {.name = "threads", .kind = KIND_INT, .offset = AT(threads), .def = "0", .min = 0, .max = 65536},
    {.name = "verbose", .kind = KIND_YES_NO, .offset = AT(verbose), .def = "no"},
    {.name = "help", .kind = KIND_YES_NO, .offset = AT(help), .def = "no"},
};
static const OptionTable table = {specs, (int)(sizeof specs / sizeof *specs)};

static const char help[] =
    "usage: train sample RUN [options]\n"
    "\n"
    "Prints text that the newest checkpoint of a run writes. RUN may be a Hugging Face directory.\n"
    "\n"
    "  --prompt TEXT         what it begins with; -: standard input, to the last byte\n"
    "  --tokens N            to add, default: 200\n"
    "  --samples N           texts, each after a line ---, default: 1\n"
    "  --temperature X       below 1 safer, above 1 wilder, 0: always the likeliest; default: 0.8\n"
    "  --top-k K             only the K likeliest tokens, default: 0, all\n"
    "  --top-p P             of those only the likeliest that together have probability P, default: 1, all\n"
    "  --seed N              another one gives another text, default: 1\n"
    "  --vocab NAME          instead of the run's own, for one that has moved\n"
    "  --verbose             the speed, on standard error\n"
    "  --device, --threads   as in training\n"
    "\n"
    "example: train sample runs/a --prompt \"It is a truth\" --top-p 0.9\n";

// All of standard input, zero-terminated behind its `size` bytes and freed by the caller. NULL with an error.
static char *read_input(size_t *size, Error *err) {
    const size_t max = 64 << 20;
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    ASSERT(out);
    char piece[4096];
    size_t n, total = 0;
    while (total <= max && (n = fread(piece, 1, sizeof piece, stdin)) > 0) {
        fwrite(piece, 1, n, out);
        total += n;
    }
    fclose(out);
    bool ok = !ferror(stdin) || error_set(err, "--prompt -: cannot read standard input");
    if (ok && total > max) ok = error_set(err, "--prompt -: standard input has more than %zu MB", max >> 20);
    if (ok) return text;
    free(text);
    return NULL;
}

static bool sample(Network *n, const SampleOptions *o, const char *prompt, size_t prompt_size, Error *err) {
    int64_t total = 0;
    double start = seconds_now();
    for (int i = 0; i < o->samples; i++) {
        SampleConfig config = {.vocab = n->vocab,
                               .prompt = prompt,
                               .prompt_size = prompt_size,
                               .tokens = o->tokens,
                               .draw = {o->temperature, o->top_k, o->top_p},
                               .seed = (uint64_t)o->seed,
                               .index = (uint64_t)i << 32};
        int64_t n_drawn;
        if (o->samples > 1) puts("---");
        if (!sample_text(&n_drawn, stdout, &n->model, n->stream, &config, err)) return false;
        putchar('\n');
        total += n_drawn;
    }
    double seconds = seconds_now() - start;
    if (o->verbose)
        fprintf(stderr, "%" PRId64 " tokens in %.2f s: %.1f tokens/s\n", total, seconds, (double)total / seconds);
    return true;
}

static bool load_and_sample(const char *path, const SampleOptions *o, Error *err) {
    NetworkInfo info;
    Network network;
    if (!network_info(&info, path, err)) return false;
    if (o->vocab[0]) strcpy(info.vocab, o->vocab);
    size_t size = strlen(o->prompt);
    char *input = strcmp(o->prompt, "-") == 0 ? read_input(&size, err) : strdup(o->prompt);
    ModelRun shape = {.B = 1, .T = info.model.context, .use = USE_DECODING};
    bool ok = input && load_network(&network, &info, &shape, o->device, o->threads, err);
    if (ok) {
        ok = sample(&network, o, input, size, err);
        network_close(&network);
    }
    free(input);
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
    else if (ok) ok = load_and_sample(runs[0], &o, err);
    free(runs);
    return ok;
}
