// Stochastic gradient descent with momentum (Sutskever et al. 2013), in the form of torch.optim.SGD.
#include "optim/registry.h"
#include "optim/step.h"

static const OptimizerOption options[] = {
    {"lr", OPTION_REAL, 0.1, 0, 1e9, NULL, "learning rate"},
    {"momentum", OPTION_REAL, 0.9, 0, 0.999999, NULL, "decay of the momentum; 0: none is kept"},
    {"nesterov", OPTION_FLAG, 0, 0, 1, NULL, "look ahead by one gradient"},
    {"weight-decay", OPTION_REAL, 0, 0, 1e9, NULL,
     "weight decay as part of the gradient; of gains and biases 0, unless --vector-weight-decay is given"},
};

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const GroupSettings *settings,
                         Type acc_type) {
    if (group_setting(settings, "momentum") == 0) return 0;
    specs[0] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    return 1;
}

static void step(const OptimizerStep *s) {
    bool nesterov = group_setting(s->settings, "nesterov") != 0;
    double weight_decay = group_setting(s->settings, "weight-decay");
    for (int i = 0; i < s->n_views; i++) {
        MatrixBatch x = step_batch(s, &s->views[i], 0, s->views[i].view.count);
        SgdUpdate update = {.batch = &x, .nesterov = nesterov, .weight_decay = weight_decay};
        s->ops->sgd_update(s->stream, &update);
    }
}

const OptimizerDef optimizer_sgd = {
    .name = "sgd",
    .summary = "stochastic gradient descent with momentum",
    .reference = "Sutskever et al. 2013, section 2",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .decay_in_gradient = true,
    .declare_state = declare_state,
    .step = step,
};
