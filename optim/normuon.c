// NorMuon: Muon with its rows brought to equal size by a running second moment (Li et al. 2025).
//   paper     Algorithm 1: plain average as momentum, update of root mean square 0.2
//   official  the released code: Nesterov, the Frobenius norm given back after normalization, times
//             sqrt(max(1, rows/cols))
// The paper's ablations, and the public step-count benchmark's second moment of the longer side, are choices here.
#include "optim/polar/pipeline.h"
#include "optim/registry.h"

typedef enum { FORM_PAPER, FORM_OFFICIAL, FORM_COUNT } Form;

static const char *const forms[] = {[FORM_PAPER] = "paper", [FORM_OFFICIAL] = "official", [FORM_COUNT] = NULL};

static const char *const places[] = {"after", "before", NULL}, *const scopes[] = {"all", "tall", NULL};

static const OptimizerOption options[] = {
    POLAR_MOMENTUM_OPTIONS(4e-4, " (scale rms and max 4e-4, nuclear 1e-3, others 0.02)", 0.95, 0,
                           " (paper false, official true)"),
    POLAR_FACTOR_OPTIONS(0, 5, 1e-7),
    POLAR_SCALE_OPTIONS(SCALE_RMS, " (paper rms, official shape)"),
    POLAR_DECAY_OPTIONS(0.1, " (paper 0.1, official 0)"),
    {"form", OPTION_CHOICE, FORM_PAPER, 0, 0, forms, "Algorithm 1 of the paper, or the released code"},
    {"beta2", OPTION_REAL, 0.95, 0, 0.999999, NULL, "decay of the second moment"},
    {"eps", OPTION_REAL, 1e-10, 1e-30, 1, NULL, "added to the root of the second moment"},
    {"second-moment", OPTION_CHOICE, MOMENT_ROW, 0, 0, POLAR_MOMENT_NAMES,
     "what has one: each row (output neuron), each column, whichever of the two are more, each element, nothing"},
    {"normalize", OPTION_CHOICE, 0, 0, 0, places, "by it after or before orthogonalization"},
    {"normalize-only", OPTION_CHOICE, 0, 0, 0, scopes,
     "all matrices, or those with more rows than columns: the others have Muon's update"},
};

static void resolve(GroupSettings *settings) {
    bool official = (int)group_setting(settings, "form") == FORM_OFFICIAL;
    polar_settings_default(settings, "nesterov", official);
    polar_settings_default(settings, "scale", official ? SCALE_SHAPE : SCALE_RMS);
    polar_settings_default(settings, "weight-decay", official ? 0 : 0.1);
    polar_settings_default_lr(settings);
    polar_settings_resolve(settings);
}

static bool check(const GroupSettings *settings, const Device *device, Error *err) {
    if ((int)group_setting(settings, "second-moment") == MOMENT_NONE &&
        (group_setting(settings, "normalize") != 0 || group_setting(settings, "normalize-only") != 0))
        return error_set(err, "second-moment is none: normalize and normalize-only need one (row, for example)");
    return polar_settings_check(settings, device, err);
}

const OptimizerDef optimizer_normuon = {
    .name = "normuon",
    .summary = "momentum, orthogonalized, rows normalized by their second moment",
    .reference = "Li et al. 2025, NorMuon, Algorithm 1",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .matrices_only = true,
    .resolve = resolve,
    .check = check,
    .declare_state = polar_declare_state,
    .scratch = polar_step_scratch,
    .splits = polar_settings_split,
    .waits = polar_settings_wait,
    .step = polar_step,
};
