// The table of the options of `train`. Sections appear in the help in this order.
#include "run/options/config.h"

#include "data/loader.h"

static const char *const on_bad_step_names[] = {"stop", "skip", NULL};
static const char *const norm_names[] = {"layernorm", "rmsnorm", NULL};
static const char *const norm_bias_names[] = {"auto", "no", "yes", NULL};
static const char *const position_names[] = {"learned", "rope", "half-rope", "none", NULL};
static const char *const activation_names[] = {"gelu-tanh", "gelu", "relu2", "swiglu", NULL};
static const char *const bias_names[] = {"no", "yes", "qkv", NULL};
static const char *const softcap_names[] = {"tanh", "root", NULL};
static const char *const init_names[] = {"normal", "normal-fan-in", "uniform-fan-in", NULL};
static const char *const residual_names[] = {"scaled", "same", "zero", NULL};
static const char *const dtype_names[] = {"auto", "f32", "bf16", NULL};
static const char *const recompute_names[] = {"none", "activations", "layer", NULL};
static const char *const shard_tail_names[] = {"join", "drop", NULL};
_Static_assert(SHARD_TAIL_JOIN == 0 && SHARD_TAIL_DROP == 1, "order of shard_tail_names");
_Static_assert(BAD_STEP_STOP == 0 && BAD_STEP_SKIP == 1, "order of on_bad_step_names");

_Static_assert(NORM_RMSNORM == 1 && NORM_BIAS_NO == 1 && NORM_BIAS_YES == 2 && BIASES_ALL == 1 && BIASES_QKV == 2,
               "order of norm_names, norm_bias_names, bias_names");
_Static_assert(POSITIONS_ROPE == 1 && POSITIONS_HALF_ROPE == 2 && POSITIONS_NONE == 3, "order of position_names");
_Static_assert(ACTIVATION_GELU == 1 && ACTIVATION_RELU2 == 2 && ACTIVATION_SWIGLU == 3 && SOFTCAP_ROOT == 1,
               "order of activation_names, softcap_names");
_Static_assert(DRAW_NORMAL_FAN_IN == 1 && DRAW_UNIFORM_FAN_IN == 2 && RESIDUAL_INIT_SAME == 1 &&
                   RESIDUAL_INIT_ZERO == 2,
               "order of init_names, residual_names");
_Static_assert(DTYPE_F32 == 1 && DTYPE_BF16 == 2, "order of dtype_names");
_Static_assert(RECOMPUTE_ACTIVATIONS == 1 && RECOMPUTE_LAYER == 2, "order of recompute_names");

// The rows of the table: TEXT(name, field, default, help), ...
#define AT(field) offsetof(RunConfig, field)
#define TEXT(n, f, d, ...)                                                                                         \
    { .name = n, .section = S, .kind = KIND_TEXT, .offset = AT(f), .def = d, __VA_ARGS__ }
#define INT(n, f, d, lo, ...)                                                                                      \
    {                                                                                                              \
        .name = n, .section = S, .kind = KIND_INT, .offset = AT(f), .def = d, .min = lo, .max = 2147483647,        \
        __VA_ARGS__                                                                                                \
    }
#define INT64(n, f, d, lo, ...)                                                                                    \
    { .name = n, .section = S, .kind = KIND_INT64, .offset = AT(f), .def = d, .min = lo, .max = 9e18, __VA_ARGS__ }
#define NUMBER(n, f, d, lo, ...)                                                                                   \
    {                                                                                                              \
        .name = n, .section = S, .kind = KIND_NUMBER, .offset = AT(f), .def = d, .min = lo, .max = 1e300,          \
        __VA_ARGS__                                                                                                \
    }
#define FLAG(n, f, d, ...)                                                                                         \
    { .name = n, .section = S, .kind = KIND_YES_NO, .offset = AT(f), .def = d, __VA_ARGS__ }
#define ONE_OF(n, f, d, c, ...)                                                                                    \
    { .name = n, .section = S, .kind = KIND_ONE_OF, .offset = AT(f), .def = d, .choices = c, __VA_ARGS__ }
#define PROCESS .on_resume = true, .not_stored = true
#define RESUMABLE .on_resume = true

static const OptionSpec specs[] = {
#define S "Run"
    TEXT("config", config, "", .value = "FILE", .not_stored = true,
         .help = "file with options, one 'name = value' a line; may be repeated, later files go before"),
    TEXT("out", out, "", .value = "DIR", .not_stored = true, .help = "the run's directory, which is created"),
    TEXT("resume", resume, "", .value = "DIR", PROCESS, .help = "go on with the run in this directory"),
    FLAG("overwrite", overwrite, "no", .not_stored = true, .help = "replace the run that is in --out"),
    FLAG("dry-run", dry_run, "no", PROCESS, .help = "print the plan and stop"),
    FLAG("measure-peak", measure_peak, "yes", PROCESS,
         .help =
             "run large products before the first step: the log says how fast they are, and where the device's own "
             "rate is not known mfu is relative to theirs. A profile is better without them"),
    FLAG("quiet", quiet, "no", RESUMABLE, .help = "print validation losses and the end only"),
    TEXT("device", device, "auto", .value = "NAME", RESUMABLE,
         .help = "cpu, cuda, cuda:N, or auto: cuda where there is one"),
    ONE_OF("dtype", dtype, "auto", dtype_names, RESUMABLE,
           .help = "of weights and activations in the passes; auto: bf16 on cuda, f32 on the cpu. Master weights, "
                   "gradients and sums are f32 either way"),
    INT("threads", threads, "0", 0, RESUMABLE, .help = "CPU threads; 0: all that this process may use"),
    NUMBER("max-time", max_time, "0", 0, RESUMABLE,
           .help = "stop with a checkpoint after so many seconds of this process; 0: never"),
#undef S
#define S "Data"
    TEXT("train-data", train_data, "", .value = "FILES", RESUMABLE,
         .help = "token shards: a file or a quoted pattern, 'DIR/x_train_*.bin'"),
    TEXT("val-data", val_data, "", .value = "FILES", RESUMABLE,
         .help = "token shards for validation; none: no validation"),
    TEXT("hellaswag", hellaswag, "", .value = "FILE", RESUMABLE,
         .help = "multiple-choice questions to answer (train eval --help says where to get them); none: no test"),
    TEXT("vocab", vocab, "none", .value = "NAME", RESUMABLE,
         .help = "how tokens become text: none, bytes (257 tokens), or a .tiktoken file"),
    ONE_OF("shard-tail", shard_tail, "join", shard_tail_names,
           .help = "join: shards are one endless stream; drop: whole batches of each shard, once"),
    FLAG("align-documents", align_documents, "no",
         .help = "every training sequence begins at a document; what is left of the one before it is skipped"),
    INT("document-token", document_token, "-1", -1,
        .help = "the token that begins a document; -1: that of --vocab, else GPT-2's 50256"),
    INT64("val-tokens", val_tokens, "10485760", 1, .help = "tokens of a validation; a smaller set is used whole"),
#undef S
#define S "Training"
    INT64("steps", steps, "1000", 1, .help = "optimizer steps"),
    INT("batch-size", batch_size, "8", 1, .help = "sequences in a step"),
    INT("micro-batch", micro_batch, "0", 0,
        .help = "sequences run at once, a divisor of --batch-size; 0: the largest that is at most 4096 tokens, "
                "1024 where d-ff is at most 512, on a GPU 65536 as far as its memory allows"),
    INT("seq-len", seq_len, "1024", 1, .help = "tokens in a sequence"),
    ONE_OF("recompute", recompute, "none", recompute_names, RESUMABLE,
           .help =
               "make norms and activations, or whole layers, again in the backward pass: less memory, same bits"),
    NUMBER("clip", clip, "1", 0, .help = "clip the gradient to this global norm; 0: never"),
    TEXT("init-from", init_from, "", .value = "DIR",
         .help =
             "begin with the weights of a run or a Hugging Face directory, which decides the network's options"),
    INT64("seed", seed, "1", 0, .help = "of the initial weights and of samples"),
    NUMBER("target-loss", target_loss, "0", 0, RESUMABLE,
           .help = "stop when the validation loss is this low; 0: never"),
    ONE_OF("on-bad-step", on_bad_step, "stop", on_bad_step_names, RESUMABLE,
           .help = "a loss or gradient that is not finite or too large: stop the run, or skip the step"),
    NUMBER("loss-jump", loss_jump, "3", 0, RESUMABLE,
           .help = "a loss this far above its running mean is too large; 0: none is"),
    INT("max-skips", max_skips, "10", 1, RESUMABLE, .help = "stop after so many bad steps in a row"),
#undef S
#define S "Reports and checkpoints"
    INT64("log-every", log_every, "10", 1, RESUMABLE,
          .help = "steps between lines of the log and of metrics.jsonl"),
    INT64("eval-every", eval_every, "250", 0, RESUMABLE,
          .help = "steps between validations; 0: only first and last"),
    INT64("hellaswag-every", hellaswag_every, "0", 0, RESUMABLE,
          .help = "steps between tests with --hellaswag; 0: only after the last"),
    INT64("sample-every", sample_every, "0", 0, RESUMABLE, .help = "steps between text samples; 0: none"),
    INT("sample-tokens", sample_tokens, "200", 1, RESUMABLE, .help = "length of a sample"),
    TEXT("sample-prompt", sample_prompt, "", RESUMABLE, .help = "beginning of a sample"),
    INT64("diagnose", diagnose, "0", 0, RESUMABLE,
          .help = "steps between diagnostics: singular values and rows of every matrix's gradient, momentum and "
                  "update, into diagnostics.jsonl; 0: none"),
    FLAG("diagnose-spectrum", diagnose_spectrum, "no", RESUMABLE,
         .help = "--diagnose writes every singular value and every row's norm, not only their quantiles"),
    INT64("checkpoint-every", checkpoint_every, "1000", 0, RESUMABLE,
          .help = "steps between checkpoints; 0: only at the end and on signals"),
    INT("keep", keep, "2", 0, RESUMABLE, .help = "newest checkpoints to keep; 0: all"),
#undef S
#define S "Network"
    INT("n-layer", model.n_layer, "12", 1, .help = "layers"),
    INT("n-head", model.n_head, "12", 1, .help = "query heads"),
    INT("n-kv-head", model.n_kv_head, "0", 0, .help = "key and value heads; 0: as --n-head"),
    INT("d-model", model.d_model, "768", 1, .help = "width of the residual stream"),
    INT("head-dim", model.head_dim, "0", 0, .help = "width of a head; 0: d-model / n-head"),
    INT("d-ff", model.d_ff, "0", 0, .help = "inner width of the MLP; 0: 4 d-model"),
    INT("vocab-size", model.vocab_size, "0", 0, .help = "tokens that exist; 0: those of --vocab, else 50257"),
    INT("vocab-padded", model.vocab_padded, "0", 0,
        .help = "rows of the embedding; 0: vocab-size rounded up to a multiple of 64"),
    INT("context", model.context, "0", 0, .help = "longest sequence the network takes; 0: seq-len"),
    ONE_OF("norm", model.norm, "layernorm", norm_names, .help = "kind of all norms"),
    NUMBER("norm-eps", model.norm_eps, "1e-5", 0, .help = "inside the root of every norm"),
    FLAG("norm-gain", model.norm_gain, "yes", .help = "gains in the norms"),
    ONE_OF("norm-bias", norm_bias, "auto", norm_bias_names,
           .help = "biases in the norms; auto: in layernorm where the linear layers have them"),
    FLAG("embed-norm", model.embed_norm, "no", .help = "a norm of the embedding before the first layer"),
    ONE_OF("positions", model.positions, "learned", position_names,
           .help = "a learned table, rotations of queries and keys, of the faster half of their pairs, or none"),
    NUMBER("rope-base", model.rope_base, "10000", 0, .help = "the slowest rotation takes about so many positions"),
    FLAG("qk-norm", model.qk_norm, "no", .help = "RMSNorm of every query and key head"),
    NUMBER("attention-scale", model.attention_scale, "0", 0, .help = "of the scores; 0: 1/sqrt(head-dim)"),
    FLAG("depth-scaled-attention", model.depth_scaled_attention, "no",
         .help = "the attention's output is divided by sqrt(2 n-layer)"),
    ONE_OF("activation", model.activation, "gelu-tanh", activation_names, .help = "of the MLP"),
    ONE_OF("biases", model.biases, "yes", bias_names,
           .help = "in the linear layers: none, all, or queries, keys and values only"),
    FLAG("tied-head", model.tied_head, "yes", .help = "the head's weight is the token embedding"),
    FLAG("head-bias", model.head_bias, "no", .help = "a bias for every class"),
    FLAG("mask-padding", model.mask_padding, "yes", .help = "padded classes take no part in the softmax"),
    NUMBER("softcap", model.softcap, "0", 0, .help = "bound of the logits, reached softly; 0: none"),
    ONE_OF("softcap-form", model.softcap_kind, "tanh", softcap_names,
           .help = "cap tanh(x/cap) or cap x/sqrt(x^2 + cap^2)"),
#undef S
#define S "Initial weights"
    ONE_OF("init", model.init, "normal", init_names,
           .help = "how matrices and embeddings are drawn; fan-in: --init-std is divided by sqrt(columns)"),
    NUMBER("init-std", model.init_std, "0.02", 0, .help = "standard deviation"),
    NUMBER("embed-init-std", model.embed_init_std, "0", 0,
           .help = "standard deviation of the embeddings, normal; 0: like the matrices"),
    ONE_OF("residual-init", model.residual_init, "scaled", residual_names,
           .help = "projections into the residual stream: divided by sqrt(2 n-layer), like all, or zero"),
    FLAG("zero-head", model.zero_head, "no", .help = "a head of its own starts at zero"),
#undef S
};

const OptionTable run_options = {specs, (int)(sizeof specs / sizeof *specs)};
