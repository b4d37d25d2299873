// AdamW: Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), in the form of llm.c.
// Default rate and betas are those of NorMuon's auxiliary Adam, eps and decay those of the GPT-2 reproductions.
#include "optim/registry.h"
#include "optim/step.h"

static const OptimizerOption options[] = {
    {"lr", OPTION_REAL, 3e-4, 0, 1e9, NULL, "learning rate"},
    {"beta1", OPTION_REAL, 0.9, 0, 0.999999, NULL, "decay of the first moment"},
    {"beta2", OPTION_REAL, 0.95, 0, 0.999999, NULL, "decay of the second moment"},
    {"eps", OPTION_REAL, 1e-8, 1e-30, 1, NULL, "added to the root of the corrected second moment"},
    {"weight-decay", OPTION_REAL, 0.1, 0, 1e9, NULL,
     "weight decay; of gains and biases 0, unless --vector-weight-decay is given"},
};

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const GroupSettings *settings,
                         Type acc_type) {
    (void)settings;
    specs[0] = (StateSpec){"moment1", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    specs[1] = (StateSpec){"moment2", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    return 2;
}

static void step(const OptimizerStep *s) {
    double eps = group_setting(s->settings, "eps"), weight_decay = group_setting(s->settings, "weight-decay");
    for (int i = 0; i < s->n_views; i++) {
        MatrixBatch x = step_batch(s, &s->views[i], 0, s->views[i].view.count);
        s->ops->adamw_update(s->stream, &(AdamwUpdate){.batch = &x, .eps = eps, .weight_decay = weight_decay});
    }
}

const OptimizerDef optimizer_adamw = {
    .name = "adamw",
    .summary = "Adam with decoupled weight decay",
    .reference = "Loshchilov and Hutter 2019, Algorithm 2",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .declare_state = declare_state,
    .step = step,
};
