// The options of the polar family: their table, their checks and what follows from them.
#include "optim/polar/pipeline.h"

static const OptionChoice SCALES[] = {
    {"shape", SCALE_SHAPE},         {"rms", SCALE_RMS},         {"max", SCALE_MAX}, {"spectral", SCALE_SPECTRAL},
    {"frobenius", SCALE_FROBENIUS}, {"nuclear", SCALE_NUCLEAR}, {NULL, 0}};
static const OptionChoice DECAYS[] = {{"decoupled", DECAY_DECOUPLED}, {"cautious", DECAY_CAUTIOUS}, {NULL, 0}};
static const OptionChoice MOMENTS[] = {{"row", MOMENT_ROW},       {"column", MOMENT_COLUMN},
                                       {"longer", MOMENT_LONGER}, {"element", MOMENT_ELEMENT},
                                       {"none", MOMENT_NONE},     {NULL, 0}};
static const OptionChoice WHEN[] = {{"after", NORMALIZE_AFTER}, {"before", NORMALIZE_BEFORE}, {NULL, 0}};
static const OptionChoice ONLY[] = {{"all", NORMALIZE_ALL}, {"tall", NORMALIZE_TALL}, {NULL, 0}};
static const OptionChoice FORMS[] = {{"paper", FORM_PAPER}, {"official", FORM_OFFICIAL}, {NULL, 0}};

#define OPTIONS_OF PolarOptions
static const OptionSpec option_rows[] = {
    OPTION_NUMBER("lr", lr, "0.02", 0, 1e9, .help = "learning rate"),
    OPTION_NUMBER("momentum", momentum, "0.95", 0, 0.999999, .help = "decay of the momentum; 0: no momentum"),
    OPTION_INT64("momentum-warmup", momentum_warmup, "0", 0, 1e15, .help = "warm-up steps of the momentum"),
    OPTION_NUMBER("momentum-start", momentum_start, "0.85", 0, 0.999999,
                  .help = "momentum at the start of its warm-up"),
    OPTION_FLAG("ema", ema, "yes",
                .help = "momentum M = b M + (1 - b) G, an average of the gradients G, rather than b M + G, a sum"),
    OPTION_FLAG("nesterov", nesterov, "no", .help = "Nesterov momentum"),
    {.name = "polar",
     .kind = KIND_ENTRY_OF,
     .offset = offsetof(PolarOptions, polar),
     .entries = POLAR_METHODS,
     .entry_size = sizeof *POLAR_METHODS,
     .help = "method for the polar factor; docs/optimizers.md describes them"},
    OPTION_INT("polar-steps", polar_steps, "0", 0, 100,
               .help = "steps of the method (default: by method); 0: until convergence"),
    OPTION_NUMBER("polar-eps", polar_eps, "1e-30", 1e-30, 1,
                  .help = "added to the Frobenius norm before the division by it (default: by method)"),
    OPTION_FLAG("split-qkv", split_qkv, "no",
                .help = "treat the rows of query, key and value as separate matrices"),
    OPTION_FLAG("split-heads", split_heads, "no", .help = "treat the rows of each head as separate matrices"),
    OPTION_FLAG("polar-first", polar_first, "no",
                .help = "momentum of the polar factors of gradients, not polar factor of the momentum"),
    OPTION_FLAG("center-columns", center_columns, "no",
                .help =
                    "subtract from every column its mean over the rows, first and again after row-norms (does not "
                    "change a head's softmax)"),
    OPTION_FLAG("row-norms", row_norms, "no", .help = "divide rows by their norms before the polar factor"),
    OPTION_NUMBER("row-eps", row_eps, "1e-8", 1e-30, 1, .help = "added to the norms of the rows"),
    OPTION_ONE_OF("form", form, "paper", FORMS, .help = "Algorithm 1 of the paper, or the released code"),
    OPTION_NUMBER("beta2", beta2, "0", 0, 0.999999, .help = "decay of the second moment"),
    OPTION_NUMBER("eps", eps, "1e-10", 1e-30, 1, .help = "added to the square root of the second moment"),
    OPTION_ONE_OF("second-moment", second_moment, "none", MOMENTS,
                  .help = "one per row (output neuron), per column, per row or column of the longer side, per "
                          "element, or none"),
    OPTION_ONE_OF("normalize", normalize, "after", WHEN,
                  .help = "normalize by the second moment after or before orthogonalization"),
    OPTION_ONE_OF("normalize-only", normalize_only, "all", ONLY,
                  .help = "normalize all matrices, or only those with more rows than columns"),
    OPTION_ONE_OF("scale", scale, "frobenius", SCALES,
                  .help = "size of the update: the polar factor times sqrt(max(1, rows/cols)) (shape), scaled to a "
                          "root mean square of --rms (rms), times --rms sqrt(max(rows, cols)) (max), "
                          "sqrt(rows/cols) (spectral), 1 (frobenius), or the nuclear norm (nuclear)"),
    OPTION_NUMBER("rms", rms, "0.2", 0, 1e9,
                  .help = "root mean square of the update at lr 1, with scale rms or max"),
    OPTION_NUMBER("nuclear-power", nuclear_power, "1", 0, 10,
                  .help = "exponent of the nuclear norm, with scale nuclear"),
    OPTION_NUMBER("weight-decay", weight_decay, "0", 0, 1e9, .help = "weight decay"),
    OPTION_ONE_OF("decay", decay, "decoupled", DECAYS,
                  .help = "decay all elements, or only those with the sign of their update"),
};
const OptionTable polar_options = OPTION_TABLE(option_rows);

void polar_resolve(ParamGroupOptions *group) {
    PolarOptions *o = (void *)group->values.bytes;
    bool adam = o->scale == SCALE_RMS || o->scale == SCALE_MAX;
    if (!param_group_given(group, &o->lr)) o->lr = adam ? 4e-4 : o->scale == SCALE_NUCLEAR ? 1e-3 : 0.02;
    if (!param_group_given(group, &o->polar_steps)) o->polar_steps = o->polar->default_steps;
    if (!param_group_given(group, &o->polar_eps)) o->polar_eps = o->polar->norm_eps;
}

bool polar_check(const void *options, const Device *device, Error *err) {
    const PolarOptions *o = options;
    int max = polar_max_steps(o->polar);
    if (o->polar_steps > max)
        return error_set(
            err,
            "polar-steps is %d, but %s supports at most %d steps: use fewer, or a method without a limit "
            "(ns5, polar-express, simple)",
            o->polar_steps, o->polar->name, max);
    if (o->polar_steps == 0 && !o->polar->converges)
        return error_set(err, "polar-steps is 0, but %s has no convergence test: give a number of steps",
                         o->polar->name);
    if (o->split_heads && !o->split_qkv)
        return error_set(err, "split-heads needs split-qkv: turn split-heads off or split-qkv on");
    if (o->polar->solves && device && !device_can_solve(device, err))
        return error_prefix(err, "polar %s", o->polar->name);
    return true;
}

SplitLevel polar_splits(const void *options) {
    const PolarOptions *o = options;
    return !o->split_qkv ? SPLIT_NONE : o->split_heads ? SPLIT_HEADS : SPLIT_ROWS;
}

bool polar_needs_host_sync(const void *options) {
    const PolarOptions *o = options;
    return o->polar && o->polar->needs_host_sync;
}

// The momentum is warmed up linearly from momentum-start over momentum-warmup steps (modded-nanogpt).
void polar_scalars(StepScalars *scalars, const void *options, int64_t t) {
    const PolarOptions *o = options;
    *scalars = (StepScalars){.lr = o->lr, .momentum = o->momentum, .beta2 = o->beta2};
    if (t >= o->momentum_warmup) return;
    double done = (double)t / (double)o->momentum_warmup;
    scalars->momentum = (1 - done) * o->momentum_start + done * o->momentum;
}

WeightDecay polar_weight_decay(const void *options) {
    const PolarOptions *o = options;
    return (WeightDecay){.rate = o->weight_decay, .cautious = o->decay == DECAY_CAUTIOUS};
}
