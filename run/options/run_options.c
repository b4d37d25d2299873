// The option table of `train`. The help lists sections in this order.
#include "run/options/config.h"

#include "data/loader.h"
#include "run/options/help_texts.h"

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
    OPTION_TEXT("config", config, "", .section = "Run", .value = "FILE", .not_stored = true, .help = HELP_CONFIG),
    OPTION_TEXT("out", out, "", .value = "DIR", .not_stored = true, .help = HELP_OUT_RUN),
    OPTION_TEXT(
        "resume", resume, "", .value = "RUN", PROCESS,
        .help =
            "resume the run in this directory from its newest checkpoint; RUN@STEP: from that of this step, with "
            "--overwrite, which removes the later ones"),
    OPTION_FLAG("overwrite", overwrite, "no", PROCESS, .help = HELP_OVERWRITE_RUN),
    OPTION_FLAG("dry-run", dry_run, "no", PROCESS, .help = HELP_DRY_RUN),
    OPTION_FLAG("json", json, "no", PROCESS, .help = "print the plan of --dry-run as JSON, for scripts"),
    OPTION_FLAG("measure-peak", measure_peak, "yes", PROCESS,
                .help =
                    "measure the peak FLOP/s of this machine, to which mfu (model FLOP/s utilization) is relative, "
                    "and the rate of large GEMMs before the first step; switch it off when profiling"),
    OPTION_FLAG("quiet", quiet, "no", RESUMABLE, .help = "print only validation losses and the final line"),
    OPTION_TEXT("device", device, "auto", .value = "NAME", RESUMABLE, .help = HELP_DEVICE),
    OPTION_ONE_OF(
        "dtype", dtype, "auto", dtype_words, RESUMABLE,
        .help =
            "type of weights and activations in forward and backward passes; auto: bf16 on cuda, f32 on the cpu. "
            "Master weights, gradients and accumulation are always f32"),
    OPTION_INT("threads", threads, "0", 0, INT_MAX, RESUMABLE, .help = HELP_THREADS),
    OPTION_NUMBER("max-time", max_time, "0", 0, OPTION_NUMBER_MAX, RESUMABLE,
                  .help =
                      "stop with a checkpoint and status 75 after this many seconds of this process; 0: no limit"),
    OPTION_INT(
        "ranks", ranks, "0", 0, 4096, .section = "Ranks", RESUMABLE,
        .help =
            "processes that share the run on CPUs; they are started on this host, unless torchrun, mpirun, mpiexec "
            "or srun has started them; each has its share of the cores; 0: as many as started, or 1"),
    OPTION_INT("sum-parts", sum_parts, "0", 0, 65536,
               .help = "parts of a step whose gradients are summed in a fixed order: any number of ranks up to it "
                       "gives the same bits; divides the micro-batches of a step; 0: as many as ranks"),
    OPTION_TEXT("rendezvous", rendezvous, "", .value = "HOST:PORT", PROCESS, .help = HELP_RENDEZVOUS),
    OPTION_NUMBER("rendezvous-timeout", rendezvous_timeout, "120", 1, OPTION_NUMBER_MAX, PROCESS,
                  .help = HELP_RENDEZVOUS_TIMEOUT),

    OPTION_TEXT("train-data", train_data, "", .section = "Data", .value = "FILES", RESUMABLE,
                .help = "token shards: a file or quoted patterns with commas between, 'DIR/x_train_*.bin'"),
    OPTION_TEXT("val-data", val_data, "", .value = "FILES", RESUMABLE,
                .help = "token shards for validation; none: no validation"),
    OPTION_TEXT("hellaswag", hellaswag, "", .value = "FILE", RESUMABLE,
                .help =
                    "evaluate HellaSwag accuracy on this file (train eval --help says where to get it); none: off"),
    OPTION_TEXT("vocab", vocab, "none", .value = "NAME", RESUMABLE,
                .help = "vocabulary: none, bytes (257 tokens), or a .tiktoken file"),
    OPTION_ONE_OF("shard-tail", shard_tail, "join", shard_tail_words,
                  .help = "join: the shards form one endless stream; drop: each shard's last partial batch is "
                          "dropped, one epoch"),
    OPTION_FLAG("align-documents", align_documents, "no",
                .help = "begin every training sequence at a document and skip the rest of the one before"),
    OPTION_INT("document-token", document_token, "-1", -1, INT_MAX,
               .help = "token that begins every document; -1: that of --vocab, else GPT-2's 50256"),
    OPTION_INT64("val-tokens", val_tokens, "10485760", 1, OPTION_INT64_MAX,
                 .help = "tokens per validation; a smaller dataset is used completely"),

    OPTION_INT64("steps", steps, "1000", 1, OPTION_INT64_MAX, .section = "Training", RESUMABLE,
                 .help =
                     HELP_STEPS "; --resume may add to them where the schedule of the steps done stays the same"),
    OPTION_INT("batch-size", batch_size, "8", 1, INT_MAX, .help = "sequences per optimizer step"),
    OPTION_INT(
        "micro-batch", micro_batch, "0", 0, INT_MAX,
        .help = "sequences per forward and backward pass, a divisor of --batch-size; 0: as many as fit 4096 tokens "
                "(1024 if d-ff <= 512; on a GPU 65536 or what its memory allows)"),
    OPTION_INT("seq-len", seq_len, "1024", 1, INT_MAX, .help = "tokens per sequence"),
    OPTION_ONE_OF(
        "recompute", recompute, "none", recompute_words, RESUMABLE,
        .help = "recompute norms and activations, or whole layers, in the backward pass: less memory, same bits"),
    OPTION_NUMBER("clip", clip, "1", 0, OPTION_NUMBER_MAX, .help = HELP_CLIP),
    OPTION_TEXT(
        "init-from", init_from, "", .value = "DIR",
        .help = "initialize from the weights of a run or a Hugging Face directory, which sets the model options"),
    OPTION_INT64("seed", seed, "1", 0, OPTION_INT64_MAX, .help = "seed of the initial weights and of samples"),
    OPTION_NUMBER("target-loss", target_loss, "0", 0, OPTION_NUMBER_MAX, RESUMABLE,
                  .help = "stop when the validation loss reaches this value; 0: off"),
    OPTION_ONE_OF("on-bad-step", on_bad_step, "stop", on_bad_step_words, RESUMABLE,
                  .help = "if a loss or gradient is not finite or too large: stop the run, or skip the step"),
    OPTION_NUMBER("loss-jump", loss_jump, "3", 0, OPTION_NUMBER_MAX, RESUMABLE,
                  .help = "a loss this far above its moving average is too large; 0: off"),
    OPTION_INT("max-skips", max_skips, "10", 1, INT_MAX, RESUMABLE,
               .help = "stop after this many bad steps in a row"),

    OPTION_INT64("log-every", log_every, "10", 1, OPTION_INT64_MAX, .section = "Logging and checkpoints", RESUMABLE,
                 .help = "steps between lines in the log and in metrics.jsonl"),
    OPTION_INT64("eval-every", eval_every, "250", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between validations; 0: only before the first and after the last step"),
    OPTION_INT64("hellaswag-every", hellaswag_every, "0", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between HellaSwag evaluations; 0: only after the last step"),
    OPTION_INT64("sample-every", sample_every, "0", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between text samples; 0: off"),
    OPTION_INT("sample-tokens", sample_tokens, "200", 1, INT_MAX, RESUMABLE, .help = "tokens per sample"),
    OPTION_TEXT("sample-prompt", sample_prompt, "", RESUMABLE, .help = "prompt of the samples"),
    OPTION_INT64("diagnose", diagnose, "0", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between diagnostics: singular values and row norms of the gradient, momentum and "
                         "update of every "
                         "matrix, written to diagnostics.jsonl; 0: off"),
    OPTION_FLAG("diagnose-spectrum", diagnose_spectrum, "no", RESUMABLE,
                .help = "write all singular values and row norms with --diagnose, not only their quantiles"),
    OPTION_INT64("checkpoint-every", checkpoint_every, "1000", 0, OPTION_INT64_MAX, RESUMABLE,
                 .help = "steps between checkpoints; 0: only at the end and on signals"),
    OPTION_INT("keep", keep, "2", 0, INT_MAX, RESUMABLE, .help = "number of checkpoints to keep; 0: all"),

    OPTION_INT("n-layer", model.n_layer, "12", 1, INT_MAX, .section = "Model", .help = "layers"),
    OPTION_INT("n-head", model.n_head, "12", 1, INT_MAX, .help = "query heads"),
    OPTION_INT("n-kv-head", model.n_kv_head, "0", 0, INT_MAX,
               .help = "key and value heads; 0: as many as --n-head"),
    OPTION_INT("d-model", model.d_model, "768", 1, INT_MAX, .help = "width of the residual stream"),
    OPTION_INT("head-dim", model.head_dim, "0", 0, INT_MAX, .help = "width of a head; 0: d-model / n-head"),
    OPTION_INT("d-ff", model.d_ff, "0", 0, INT_MAX, .help = "inner width of the MLP; 0: 4 d-model"),
    OPTION_INT("vocab-size", model.vocab_size, "0", 0, INT_MAX,
               .help = "number of tokens; 0: that of --vocab, else 50257"),
    OPTION_INT("vocab-padded", model.vocab_padded, "0", 0, INT_MAX,
               .help = "rows of the embedding; 0: vocab-size rounded up to a multiple of 64"),
    OPTION_INT("context", model.context, "0", 0, INT_MAX, .help = "maximum sequence length; 0: seq-len"),
    OPTION_ONE_OF("norm", model.norm, "layernorm", norm_words, .help = "type of all norms"),
    OPTION_NUMBER("norm-eps", model.norm_eps, "1e-5", 0, OPTION_NUMBER_MAX, .help = "epsilon of the norms"),
    OPTION_FLAG("norm-gain", model.norm_gain, "yes", .help = "learned gains in the norms"),
    OPTION_ONE_OF("norm-bias", norm_bias, "auto", norm_bias_words,
                  .help = "biases in the norms; auto: in layernorm if the linear layers have biases"),
    OPTION_FLAG("embed-norm", model.embed_norm, "no", .help = "normalize the embedding before the first layer"),
    OPTION_ONE_OF(
        "positions", model.positions, "learned", position_words,
        .help = "position encoding: learned embedding, RoPE, RoPE on the faster half of the frequencies, or none"),
    OPTION_NUMBER("rope-base", model.rope_base, "10000", 0, OPTION_NUMBER_MAX, .help = "RoPE base (theta)"),
    OPTION_FLAG("qk-norm", model.qk_norm, "no", .help = "RMSNorm of queries and keys per head"),
    OPTION_NUMBER("attention-scale", model.attention_scale, "0", 0, OPTION_NUMBER_MAX,
                  .help = "scale of the attention scores; 0: 1/sqrt(head-dim)"),
    OPTION_FLAG("depth-scaled-attention", model.depth_scaled_attention, "no",
                .help = "divide the attention output by sqrt(2 n-layer)"),
    OPTION_ONE_OF("activation", model.activation, "gelu-tanh", activation_words, .help = "activation of the MLP"),
    OPTION_ONE_OF("biases", model.biases, "yes", bias_words,
                  .help = "biases in the linear layers: none, all, or only in queries, keys and values"),
    OPTION_FLAG("tied-head", model.tied_head, "yes",
                .help = "share the weight of the head with the token embedding"),
    OPTION_FLAG("head-bias", model.head_bias, "no", .help = "bias of the logits"),
    OPTION_FLAG("mask-padding", model.mask_padding, "yes",
                .help = "exclude the vocabulary padding from the softmax"),
    OPTION_NUMBER("softcap", model.softcap, "0", 0, OPTION_NUMBER_MAX,
                  .help = "bound the logits smoothly by this value; 0: off"),
    OPTION_ONE_OF("softcap-form", model.softcap_kind, "tanh", softcap_words,
                  .help = "form of --softcap: cap tanh(x/cap) or cap x/sqrt(x^2 + cap^2)"),

    OPTION_ONE_OF("init", model.init, "normal", init_words, .section = "Initial weights",
                  .help =
                      "distribution of matrices and embeddings; fan-in: --init-std is divided by sqrt(columns)"),
    OPTION_NUMBER("init-std", model.init_std, "0.02", 0, OPTION_NUMBER_MAX, .help = "standard deviation"),
    OPTION_NUMBER("embed-init-std", model.embed_init_std, "0", 0, OPTION_NUMBER_MAX,
                  .help = "standard deviation of the embeddings (normal distribution); 0: as for the matrices"),
    OPTION_ONE_OF(
        "residual-init", model.residual_init, "scaled", residual_words,
        .help = "projections into the residual stream: divided by sqrt(2 n-layer), like all matrices, or zero"),
    OPTION_FLAG("zero-head", model.zero_head, "no", .help = "initialize an untied head with zeros"),
};

const OptionTable run_options = OPTION_TABLE(specs);
