#include "run/commands.h"

#include "data/tokenize.h"  // defines: tokenize_files
#include "device/nearest.h" // defines: nearest_name

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char vocab[OPTION_TEXT_MAX], out[OPTION_TEXT_MAX], name[OPTION_TEXT_MAX];
    int64_t shard_tokens;
    double val_fraction;
    bool overwrite, help;
} TokenizeOptions;

#define AT(field) offsetof(TokenizeOptions, field)
static const OptionSpec specs[] = {
    {.name = "vocab", .kind = KIND_TEXT, .offset = AT(vocab), .def = "bytes"},
    {.name = "out", .kind = KIND_TEXT, .offset = AT(out), .def = "."},
    {.name = "name", .kind = KIND_TEXT, .offset = AT(name), .def = "text"},
    {.name = "shard-tokens",
     .kind = KIND_INT64,
     .offset = AT(shard_tokens),
     .def = "100000000",
     .min = 2,
     .max = 2147483647},
    {.name = "val-fraction", .kind = KIND_NUMBER, .offset = AT(val_fraction), .def = "0.1", .min = 0, .max = 0.9},
    {.name = "overwrite", .kind = KIND_YES_NO, .offset = AT(overwrite), .def = "no"},
    {.name = "help", .kind = KIND_YES_NO, .offset = AT(help), .def = "no"},
};
static const OptionTable table = {specs, (int)(sizeof specs / sizeof *specs)};

static const char help[] =
    "usage: train tokenize [options] TEXTFILE...\n"
    "\n"
    "Makes token shards of text files, each of them a document. The end of every document goes to the\n"
    "validation shard DIR/NAME_val_000000.bin, the rest to DIR/NAME_train_000001.bin and on.\n"
    "\n"
    "  --vocab bytes         a token is a byte, 256 begins a document\n"
    "  --out DIR             default: the current directory\n"
    "  --name NAME           beginning of the shards' names, default: text\n"
    "  --shard-tokens N      tokens of a training shard, default: 100000000\n"
    "  --val-fraction X      of every document, for validation, default: 0.1\n"
    "  --overwrite           replace shards of the same name\n"
    "\n"
    "example: train tokenize --vocab bytes --out corpus --name austen emma.txt persuasion.txt\n";

bool command_tokenize(int argc, const char *const *argv, Error *err) {
    TokenizeOptions o = {0};
    int n_files;
    Vocab *vocab = NULL;
    const char **files = malloc((size_t)(argc + 1) * sizeof *files);
    ASSERT(files);
    bool ok = options_from_arguments(&o, &table, files, &n_files, argc, argv, err);
    if (ok && o.help) {
        fputs(help, stdout);
    } else if (ok && n_files == 0) {
        ok = error_set(err, "no text files given; train tokenize --help shows how");
    } else if (ok && !(vocab = vocab_open(o.vocab, err))) {
        ok = error_prefix(err, "--vocab");
    } else if (ok && vocab_is_none(vocab)) {
        ok = error_set(err, "--vocab none is no vocabulary to make tokens with; use --vocab bytes");
    } else if (ok) {
        TokenizeConfig config = {.vocab = vocab,
                                 .out_dir = o.out,
                                 .name = o.name,
                                 .files = files,
                                 .n_files = n_files,
                                 .shard_tokens = o.shard_tokens,
                                 .val_fraction = o.val_fraction,
                                 .overwrite = o.overwrite};
        TokenizeResult r;
        ok = tokenize_files(&r, &config, err);
        if (ok)
            printf("%" PRId64 " bytes in %d file%s: %" PRId64 " tokens for training, %" PRId64
                   " for validation, in %d shards\n%s/%s_train_*.bin\n%s/%s_val_*.bin\n",
                   r.bytes, n_files, n_files == 1 ? "" : "s", r.train_tokens, r.val_tokens, r.n_shards, o.out,
                   o.name, o.out, o.name);
    }
    vocab_close(vocab);
    free(files);
    return ok;
}
