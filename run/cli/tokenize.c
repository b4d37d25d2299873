#include "run/cli/commands.h"

#include "base/progress.h"
#include "base/signals.h"
#include "data/tokenizer/tokenize.h"
#include "run/options/help_texts.h"
#include "run/options/settings.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char vocab[OPTION_TEXT_MAX], out[OPTION_TEXT_MAX], name[OPTION_TEXT_MAX], field[OPTION_TEXT_MAX];
    int format;          // TextFormat
    int on_bad_document; // OnBadDocument
    int64_t shard_tokens, val_tokens;
    double val_fraction;
    int threads;
    bool overwrite, help;
} TokenizeOptions;

static const OptionChoice format_words[] = {
    {"auto", FORMAT_AUTO}, {"text", FORMAT_TEXT}, {"jsonl", FORMAT_JSONL}, {NULL, 0}};

static const OptionChoice bad_document_words[] = {
    {"skip-empty", BAD_DOCUMENT_SKIP_EMPTY}, {"skip", BAD_DOCUMENT_SKIP}, {"stop", BAD_DOCUMENT_STOP}, {NULL, 0}};

#define OPTIONS_OF TokenizeOptions
static const OptionSpec specs[] = {
    OPTION_TEXT("vocab", vocab, "bytes", .value = "NAME",
                .help = "bytes (a token per byte, 256 begins a document), or a .tiktoken file: "
                        "scripts/get_vocab.sh downloads GPT-2's, vocab/gpt2.tiktoken"),
    OPTION_TEXT("out", out, ".", .value = "DIR", .help = "output directory"),
    OPTION_TEXT("name", name, "text", .value = "NAME", .help = "prefix of the shard names"),
    OPTION_ONE_OF("format", format, "auto", format_words, .help = "format of all FILEs; auto: by name and content"),
    OPTION_TEXT("field", field, "text", .value = "NAME", .help = "field of the JSON objects with the text"),
    OPTION_ONE_OF(
        "on-bad-document", on_bad_document, "skip-empty", bad_document_words,
        .help = "JSON lines to skip and count: those whose text is missing, null or empty (skip-empty), also those "
                "that are not objects with a string (skip), or none (stop)"),
    OPTION_INT64("shard-tokens", shard_tokens, "100000000", 2, INT_MAX,
                 .help = "tokens per training shard; documents continue in the next one"),
    OPTION_NUMBER("val-fraction", val_fraction, "0.1", 0, 0.9,
                  .help =
                      "fraction of every text, at its end, for validation; lines of JSON and standard input need "
                      "--val-tokens instead"),
    OPTION_INT64("val-tokens", val_tokens, "-1", -1, INT_MAX,
                 .help =
                     "whole documents for validation, the first ones, until they have this many tokens; -1: use "
                     "--val-fraction"),
    OPTION_INT("threads", threads, "0", 0, 1024, .help = HELP_THREADS "; the shards do not depend on it"),
    OPTION_FLAG("overwrite", overwrite, "no", .help = "replace existing shards of the same name"),
    OPTION_FLAG("help", help, "no", .help = HELP_HELP),
};
static const OptionTable table = OPTION_TABLE(specs);

static const char usage[] =
    "usage: train tokenize [options] FILE...\n"
    "\n"
    "Converts texts to token shards: files of token numbers, which --train-data and --val-data of train read. A "
    "FILE is a text, which is one document, or lines of JSON with a document "
    "each\n"
    "(.jsonl, .ndjson, .json, or a first line that is a JSON object); both may be compressed by gzip or zstd. - "
    "is\n"
    "standard input. Every document is preceded by the end-of-text token. The validation shard is\n"
    "DIR/NAME_val_000000.bin, the others are DIR/NAME_train_000001.bin and on.\n"
    "Bytes that are not UTF-8 become U+FFFD with a .tiktoken file and stay as they are with --vocab bytes. "
    "UTF-16,\n"
    "Parquet and other binary files are refused.\n";
static const char examples[] = "examples:\n"
                               "  train tokenize --out corpus --name austen emma.txt persuasion.txt\n"
                               "  train tokenize --vocab vocab/gpt2.tiktoken --val-tokens 10000000 \\\n"
                               "        --out corpus --name web web.jsonl.zst\n"
                               "  xzcat web.jsonl.xz | train tokenize --format jsonl --val-tokens 0 \\\n"
                               "        --out corpus --name web -\n";

// Updates a progress line on a terminal.
static void show_progress(const TokenizeResult *r) {
    static double start, shown;
    double now = seconds_now();
    if (start == 0) start = now;
    if (now - shown < 0.2 || now == start) return;
    shown = now;
    double rate = (double)r->file_bytes / (now - start);
    printf("\r\033[K%.1f MB", 1e-6 * (double)r->file_bytes);
    if (r->total_bytes) printf(" of %.1f", 1e-6 * (double)r->total_bytes);
    printf("  %.1f M tokens  %.1f MB/s", 1e-6 * (double)(r->train_tokens + r->val_tokens), 1e-6 * rate);
    if (r->total_bytes) printf("  %.0f s left", (double)(r->total_bytes - r->file_bytes) / rate);
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
                             .on_bad_document = (OnBadDocument)o->on_bad_document,
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
    if (r.n_compressed) printf("note: decompressed %d of the files\n", r.n_compressed);
    if (r.n_json && o->format == FORMAT_AUTO) printf("note: read %d of the files as lines of JSON\n", r.n_json);
    if (r.empty_documents)
        printf("skipped %" PRId64 " of %" PRId64 " documents: their text is missing, null or empty\n",
               r.empty_documents, r.documents + r.empty_documents);
    if (r.bad_lines) printf("skipped %" PRId64 " lines that are not JSON objects with a text\n", r.bad_lines);
    if (r.val_tokens) printf("%s/%s_val_*.bin\n", o->out, o->name);
    return true;
}

bool command_tokenize(int argc, const char *const *argv, Error *err) {
    TokenizeOptions o = {0};
    int n_files;
    Vocab *vocab = NULL;
    const char **files = malloc((size_t)(argc + 1) * sizeof *files);
    ASSERT(files);
    bool ok = options_from_arguments(&o, &table, files, &n_files, argc - 2, argv + 2, err);
    if (ok && o.help) help_print_command(usage, &table, examples);
    else if (ok && n_files == 0) ok = error_set(err, "no text files given; see train tokenize --help");
    else if (ok && !(vocab = vocab_open(o.vocab, err))) ok = error_prefix(err, "--vocab");
    else if (ok && vocab_is_none(vocab))
        ok = error_set(err, "--vocab none cannot tokenize text; use bytes or a .tiktoken file");
    else if (ok) ok = tokenize(&o, vocab, files, n_files, err);
    vocab_close(vocab);
    free(files);
    return ok;
}
