#include "run/cli/commands.h"

#include "base/json.h"
#include "data/datasets.h"
#include "run/hf/pretrained.h"
#include "run/options/help_texts.h"
#include "run/options/settings.h"
#include "run/training/hellaswag.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char val_data[OPTION_TEXT_MAX], hellaswag[OPTION_TEXT_MAX], vocab[OPTION_TEXT_MAX], device[OPTION_TEXT_MAX];
    int64_t val_tokens;
    int seq_len, batch, threads;
    bool json, help;
} EvalOptions;

#define OPTIONS_OF EvalOptions
static const OptionSpec specs[] = {
    OPTION_TEXT("val-data", val_data, "", .value = "FILES", .help = "token shards; none: those of the run"),
    OPTION_INT64("val-tokens", val_tokens, "0", 0, OPTION_INT64_MAX,
                 .help = "tokens to predict; 0: as in the run; a smaller dataset is used completely"),
    OPTION_INT("seq-len", seq_len, "0", 0, INT_MAX, .help = "tokens per sequence; 0: as in the run"),
    OPTION_TEXT("hellaswag", hellaswag, "", .value = "FILE",
                .help = "HellaSwag in GPT-2 tokens, in the format of llm.c (see below)"),
    OPTION_INT("batch", batch, "0", 0, 65536, .help = "sequences per forward pass; 0: the run's micro-batch"),
    OPTION_FLAG("json", json, "no", .help = "print one JSON object"),
    OPTION_TEXT("vocab", vocab, "", .value = "NAME", .help = HELP_VOCAB_OF_RUN),
    OPTION_TEXT("device", device, "auto", .value = "NAME", .help = HELP_DEVICE),
    OPTION_INT("threads", threads, "0", 0, 65536, .help = HELP_THREADS),
    OPTION_FLAG("help", help, "no", .help = HELP_HELP),
};
static const OptionTable table = OPTION_TABLE(specs);

static const char usage[] =
    "usage: train eval RUN [options]\n"
    "\n"
    "Prints the validation loss of a run's newest checkpoint with its standard error over sequences, perplexity\n"
    "and bits per byte of text; and the HellaSwag accuracy (four choices: chance is 0.25). RUN may be a Hugging\n"
    "Face directory.\n";
static const char example[] = "HellaSwag in llm.c's format is hellaswag_val.bin (3.6 MB) in\n"
                              "  https://huggingface.co/datasets/karpathy/llmc-starter-pack\n"
                              "\n"
                              "example: train eval runs/a --hellaswag hellaswag_val.bin\n";

// The evaluations to run, opened and checked before the weights are read.
typedef struct {
    ShardSet val;
    Hellaswag hellaswag;
    Validation validation; // tokens 0: no validation
} Job;

static bool open_validation(Job *job, const PretrainedInfo *info, const EvalOptions *o, Error *err) {
    if (!info->val_data[0]) return true;
    if (!shard_set_open(&job->val, info->val_data, err)) return error_prefix(err, "--val-data");
    int64_t max_tokens = job->val.total_tokens - 1, tokens = o->val_tokens ? o->val_tokens : info->val_tokens;
    if (max_tokens < 1)
        return error_set(err, "--val-data %s has a single token; validation needs at least two", info->val_data);
    job->validation = (Validation){.set = &job->val,
                                   .tokens = tokens < max_tokens ? tokens : max_tokens,
                                   .seq_len = info->seq_len,
                                   .batch = info->micro_batch};
    return true;
}

static bool open_job(Job *job, const PretrainedInfo *info, const EvalOptions *o, Error *err) {
    *job = (Job){0};
    if (!info->val_data[0] && !o->hellaswag[0])
        return error_set(err, "nothing to evaluate: %s has no validation data; give --val-data or --hellaswag",
                         info->path);
    if (info->seq_len > info->model.context)
        return error_set(err, "--seq-len %d is longer than the context of %s, %d", info->seq_len, info->path,
                         info->model.context);
    int64_t positions = (int64_t)info->seq_len * info->micro_batch;
    if (positions >= INT32_MAX)
        return error_set(err, "--batch %d of --seq-len %d tokens is too large", info->micro_batch, info->seq_len);
    if (!open_validation(job, info, o, err)) return false;
    return !o->hellaswag[0] ||
           (hellaswag_open(&job->hellaswag, o->hellaswag, err) &&
            hellaswag_check(&job->hellaswag, o->hellaswag, &info->model, positions, err)) ||
           error_prefix(err, "--hellaswag");
}

static void close_job(Job *job) {
    if (job->val.n_shards) shard_set_close(&job->val);
    hellaswag_close(&job->hellaswag);
}

static void print_text(const Pretrained *n, const PretrainedInfo *info, const Job *job, const ValidationResult *v,
                       const HellaswagResult *h) {
    if (n->step >= 0) printf("%s, step %" PRId64 "\n", info->path, n->step);
    else puts(info->path); // a Hugging Face directory
    if (job->validation.tokens) {
        printf("validation loss %.4f", v->loss);
        if (!isnan(v->standard_error)) printf(" +- %.4f", v->standard_error);
        printf(", perplexity %.4g", exp(v->loss));
        if (v->bytes) printf(", %.4f bits per byte", v->bits_per_byte);
        printf(", on %" PRId64 " tokens\n", job->validation.tokens);
    }
    if (h->examples)
        printf("HellaSwag accuracy %.4f +- %.4f by the mean over an ending's tokens (%.4f by the sum), on %d "
               "examples\n",
               h->acc_norm, h->standard_error, h->acc, h->examples);
}

static void print_json(const Pretrained *n, const PretrainedInfo *info, const Job *job, const ValidationResult *v,
                       const HellaswagResult *h) {
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    json_string(&w, "run", info->path);
    if (n->step >= 0) json_int(&w, "step", n->step);
    if (job->validation.tokens) {
        json_double(&w, "val_loss", v->loss);
        json_double(&w, "val_loss_stderr", v->standard_error);
        json_int(&w, "val_tokens", job->validation.tokens);
        json_double(&w, "perplexity", exp(v->loss));
        if (v->bytes) json_double(&w, "bits_per_byte", v->bits_per_byte);
    }
    if (h->examples) {
        json_double(&w, "hellaswag_acc_norm", h->acc_norm);
        json_double(&w, "hellaswag_acc_norm_stderr", h->standard_error);
        json_double(&w, "hellaswag_acc", h->acc);
        json_int(&w, "hellaswag_examples", h->examples);
    }
    json_end_object(&w);
    puts(w.text);
    json_writer_free(&w);
}

static bool evaluate(Pretrained *n, const PretrainedInfo *info, Job *job, const EvalOptions *o, Error *err) {
    ValidationResult v = {0};
    HellaswagResult h = {0};
    Forward forward;
    Meter meter;
    bool complete, ok = true;
    if (!forward_create(&forward, &n->model, n->stream, err)) return false;
    if (job->validation.tokens) {
        job->validation.vocab = n->vocab;
        meter_begin(&meter, "validation");
        ok = evaluate_loss(&v, &complete, &forward, &job->validation, &meter, err);
        meter_end(&meter);
    }
    if (ok && job->hellaswag.n_examples) {
        meter_begin(&meter, "HellaSwag");
        h = hellaswag_evaluate(&complete, &forward, &job->hellaswag, &meter);
        meter_end(&meter);
    }
    forward_free(&forward);
    if (ok && (!isfinite(v.loss) || h.not_finite))
        ok = error_set(err, "%s: a loss is not finite: the weights are corrupt, or too large for %s", info->path,
                       type_name(n->model.type));
    if (ok) (o->json ? print_json : print_text)(n, info, job, &v, &h);
    return ok;
}

static bool load_and_evaluate(const char *path, const EvalOptions *o, Error *err) {
    PretrainedInfo info;
    Pretrained pretrained;
    Job job;
    if (!pretrained_info(&info, path, err)) return false;
    // Options that are not set are as in the run.
    if (o->vocab[0]) strcpy(info.vocab, o->vocab);
    if (o->val_data[0]) strcpy(info.val_data, o->val_data);
    if (o->seq_len) info.seq_len = o->seq_len;
    if (o->batch) info.micro_batch = o->batch;
    BatchShape shape = {.B = info.micro_batch, .T = info.seq_len, .use = USE_EVALUATION};
    bool ok = open_job(&job, &info, o, err);
    if (ok && pretrained_open(&pretrained, &info, &shape, o->device, o->threads, err)) {
        ok = datasets_check_vocab(&job.val, pretrained.vocab, info.vocab, err) &&
             evaluate(&pretrained, &info, &job, o, err);
        pretrained_close(&pretrained);
    } else {
        ok = false;
    }
    close_job(&job);
    return ok;
}

bool command_eval(int argc, const char *const *argv, Error *err) {
    EvalOptions o = {0};
    const char *run;
    if (!options_and_run(&o, &table, &run, argc - 2, argv + 2, err)) return false;
    if (o.help) return help_print_command(usage, &table, example);
    if (!run) return error_set(err, "no run given: train eval RUN");
    return load_and_evaluate(run, &o, err);
}
