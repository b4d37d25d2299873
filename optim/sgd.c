// Stochastic gradient descent with momentum (Sutskever et al. 2013), in the form of torch.optim.SGD.
#include "optim/registry.h"
#include "optim/step.h"

typedef struct {
    double lr, momentum, weight_decay;
    bool nesterov;
} SgdOptions;

#define OPTIONS_OF SgdOptions
static const OptionSpec rows[] = {
    OPTION_NUMBER("lr", lr, "0.1", 0, 1e9, .help = "learning rate"),
    OPTION_NUMBER("momentum", momentum, "0.9", 0, 0.999999, .help = "decay of the momentum; 0: no momentum"),
    OPTION_FLAG("nesterov", nesterov, "no", .help = "Nesterov momentum"),
    OPTION_NUMBER("weight-decay", weight_decay, "0", 0, 1e9,
                  .help = "weight decay, added to the gradient; 0 for gains and biases unless "
                          "--vector-weight-decay is given"),
};
static const OptionTable table = OPTION_TABLE(rows);

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options,
                         Type acc_type) {
    if (((const SgdOptions *)options)->momentum == 0) return 0;
    specs[0] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    return 1;
}

static void scalars(StepScalars *scalars, const void *options, int64_t t) {
    const SgdOptions *o = options;
    (void)t;
    *scalars = (StepScalars){.lr = o->lr, .momentum = o->momentum};
}

static void step(const OptimizerStep *s) {
    const SgdOptions *o = s->options;
    for (int i = 0; i < s->n_views; i++) {
        MatrixBatch batch = step_batch(s, &s->views[i], 0, s->views[i].view.count);
        ElementUpdate update = {.batch = &batch, .nesterov = o->nesterov, .weight_decay = o->weight_decay};
        s->ops->sgd_update(s->stream, &update);
    }
}

const OptimizerDef optimizer_sgd = {
    .name = "sgd",
    .summary = "stochastic gradient descent with momentum",
    .reference = "Sutskever et al. 2013, section 2",
    .table = &table,
    .declare_state = declare_state,
    .scalars = scalars,
    .step = step,
};
