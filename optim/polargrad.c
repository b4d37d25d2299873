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

enum { QDWH = 12 }; // in the order of POLAR_NAMES; converged (0 steps), and without an eps

static const OptimizerOption options[] = {
    POLAR_MOMENTUM_OPTIONS(1e-3, " (scale rms and max 4e-4, nuclear 1e-3, others 0.02)", 0.5, 0, ""),
    POLAR_FACTOR_OPTIONS(QDWH, 0, 1e-30),
    POLAR_SCALE_OPTIONS(SCALE_NUCLEAR, ""),
    POLAR_DECAY_OPTIONS(0, ""),
    {"polar-first", OPTION_FLAG, 0, 0, 1, NULL,
     "average polar factors of gradients rather than take that of the average"},
    {"nuclear-power", OPTION_REAL, 1, 0, 10, NULL, "power of the nuclear norm, for the scale nuclear"},
    {"center-columns", OPTION_FLAG, 0, 0, 1, NULL,
     "take its mean over the rows from every column first (a head's logits do not see it)"},
    {"row-norms", OPTION_FLAG, 0, 0, 1, NULL, "divide rows by their norms first"},
    {"row-eps", OPTION_REAL, 1e-8, 1e-30, 1, NULL, "added to those norms"},
};

static void resolve(GroupSettings *settings) {
    polar_settings_default_lr(settings);
    polar_settings_resolve(settings);
}

static bool check(const GroupSettings *settings, const Device *device, Error *err) {
    bool none = group_setting(settings, "momentum") == 0 && group_setting(settings, "momentum-warmup") == 0;
    bool polar_first = group_setting(settings, "polar-first") != 0, ema = group_setting(settings, "ema") != 0;
    bool nesterov = group_setting(settings, "nesterov") != 0;
    if (none && (polar_first || !ema || nesterov))
        return error_set(err, "momentum is 0: %s needs one (0.5, for example)",
                         polar_first ? "polar-first"
                         : nesterov  ? "nesterov"
                                     : "no-ema");
    if (polar_first && nesterov)
        return error_set(err, "polar-first averages polar factors and has no nesterov: turn one of the two off");
    return polar_settings_check(settings, device, err);
}

const OptimizerDef optimizer_polargrad = {
    .name = "polargrad",
    .summary = "polar factor of gradient or momentum, times the nuclear norm",
    .reference =
        "Lau, Long and Su 2025, PolarGrad (arXiv 2505.21799). Its published learning rates belong to two steps of "
        "qdwh, an update of about three quarters of the exact one's size; variants: Lau and Su 2026 (2605.18106)",
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
