// NorMuon: Muon with its rows brought to equal size by a running second moment (Li et al. 2025).
//   paper     Algorithm 1: plain average as momentum, update of root mean square 0.2
//   official  the released code: Nesterov, the Frobenius norm given back after normalization, times
//             sqrt(max(1, rows/cols))
#include "optim/polar_step.h" // defines: polar_step, POLAR_OPTIONS
#include "optim/registry.h"   // defines: optimizer_normuon

typedef enum { FORM_PAPER, FORM_OFFICIAL, FORM_COUNT } Form;

static const char *const forms[] = {[FORM_PAPER] = "paper", [FORM_OFFICIAL] = "official", [FORM_COUNT] = NULL};

static const OptimizerOption options[] = {
    POLAR_OPTIONS(4e-4, "scale shape 0.02, others 4e-4", 0, "paper false, official true", SCALE_RMS,
                  "paper rms, official shape", 0.1, "paper 0.1, official 0"),
    {"form", OPTION_CHOICE, FORM_PAPER, 0, 0, forms, "Algorithm 1 of the paper, or the released code"},
    {"beta2", OPTION_REAL, 0.95, 0, 0.999999, NULL, "decay of the second moment of the rows"},
    {"eps", OPTION_REAL, 1e-10, 1e-30, 1, NULL, "added to the root of the second moment"},
};

static void resolve(GroupSettings *settings) {
    bool official = (int)group_setting(settings, "form") == FORM_OFFICIAL;
    polar_settings_default(settings, "nesterov", official);
    polar_settings_default(settings, "scale", official ? SCALE_SHAPE : SCALE_RMS);
    polar_settings_default(settings, "weight-decay", official ? 0 : 0.1);
    polar_settings_default_lr(settings);
    polar_settings_resolve(settings);
}

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const GroupSettings *settings,
                         Type acc_type) {
    (void)settings;
    specs[0] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    specs[1] = (StateSpec){"row_moment", param->rows, 1, acc_type, SHARD_PER_ROW};
    return 2;
}

static void step(const OptimizerStep *s) {
    polar_step(s, true, group_setting(s->settings, "eps"));
}

const OptimizerDef optimizer_normuon = {
    .name = "normuon",
    .summary = "momentum, orthogonalized, rows normalized by their second moment",
    .reference = "Li et al. 2025, NorMuon, Algorithm 1",
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
