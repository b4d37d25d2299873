// Row-normalized momentum for embeddings and heads: W_i -= lr M_i / (||M_i|| + eps) (Lau and Su 2026). No polar factor.
#include "optim/polar/pipeline.h"
#include "optim/registry.h"

static const OptimizerOption options[] = {
    POLAR_MOMENTUM_OPTIONS(0.02, "", 0.95, 0, ""),
    POLAR_DECAY_OPTIONS(0, ""),
    {"row-eps", OPTION_REAL, 1e-8, 1e-30, 1, NULL, "added to the norms of the rows"},
    {"center-columns", OPTION_FLAG, 0, 0, 1, NULL,
     "take its mean over the rows from every column, before and after (a head's logits do not see it)"},
};

const OptimizerDef optimizer_rownorm = {
    .name = "rownorm",
    .summary = "momentum with rows of norm 1",
    .reference = "Lau and Su 2026 (arXiv 2605.18106)",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .matrices_only = true,
    .declare_state = polar_declare_state,
    .scratch = polar_step_scratch,
    .step = polar_step,
};
