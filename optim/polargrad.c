// PolarGrad: polar factor times nuclear norm, steepest descent in the spectral norm (Lau, Long and Su 2025). Its forms,
// with A = U H the polar decomposition:
//   PolarGrad, PolarSGD   A = G, update <A, U> U                                (momentum 0)
//   momentum-first        A = M = b M + (1 - b) G, update <A, U> U              ("PolarMuon" on hidden matrices)
//   heavy-ball            the same with M = b M + G                             (no ema)
//   polar-first           A = G, M = b M + (1 - b) U, update <A, U> M
// The released distributed code loses the momentum of polar-first unless gradients are bf16; this code follows the
// equations. The authors' later variants (Lau and Su 2026) are options of the same pipeline: their "right" polar
// factor M (M^T M)^(-1/2) is U, times <A, U>^alpha, with centered columns for the head; "hybrid" normalizes rows first.
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
        return error_set(err, "momentum is 0, but %s needs one (for example 0.5)",
                         o->polar_first ? "polar-first"
                         : o->nesterov  ? "nesterov"
                                        : "no-ema");
    if (o->polar_first && o->nesterov)
        return error_set(err,
                         "polar-first averages polar factors and does not support nesterov: turn one of them off");
    return polar_check(options, device, err);
}

const OptimizerDef optimizer_polargrad = {
    .name = "polargrad",
    .summary = "polar factor of gradient or momentum times its nuclear norm",
    .reference = "Lau, Long and Su 2025, PolarGrad (arXiv 2505.21799). Its published learning rates assume two "
                 "steps of qdwh, "
                 "whose update is 0.83 times the exact one's size (Gaussian, 500 x 100); variants: Lau and Su 2026 "
                 "(2605.18106)",
    .offers = offers,
    .n_offers = sizeof offers / sizeof *offers,
    .resolve = polar_resolve,
    .check = check,
    POLAR_PIPELINE,
};
