// Muon: the momentum of a matrix, orthogonalized (Jordan et al. 2024, kellerjordan.github.io/posts/muon).
#include "optim/polar/pipeline.h"
#include "optim/registry.h"

static const OptimizerOption options[] = {
    POLAR_MOMENTUM_OPTIONS(0.02, " (scale rms and max 4e-4, nuclear 1e-3, others 0.02)", 0.95, 1, ""),
    POLAR_FACTOR_OPTIONS(0, 5, 1e-7),
    POLAR_SCALE_OPTIONS(SCALE_SHAPE, ""),
    POLAR_DECAY_OPTIONS(0, ""),
};

static void resolve(GroupSettings *settings) {
    polar_settings_default_lr(settings);
    polar_settings_resolve(settings);
}

const OptimizerDef optimizer_muon = {
    .name = "muon",
    .summary = "momentum, orthogonalized",
    .reference = "Jordan et al. 2024, kellerjordan.github.io/posts/muon",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .matrices_only = true,
    .resolve = resolve,
    .check = polar_settings_check,
    .declare_state = polar_declare_state,
    .scratch = polar_step_scratch,
    .splits = polar_settings_split,
    .waits = polar_settings_wait,
    .step = polar_step,
};
