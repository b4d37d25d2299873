// Row-normalized momentum for embeddings and heads, without a polar factor: W_i -= lr M_i / (||M_i|| + eps) (Lau and
// Su 2026).
#include "optim/polar/pipeline.h"
#include "optim/registry.h"

static const OptionOffer offers[] = {
    {"lr", "0.02", NULL},           {"momentum", "0.95", NULL}, {"momentum-warmup", NULL, NULL},
    {"momentum-start", NULL, NULL}, {"ema", NULL, NULL},        {"nesterov", NULL, NULL},
    {"weight-decay", NULL, NULL},   {"decay", NULL, NULL},      {"row-eps", NULL, NULL},
    {"center-columns", NULL, NULL}};

static void resolve(ParamGroupOptions *group) {
    PolarOptions *o = (void *)group->values.bytes;
    o->row_norms = true;
}

const OptimizerDef optimizer_rownorm = {
    .name = "rownorm",
    .summary = "row-normalized momentum",
    .reference = "Lau and Su 2026 (arXiv 2605.18106)",
    .offers = offers,
    .n_offers = sizeof offers / sizeof *offers,
    .resolve = resolve,
    POLAR_PIPELINE,
};
