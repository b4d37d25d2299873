// The table of the options of `train`. Sections appear in the help in this order.
#include "run/options/config.h"

#include "data/loader.h"

static const OptionChoice on_bad_step_words[] = {{"stop", BAD_STEP_STOP}, {"skip", BAD_STEP_SKIP}, {NULL, 0}};
static const OptionChoice norm_words[] = {{"layernorm", NORM_LAYERNORM}, {"rmsnorm", NORM_RMSNORM}, {NULL, 0}};
static const OptionChoice norm_bias_words[] = {
    {"auto", NORM_BIAS_AUTO}, {"no", NORM_BIAS_NO}, {"yes", NORM_BIAS_YES}, {NULL, 0}};
static const OptionChoice position_words[] = {{"learned", POSITIONS_LEARNED},
                                              {"rope", POSITIONS_ROPE},
                                              {"half-rope", POSITIONS_HALF_ROPE},
                                              {"none", POSITIONS_NONE},
                                              {NULL, 0}};
static const OptionChoice activation_words[] = {{"gelu-tanh", ACTIVATION_GELU_TANH},
                                                {"gelu", ACTIVATION_GELU},
                                                {"relu2", ACTIVATION_RELU2},
                                                {"swiglu", ACTIVATION_SWIGLU},
                                                {NULL, 0}};
static const OptionChoice bias_words[] = {{"no", BIASES_NONE}, {"yes", BIASES_ALL}, {"qkv", BIASES_QKV}, {NULL, 0}};
static const OptionChoice softcap_words[] = {{"tanh", SOFTCAP_TANH}, {"root", SOFTCAP_ROOT}, {NULL, 0}};
static const OptionChoice init_words[] = {{"normal", DIST_NORMAL},
                                          {"normal-fan-in", DIST_NORMAL_FAN_IN},
                                          {"uniform-fan-in", DIST_UNIFORM_FAN_IN},
                                          {NULL, 0}};
static const OptionChoice residual_words[] = {
    {"scaled", RESIDUAL_INIT_SCALED}, {"same", RESIDUAL_INIT_SAME}, {"zero", RESIDUAL_INIT_ZERO}, {NULL, 0}};
static const OptionChoice dtype_words[] = {
    {"auto", DTYPE_AUTO}, {"f32", DTYPE_F32}, {"bf16", DTYPE_BF16}, {NULL, 0}};
static const OptionChoice recompute_words[] = {
    {"none", RECOMPUTE_NONE}, {"activations", RECOMPUTE_ACTIVATIONS}, {"layer", RECOMPUTE_LAYER}, {NULL, 0}};
static const OptionChoice shard_tail_words[] = {{"join", SHARD_TAIL_JOIN}, {"drop", SHARD_TAIL_DROP}, {NULL, 0}};

#define PROCESS .on_resume = true, .not_stored = true
#define RESUMABLE .on_resume = true

#define OPTIONS_OF RunConfig
static const OptionSpec specs[] = {
    OPTION_TEXT("config", config, "", .section = "Run", .value = "FILE", .not_stored = true,
                .help = "file with options, one 'name = value' a line; may be repeated, later files go before"),
    OPTION_TEXT("out", out, "", .value = "DIR", .not_stored = true,
                .help = "the run's directory, which is created"),
    OPTION_TEXT("resume", resume, "", .value = "DIR", PROCESS, .help = "go on with the run in this directory"),
    OPTION_FLAG("overwrite", overwrite, "no", .not_stored = true, .help = "replace the run that is in --out"),
    OPTION_FLAG("dry-run", dry_run, "no", PROCESS, .help = "print the plan and stop"),
    OPTION_FLAG("json", json, "no", PROCESS, .help = "print the plan of --dry-run as JSON, for scripts"),
    OPTION_FLAG("measure-peak", measure_peak, "yes", PROCESS,
                .help =
                    "run large products before the first step: the log says how fast they are, and where the "
                    "device's own rate is not known mfu is relative to theirs. A profile is better without them"),
    OPTION_FLAG("quiet", quiet, "no", RESUMABLE, .help = "print validation losses and the end only"),
    OPTION_TEXT("device", device, "auto", .value = "NAME", RESUMABLE,
                .help = "cpu, cuda, cuda:N, or auto: cuda where there is one"),
    OPTION_ONE_OF(
        "dtype", dtype, "auto", dtype_words, RESUMABLE,
        .help = "of weights and activations in the passes; auto: bf16 on cuda, f32 on the cpu. Master weights, "
                "gradients and sums are f32 either way"),
    OPTION_INT("threads", threads, "0", 0, INT_MAX, RESUMABLE,
               .help = "CPU threads; 0: all that this process may use"),
    OPTION_NUMBER("max-time", max_time, "0", 0, OPTION_NUMBER_MAX, RESUMABLE,
                  .help = "stop with a checkpoint after so many seconds of this process; 0: never"),

    OPTION_TEXT("train-data", train_data, "", .section = "Data", .value = "FILES", RESUMABLE,
                .help = "token shards: a file or a quoted pattern, 'DIR/x_train_*.bin'"),
    OPTION_TEXT("val-data", val_data, "", .value = "FILES", RESUMABLE,
                .help = "token shards for validation; none: no validation"),
    OPTION_TEXT(
        "hellaswag", hellaswag, "", .value = "FILE", RESUMABLE,
        .help = "multiple-choice questions to answer (train eval --help says where to get them); none: no test"),
    OPTION_TEXT("vocab", vocab, "none", .value = "NAME", RESUMABLE,
                .help = "how tokens become text: none, bytes (257 tokens), or a .tiktoken file"),
    OPTION_ONE_OF("shard-tail", shard_tail, "join", shard_tail_words,
                  .help = "join: shards are one endless stream; drop: whole batches of each shard, once"),
    OPTION_FLAG("align-documents", align_documents, "no",
                .help =
                    "every training sequence begins at a document; what is left of the one before it is skipped"),
    OPTION_INT("document-token", document_token, "-1", -1, INT_MAX,
               .help = "the token that begins a document; -1: that of --vocab, else GPT-2's 50256"),
    OPTION_INT64("val-tokens", val_tokens, "10485760", 1, OPTION_INT64_MAX,
                 .help = "tokens of a validation; a smaller set is used whole"),

    OPTION_INT64("steps", steps, "1000", 1, OPTION_INT64_MAX, .section = "Training", .help = "optimizer steps"),
    OPTION_INT("batch-size", batch_size, "8", 1, INT_MAX, .help = "sequences in a step"),
    OPTION_INT("micro-batch", micro_batch, "0", 0, INT_MAX,
               .help =
                   "sequences run at once, a divisor of --batch-size; 0: the largest that is at most 4096 tokens, "
                   "1024 where d-ff is at most 512, on a GPU 65536 as far as its memory allows"),
    OPTION_INT("seq-len", seq_len, "1024", 1, INT_MAX, .help = "tokens in a sequence"),
    OPTION_ONE_OF(
        "recompute", recompute, "none", recompute_words, RESUMABLE,
        .help = "make norms and activations, or whole layers, again in the backward pass: less memory, same bits"),
    OPTION_NUMBER("clip", clip, "1", 0, OPTION_NUMBER_MAX,
                  .help = "clip the gradient to this global norm; 0: never"),
    OPTION_TEXT(
        "init-from", init_from, "", .value = "DIR",
        .help = "begin with the weights of a run or a Hugging Face directory, which decides the network's options"),
    OPTION_INT64("seed", seed, "1", 0, OPTION_INT64_MAX, .help = "of the initial weights and of samples"),
    OPTION_NUMBER("target-loss", target_loss, "0", 0, OPTION_NUMBER_MAX, RESUMABLE,
                  .help = "stop when the validation loss is this low; 0: never"),
    OPTION_ONE_OF("on-bad-step", on_bad_step, "stop", on_bad_step_words, RESUMABLE,
                  .help = "a loss or gradient that is not finite or too large: stop the run, or skip the step"),
    OPTION_NUMBER("loss-jump", loss_jump, "3", 0, OPTION_NUMBER_MAX, RESUMABLE,
                  .help = "a loss this far above its running mean is too large; 0: none is"),
    OPTION_INT("max-skips", max_skips, "10", 1, INT_MAX, RESUMABLE,
               .help = "stop after so many bad steps in a row"),

    OPTION_INT64("log-every", log_every, "10", 1, OPTION_INT64_MAX, .section = "Reports and checkpoints", RESUMABLE,
                 .help = "steps between lines of the log and of metrics.jsonl"),
    OPTION_INT64("eval-every", eval_every, "250", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between validations; 0: only first and last"),
    OPTION_INT64("hellaswag-every", hellaswag_every, "0", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between tests with --hellaswag; 0: only after the last"),
    OPTION_INT64("sample-every", sample_every, "0", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between text samples; 0: none"),
    OPTION_INT("sample-tokens", sample_tokens, "200", 1, INT_MAX, RESUMABLE, .help = "length of a sample"),
    OPTION_TEXT("sample-prompt", sample_prompt, "", RESUMABLE, .help = "beginning of a sample"),
    OPTION_INT64("diagnose", diagnose, "0", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help =
                     "steps between diagnostics: singular values and rows of every matrix's gradient, momentum and "
                     "update, into diagnostics.jsonl; 0: none"),
    OPTION_FLAG("diagnose-spectrum", diagnose_spectrum, "no", RESUMABLE,
                .help = "--diagnose writes every singular value and every row's norm, not only their quantiles"),
    OPTION_INT64("checkpoint-every", checkpoint_every, "1000", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between checkpoints; 0: only at the end and on signals"),
    OPTION_INT("keep", keep, "2", 0, INT_MAX, RESUMABLE, .help = "newest checkpoints to keep; 0: all"),

    OPTION_INT("n-layer", model.n_layer, "12", 1, INT_MAX, .section = "Network", .help = "layers"),
    OPTION_INT("n-head", model.n_head, "12", 1, INT_MAX, .help = "query heads"),
    OPTION_INT("n-kv-head", model.n_kv_head, "0", 0, INT_MAX, .help = "key and value heads; 0: as --n-head"),
    OPTION_INT("d-model", model.d_model, "768", 1, INT_MAX, .help = "width of the residual stream"),
    OPTION_INT("head-dim", model.head_dim, "0", 0, INT_MAX, .help = "width of a head; 0: d-model / n-head"),
    OPTION_INT("d-ff", model.d_ff, "0", 0, INT_MAX, .help = "inner width of the MLP; 0: 4 d-model"),
    OPTION_INT("vocab-size", model.vocab_size, "0", 0, INT_MAX,
               .help = "tokens that exist; 0: those of --vocab, else 50257"),
    OPTION_INT("vocab-padded", model.vocab_padded, "0", 0, INT_MAX,
               .help = "rows of the embedding; 0: vocab-size rounded up to a multiple of 64"),
    OPTION_INT("context", model.context, "0", 0, INT_MAX, .help = "longest sequence the network takes; 0: seq-len"),
    OPTION_ONE_OF("norm", model.norm, "layernorm", norm_words, .help = "kind of all norms"),
    OPTION_NUMBER("norm-eps", model.norm_eps, "1e-5", 0, OPTION_NUMBER_MAX,
                  .help = "inside the root of every norm"),
    OPTION_FLAG("norm-gain", model.norm_gain, "yes", .help = "gains in the norms"),
    OPTION_ONE_OF("norm-bias", norm_bias, "auto", norm_bias_words,
                  .help = "biases in the norms; auto: in layernorm where the linear layers have them"),
    OPTION_FLAG("embed-norm", model.embed_norm, "no", .help = "a norm of the embedding before the first layer"),
    OPTION_ONE_OF("positions", model.positions, "learned", position_words,
                  .help =
                      "a learned table, rotations of queries and keys, of the faster half of their pairs, or none"),
    OPTION_NUMBER("rope-base", model.rope_base, "10000", 0, OPTION_NUMBER_MAX,
                  .help = "the slowest rotation takes about so many positions"),
    OPTION_FLAG("qk-norm", model.qk_norm, "no", .help = "RMSNorm of every query and key head"),
    OPTION_NUMBER("attention-scale", model.attention_scale, "0", 0, OPTION_NUMBER_MAX,
                  .help = "of the scores; 0: 1/sqrt(head-dim)"),
    OPTION_FLAG("depth-scaled-attention", model.depth_scaled_attention, "no",
                .help = "the attention's output is divided by sqrt(2 n-layer)"),
    OPTION_ONE_OF("activation", model.activation, "gelu-tanh", activation_words, .help = "of the MLP"),
    OPTION_ONE_OF("biases", model.biases, "yes", bias_words,
                  .help = "in the linear layers: none, all, or queries, keys and values only"),
    OPTION_FLAG("tied-head", model.tied_head, "yes", .help = "the head's weight is the token embedding"),
    OPTION_FLAG("head-bias", model.head_bias, "no", .help = "a bias for every class"),
    OPTION_FLAG("mask-padding", model.mask_padding, "yes", .help = "padded classes take no part in the softmax"),
    OPTION_NUMBER("softcap", model.softcap, "0", 0, OPTION_NUMBER_MAX,
                  .help = "bound of the logits, reached softly; 0: none"),
    OPTION_ONE_OF("softcap-form", model.softcap_kind, "tanh", softcap_words,
                  .help = "cap tanh(x/cap) or cap x/sqrt(x^2 + cap^2)"),

    OPTION_ONE_OF("init", model.init, "normal", init_words, .section = "Initial weights",
                  .help = "how matrices and embeddings are drawn; fan-in: --init-std is divided by sqrt(columns)"),
    OPTION_NUMBER("init-std", model.init_std, "0.02", 0, OPTION_NUMBER_MAX, .help = "standard deviation"),
    OPTION_NUMBER("embed-init-std", model.embed_init_std, "0", 0, OPTION_NUMBER_MAX,
                  .help = "standard deviation of the embeddings, normal; 0: like the matrices"),
    OPTION_ONE_OF("residual-init", model.residual_init, "scaled", residual_words,
                  .help = "projections into the residual stream: divided by sqrt(2 n-layer), like all, or zero"),
    OPTION_FLAG("zero-head", model.zero_head, "no", .help = "a head of its own starts at zero"),
};

const OptionTable run_options = OPTION_TABLE(specs);
