// PolarGrad: the polar factor times the nuclear norm, the steepest descent in the spectral norm (Lau, Long and Su 2025).
// Its forms, with A = U H the polar decomposition:
//   PolarGrad, PolarSGD   A = G, update <A, U> U                                (momentum 0)
//   momentum-first        A = M = b M + (1 - b) G, update <A, U> U              ("PolarMuon" on hidden matrices)
//   heavy-ball            the same with M = b M + G                             (no ema)
//   polar-first           A = G, M = b M + (1 - b) U, update <A, U> M
// The released distributed code loses the momentum of polar-first unless gradients are bf16; the equations are followed
// here. The authors' later variants (Lau and Su 2026) are choices at the same stations: their "right" polar factor
// M (M^T M)^(-1/2) is U, times <A, U>^alpha, with centered columns for the head; "hybrid" normalizes the rows first.
#include "optim/polar/pipeline.h"
#include "optim/registry.h"

static const OptionOffer offers[] = {{"lr", "1e-3", POLAR_LR_NOTE},
                                     {"momentum", "0.5", NULL},
                                     {"momentum-warmup", NULL, NULL},
                                     {"momentum-start", NULL, NULL},
                                     {"ema", NULL, NULL},
                                     {"nesterov", NULL, NULL},
                                     {"polar", "qdwh", NULL},
                                     {"polar-steps", "0", NULL},
                                     {"polar-eps", NULL, NULL},
                                     {"split-qkv", "yes", NULL},
                                     {"split-heads", NULL, NULL},
                                     {"scale", "nuclear", NULL},
                                     {"rms", NULL, NULL},
                                     {"weight-decay", NULL, NULL},
                                     {"decay", NULL, NULL},
                                     {"polar-first", NULL, NULL},
                                     {"nuclear-power", NULL, NULL},
                                     {"center-columns", NULL, NULL},
                                     {"row-norms", NULL, NULL},
                                     {"row-eps", NULL, NULL}};

static bool check(const void *options, const Device *device, Error *err) {
    const PolarOptions *o = options;
    bool none = o->momentum == 0 && o->momentum_warmup == 0;
    if (none && (o->polar_first || !o->ema || o->nesterov))
        return error_set(err, "momentum is 0: %s needs one (0.5, for example)",
                         o->polar_first ? "polar-first"
                         : o->nesterov  ? "nesterov"
                                        : "no-ema");
    if (o->polar_first && o->nesterov)
        return error_set(err, "polar-first averages polar factors and has no nesterov: turn one of the two off");
    return polar_check(options, device, err);
}

const OptimizerDef optimizer_polargrad = {
    .name = "polargrad",
    .summary = "polar factor of gradient or momentum, times the nuclear norm",
    .reference =
        "Lau, Long and Su 2025, PolarGrad (arXiv 2505.21799). Its published learning rates belong to two steps of "
        "qdwh, an update of about three quarters of the exact one's size; variants: Lau and Su 2026 (2605.18106)",
    .offers = offers,
    .n_offers = sizeof offers / sizeof *offers,
    .resolve = polar_resolve,
    .check = check,
    POLAR_PIPELINE,
};
