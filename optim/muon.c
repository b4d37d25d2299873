// Muon: orthogonalized momentum (Jordan et al. 2024, kellerjordan.github.io/posts/muon).
#include "optim/polar/pipeline.h"
#include "optim/registry.h"

static const OptionOffer offers[] = {{"lr", "0.02", POLAR_LR_NOTE},
                                     {"momentum", "0.95", NULL},
                                     {"momentum-warmup", NULL, NULL},
                                     {"momentum-start", NULL, NULL},
                                     {"ema", NULL, NULL},
                                     {"nesterov", "yes", NULL},
                                     {"polar", "ns5", NULL},
                                     {"polar-steps", "5", NULL},
                                     {"polar-eps", "1e-7", NULL},
                                     {"split-qkv", "yes", NULL},
                                     {"split-heads", NULL, NULL},
                                     {"scale", "shape", NULL},
                                     {"rms", NULL, NULL},
                                     {"weight-decay", NULL, NULL},
                                     {"decay", NULL, NULL}};

const OptimizerDef optimizer_muon = {
    .name = "muon",
    .summary = "orthogonalized momentum",
    .reference = "Jordan et al. 2024, kellerjordan.github.io/posts/muon",
    .offers = offers,
    .n_offers = sizeof offers / sizeof *offers,
    .resolve = polar_resolve,
    .check = polar_check,
    POLAR_PIPELINE,
};
