// NorMuon: Muon with row norms equalized by a running second moment (Li et al. 2025).
//   paper     Algorithm 1: momentum is a plain average, the update has a root mean square of 0.2
//   official  the released code: Nesterov, Frobenius norm restored after normalization, times sqrt(max(1, rows/cols))
// The paper's ablations, and the step-count benchmark's second moment over the longer side, are options.
#include "optim/polar/pipeline.h"
#include "optim/registry.h"

static const OptionOffer offers[] = {{"lr", "4e-4", POLAR_LR_NOTE},
                                     {"momentum", "0.95", NULL},
                                     {"momentum-warmup", NULL, NULL},
                                     {"momentum-start", NULL, NULL},
                                     {"ema", NULL, NULL},
                                     {"nesterov", "no", "paper no, official yes"},
                                     {"polar", "ns5", NULL},
                                     {"polar-steps", "5", NULL},
                                     {"polar-eps", "1e-7", NULL},
                                     {"split-qkv", "yes", NULL},
                                     {"split-heads", NULL, NULL},
                                     {"scale", "rms", "paper rms, official shape"},
                                     {"rms", NULL, NULL},
                                     {"weight-decay", "0.1", "paper 0.1, official 0"},
                                     {"decay", NULL, NULL},
                                     {"form", "paper", NULL},
                                     {"beta2", "0.95", NULL},
                                     {"eps", NULL, NULL},
                                     {"second-moment", "row", NULL},
                                     {"normalize", NULL, NULL},
                                     {"normalize-only", NULL, NULL}};

static void resolve(ParamGroupOptions *group) {
    PolarOptions *o = (void *)group->values.bytes;
    bool official = o->form == FORM_OFFICIAL;
    if (!param_group_given(group, &o->nesterov)) o->nesterov = official;
    if (!param_group_given(group, &o->scale)) o->scale = official ? SCALE_SHAPE : SCALE_RMS;
    if (!param_group_given(group, &o->weight_decay)) o->weight_decay = official ? 0 : 0.1;
    polar_resolve(group);
}

static bool check(const void *options, const Device *device, Error *err) {
    const PolarOptions *o = options;
    if (o->second_moment == MOMENT_NONE &&
        (o->normalize == NORMALIZE_BEFORE || o->normalize_only == NORMALIZE_TALL))
        return error_set(err, "second-moment is none, but normalize and normalize-only need one (for example row)");
    return polar_check(options, device, err);
}

const OptimizerDef optimizer_normuon = {
    .name = "normuon",
    .summary = "orthogonalized momentum, rows normalized by their second moment",
    .reference = "Li et al. 2025, NorMuon, Algorithm 1",
    .offers = offers,
    .n_offers = sizeof offers / sizeof *offers,
    .resolve = resolve,
    .check = check,
    POLAR_PIPELINE,
};
