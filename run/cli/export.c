#include "run/cli/commands.h"

#include "run/hf/hf.h"
#include "run/hf/pretrained.h"
#include "run/options/help_texts.h"
#include "run/options/settings.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char out[OPTION_TEXT_MAX], vocab[OPTION_TEXT_MAX];
    int dtype; // Type
    bool overwrite, help;
} ExportOptions;

static const OptionChoice dtype_words[] = {{"f32", TYPE_F32}, {"bf16", TYPE_BF16}, {NULL, 0}};

#define OPTIONS_OF ExportOptions
static const OptionSpec specs[] = {
    OPTION_TEXT("out", out, "", .value = "DIR", .help = "output directory; it is created, complete or not at all"),
    OPTION_ONE_OF("dtype", dtype, "f32", dtype_words, .help = "type of the weights"),
    OPTION_TEXT("vocab", vocab, "", .value = "NAME", .help = HELP_VOCAB_OF_RUN),
    OPTION_FLAG("overwrite", overwrite, "no", .help = "replace an existing export"),
    OPTION_FLAG("help", help, "no", .help = HELP_HELP),
};
static const OptionTable table = OPTION_TABLE(specs);

static const char usage[] =
    "usage: train export RUN --out DIR [options]\n"
    "\n"
    "Writes the newest checkpoint of a run as a directory for Hugging Face transformers: config.json,\n"
    "model.safetensors, generation_config.json and, if the run has a BPE vocabulary, the tokenizer files.\n"
    "AutoModelForCausalLM.from_pretrained(DIR) and AutoTokenizer load it. Supported models:\n"
    "  GPT2LMHeadModel    --positions learned --norm layernorm --biases yes\n"
    "                     --activation gelu-tanh, gelu or relu2\n"
    "  LlamaForCausalLM   --positions rope --norm rmsnorm --biases no\n"
    "                     --activation swiglu\n"
    "  Qwen2ForCausalLM   the same with --biases qkv\n"
    "with a tied or untied head; for any other the error names the option that does not fit.\n"
    "RUN may be such a directory too. --init-from DIR trains from one.\n";
static const char example[] = "example: train export runs/a --out exports/a\n";

// A vocabulary with far fewer tokens than the model is another one, whose end-of-text token is an ordinary token here:
// other programs would stop there.
static bool check_vocab(const Pretrained *p, Error *err) {
    enum { MOST_UNUSED = 128 }; // sizes rounded up to a multiple of 64 or 128 are common
    if (vocab_is_none(p->vocab) || p->vocab_verified) return true;
    if (p->model.config.vocab_size - vocab_size(p->vocab) < MOST_UNUSED) return true;
    return error_set(
        err,
        "--vocab has %d tokens and the model %d: it belongs to another model; name that of the training "
        "data, or --vocab none to export without a tokenizer",
        vocab_size(p->vocab), p->model.config.vocab_size);
}

static void print_notes(const Pretrained *p, const char *architecture) {
    const ModelConfig *c = &p->model.config;
    if (c->n_head * c->head_dim != c->d_model)
        printf("note: transformers older than 4.46 does not know --head-dim %d and refuses these weights\n",
               c->head_dim);
    if (strcmp(architecture, "Qwen2ForCausalLM") == 0 && vocab_bpe(p->vocab))
        printf("note: load the tokenizer with GPT2Tokenizer: AutoTokenizer of transformers 5 splits text as Qwen2 "
               "does, into other tokens\n");
}

static bool load_and_export(const char *run, const ExportOptions *o, Error *err) {
    PretrainedInfo info;
    Pretrained pretrained;
    const BatchShape shape = {.B = 1, .T = 1, .use = USE_DECODING};
    if (!pretrained_info(&info, run, err)) return false;
    if (o->vocab[0]) strcpy(info.vocab, o->vocab);
    if (!pretrained_open(&pretrained, &info, &shape, "cpu", 0, err)) return false;
    const HfExport how = {.type = (Type)o->dtype, .vocab = pretrained.vocab, .overwrite = o->overwrite};
    const char *architecture;
    bool ok = check_vocab(&pretrained, err) &&
              hf_export(&architecture, o->out, &pretrained.model, pretrained.stream, &how, err);
    if (ok) {
        printf("%s: %s, %.1f M parameters\n", o->out, architecture, (double)pretrained.model.table.total * 1e-6);
        print_notes(&pretrained, architecture);
    }
    pretrained_close(&pretrained);
    return ok;
}

bool command_export(int argc, const char *const *argv, Error *err) {
    ExportOptions o = {0};
    const char *run;
    if (!options_and_run(&o, &table, &run, argc - 2, argv + 2, err)) return false;
    if (o.help) return help_print_command(usage, &table, example);
    if (!run) return error_set(err, "no run given: train export RUN --out DIR");
    if (!o.out[0]) return error_set(err, "no output directory given: --out DIR");
    return load_and_export(run, &o, err);
}
