#include "run/cli/commands.h"

#include "base/output.h"
#include "base/progress.h"
#include "run/hf/pretrained.h"
#include "run/options/help_texts.h"
#include "run/options/settings.h"
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

#define OPTIONS_OF SampleOptions
static const OptionSpec specs[] = {
    OPTION_TEXT("prompt", prompt, "", .help = "prompt; -: read it from standard input"),
    OPTION_INT("tokens", tokens, "200", 1, 1e6, .help = "number of tokens to generate"),
    OPTION_INT("samples", samples, "1", 1, 1e6, .help = "number of texts, each after a line ---"),
    OPTION_NUMBER("temperature", temperature, "0.8", 0, 100,
                  .help = "temperature of the softmax; 0: always the most likely token"),
    OPTION_INT("top-k", top_k, "0", 0, INT_MAX, .help = "sample only from the K most likely tokens; 0: from all"),
    OPTION_NUMBER("top-p", top_p, "1", 0, 1,
                  .help = "sample only from the most likely tokens with this total probability; 1: from all"),
    OPTION_INT64("seed", seed, "1", 0, OPTION_INT64_MAX, .help = "seed of the random numbers"),
    OPTION_TEXT("vocab", vocab, "", .value = "NAME", .help = HELP_VOCAB_OF_RUN),
    OPTION_TEXT("device", device, "auto", .value = "NAME", .help = HELP_DEVICE),
    OPTION_INT("threads", threads, "0", 0, 65536, .help = HELP_THREADS),
    OPTION_FLAG("verbose", verbose, "no", .help = "print the speed to standard error"),
    OPTION_FLAG("help", help, "no", .help = HELP_HELP),
};
static const OptionTable table = OPTION_TABLE(specs);

static const char usage[] =
    "usage: train sample RUN [options]\n"
    "\n"
    "Generates text from the newest checkpoint of a run. RUN may be a Hugging Face directory.\n";
static const char example[] = "example: train sample runs/a --prompt \"It is a truth\" --top-p 0.9\n";

// Reads all of standard input; zero-terminated after `size` bytes, freed by the caller. Returns NULL on errors.
static char *read_input(size_t *size, Error *err) {
    const size_t max = 64 << 20;
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    ASSERT(out);
    char buffer[4096];
    size_t n, total = 0;
    while (total <= max && (n = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
        fwrite(buffer, 1, n, out);
        total += n;
    }
    fclose(out);
    bool ok = !ferror(stdin) || error_set(err, "--prompt -: cannot read standard input");
    if (ok && total > max) ok = error_set(err, "--prompt -: standard input has more than %zu MB", max >> 20);
    if (ok) return text;
    free(text);
    return NULL;
}

static bool sample(Pretrained *n, const SampleOptions *o, const char *prompt, size_t prompt_size, Error *err) {
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
        if (!output_flush(err)) return false;
        total += n_drawn;
    }
    double seconds = seconds_now() - start;
    if (o->verbose)
        fprintf(stderr, "%" PRId64 " tokens in %.2f s: %.1f tokens/s\n", total, seconds, (double)total / seconds);
    return true;
}

static bool load_and_sample(const char *path, const SampleOptions *o, Error *err) {
    PretrainedInfo info;
    Pretrained pretrained;
    if (!pretrained_info(&info, path, err)) return false;
    if (o->vocab[0]) strcpy(info.vocab, o->vocab);
    size_t size = strlen(o->prompt);
    char *input = strcmp(o->prompt, "-") == 0 ? read_input(&size, err) : strdup(o->prompt);
    BatchShape shape = {.B = 1, .T = info.model.context, .use = USE_DECODING};
    bool ok = input && pretrained_open(&pretrained, &info, &shape, o->device, o->threads, err);
    if (ok) {
        ok = sample(&pretrained, o, input, size, err);
        pretrained_close(&pretrained);
    }
    free(input);
    return ok;
}

bool command_sample(int argc, const char *const *argv, Error *err) {
    SampleOptions o = {0};
    const char *run;
    if (!options_and_run(&o, &table, &run, argc - 2, argv + 2, err)) return false;
    if (o.help) return help_print_command(usage, &table, example);
    if (!run) return error_set(err, "no run given: train sample RUN --prompt TEXT");
    return load_and_sample(run, &o, err);
}
