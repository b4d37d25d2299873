#include "run/cli/commands.h"

#include "data/tokenizer/tokenize.h"
#include "base/progress.h"
#include "base/signals.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char vocab[OPTION_TEXT_MAX], out[OPTION_TEXT_MAX], name[OPTION_TEXT_MAX], field[OPTION_TEXT_MAX];
    int format; // TextFormat
    int64_t shard_tokens, val_tokens;
    double val_fraction;
    int threads;
    bool overwrite, help;
} TokenizeOptions;

static const char *const format_names[] = {"auto", "text", "jsonl", NULL};
_Static_assert(FORMAT_AUTO == 0 && FORMAT_TEXT == 1 && FORMAT_JSONL == 2, "order of format_names");

#define AT(field) offsetof(TokenizeOptions, field)
static const OptionSpec specs[] = {
    {.name = "vocab", .kind = KIND_TEXT, .offset = AT(vocab), .def = "bytes"},
    {.name = "out", .kind = KIND_TEXT, .offset = AT(out), .def = "."},
    {.name = "name", .kind = KIND_TEXT, .offset = AT(name), .def = "text"},
    {.name = "format", .kind = KIND_ONE_OF, .offset = AT(format), .def = "auto", .choices = format_names},
    {.name = "field", .kind = KIND_TEXT, .offset = AT(field), .def = "text"},
    {.name = "shard-tokens",
     .kind = KIND_INT64,
     .offset = AT(shard_tokens),
     .def = "100000000",
     .min = 2,
     .max = 2147483647},
    {.name = "val-fraction", .kind = KIND_NUMBER, .offset = AT(val_fraction), .def = "0.1", .min = 0, .max = 0.9},
    {.name = "val-tokens", .kind = KIND_INT64, .offset = AT(val_tokens), .def = "-1", .min = -1, .max = 2147483647},
    {.name = "threads", .kind = KIND_INT, .offset = AT(threads), .def = "0", .min = 0, .max = 1024},
    {.name = "overwrite", .kind = KIND_YES_NO, .offset = AT(overwrite), .def = "no"},
    {.name = "help", .kind = KIND_YES_NO, .offset = AT(help), .def = "no"},
};
static const OptionTable table = {specs, (int)(sizeof specs / sizeof *specs)};

static const char help[] =
    "usage: train tokenize [options] FILE...\n"
    "\n"
    "Makes token shards of texts. A FILE is a text, which is one document, or, where its name ends in .jsonl, "
    "lines\n"
    "of JSON with a document each; - is standard input. Every document is preceded by the end-of-text token. The\n"
    "validation shard is DIR/NAME_val_000000.bin, the others are DIR/NAME_train_000001.bin and on.\n"
    "\n"
    "  --vocab NAME          bytes (the default: a token is a byte, 256 begins a document), or a .tiktoken file:\n"
    "                        GPT-2's, vocab/gpt2.tiktoken, is made by scripts/get_vocab.sh\n"
    "  --out DIR             default: the current directory\n"
    "  --name NAME           beginning of the shards' names, default: text\n"
    "  --format FORMAT       text or jsonl for all FILEs, default: auto, by their names\n"
    "  --field NAME          of the JSON objects, with the text; default: text\n"
    "  --shard-tokens N      tokens of a training shard, default: 100000000; documents go on in the next\n"
    "  --val-fraction X      of every text, its end, goes to validation; default: 0.1. Instead of it, and needed\n"
    "                        for lines of JSON and standard input:\n"
    "  --val-tokens N        whole documents go to validation, the first ones, until there are N tokens\n"
    "  --threads N           default: 0, all that this process may use; the shards do not depend on it\n"
    "  --overwrite           replace shards of the same name\n"
    "\n"
    "What is not UTF-8 becomes U+FFFD with a .tiktoken file; bytes are taken as they are.\n"
    "\n"
    "examples: train tokenize --out corpus --name austen emma.txt persuasion.txt\n"
    "          zstdcat web.jsonl.zst | train tokenize --vocab vocab/gpt2.tiktoken --format jsonl \\\n"
    "              --val-tokens 10000000 --out corpus --name web -\n";

// A line that keeps itself up to date on a terminal.
static void show_progress(const TokenizeResult *r) {
    static double start, shown;
    double now = seconds_now();
    if (start == 0) start = now;
    if (now - shown < 0.2 || now == start) return;
    shown = now;
    double rate = (double)r->bytes / (now - start);
    printf("\r\033[K%.1f MB", 1e-6 * (double)r->bytes);
    if (r->total_bytes) printf(" of %.1f", 1e-6 * (double)r->total_bytes);
    printf("  %.1f M tokens  %.1f MB/s", 1e-6 * (double)(r->train_tokens + r->val_tokens), 1e-6 * rate);
    if (r->total_bytes) printf("  %.0f s left", (double)(r->total_bytes - r->bytes) / rate);
    fflush(stdout);
}

static bool tokenize(const TokenizeOptions *o, const Vocab *vocab, const char *const *files, int n_files,
                     Error *err) {
    bool terminal = isatty(STDOUT_FILENO);
    TokenizeConfig config = {.vocab = vocab,
                             .out_dir = o->out,
                             .name = o->name,
                             .files = files,
                             .n_files = n_files,
                             .format = (TextFormat)o->format,
                             .field = o->field,
                             .shard_tokens = o->shard_tokens,
                             .val_fraction = o->val_fraction,
                             .val_tokens = o->val_tokens,
                             .threads = o->threads ? o->threads : omp_get_num_procs(),
                             .overwrite = o->overwrite,
                             .progress = terminal ? show_progress : NULL,
                             .stop = signals_received};
    TokenizeResult r;
    double start = seconds_now();
    signals_install(NULL);
    bool ok = tokenize_files(&r, &config, err);
    double seconds = seconds_now() - start;
    if (terminal) printf("\r\033[K");
    if (!ok) return false;
    printf("%" PRId64 " bytes in %d file%s: %" PRId64 " tokens for training, %" PRId64
           " for validation, in %d shards; %.1f s, %.1f MB/s\n%s/%s_train_*.bin\n",
           r.bytes, n_files, n_files == 1 ? "" : "s", r.train_tokens, r.val_tokens, r.n_shards, seconds,
           1e-6 * (double)r.bytes / seconds, o->out, o->name);
    if (r.val_tokens) printf("%s/%s_val_*.bin\n", o->out, o->name);
    return true;
}

bool command_tokenize(int argc, const char *const *argv, Error *err) {
    TokenizeOptions o = {0};
    int n_files;
    Vocab *vocab = NULL;
    const char **files = malloc((size_t)(argc + 1) * sizeof *files);
    ASSERT(files);
    bool ok = options_from_arguments(&o, &table, files, &n_files, argc, argv, err);
    if (ok && o.help) fputs(help, stdout);
    else if (ok && n_files == 0) ok = error_set(err, "no text files given; train tokenize --help shows how");
    else if (ok && !(vocab = vocab_open(o.vocab, err))) ok = error_prefix(err, "--vocab");
    else if (ok && vocab_is_none(vocab))
        ok = error_set(err, "--vocab none is no vocabulary to make tokens with; use bytes or a .tiktoken file");
    else if (ok) ok = tokenize(&o, vocab, files, n_files, err);
    vocab_close(vocab);
    free(files);
    return ok;
}
