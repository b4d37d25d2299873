// Muon: the momentum of a matrix, orthogonalized (Jordan et al. 2024, kellerjordan.github.io/posts/muon).
#include "optim/polar_step.h" // defines: polar_step, POLAR_OPTIONS
#include "optim/registry.h"   // defines: optimizer_muon

static const OptimizerOption options[] = {
    POLAR_OPTIONS(0.02, "scale shape 0.02, others 4e-4", 1, "true", SCALE_SHAPE, "shape", 0, "0"),
};

static void resolve(GroupSettings *settings) {
    polar_settings_default_lr(settings);
    polar_settings_resolve(settings);
}

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const GroupSettings *settings,
                         Type acc_type) {
    (void)settings;
    specs[0] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    return 1;
}

static void step(const OptimizerStep *s) {
    polar_step(s, false, 0);
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
    .declare_state = declare_state,
    .scratch_bytes = polar_step_scratch,
    .splits = polar_settings_split,
    .step = step,
};
