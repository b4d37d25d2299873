// Lion: the sign of an interpolation between momentum and gradient (Chen et al. 2023, Algorithm 2). Its updates are
// larger than Adam's: the paper's learning rates are 3 to 10 times smaller than AdamW's, its decays as much larger.
#include "optim/registry.h"
#include "optim/step.h"

typedef struct {
    double lr, beta1, beta2, weight_decay;
} LionOptions;

#define OPTIONS_OF LionOptions
static const OptionSpec rows[] = {
    OPTION_NUMBER("lr", lr, "1e-4", 0, 1e9, .help = "learning rate"),
    OPTION_NUMBER("beta1", beta1, "0.9", 0, 0.999999, .help = "weight of the momentum in the update"),
    OPTION_NUMBER("beta2", beta2, "0.99", 0, 0.999999, .help = "decay of the momentum"),
    OPTION_NUMBER("weight-decay", weight_decay, "1", 0, 1e9,
                  .help = "weight decay; 0 for gains and biases unless --vector-weight-decay is given"),
};
static const OptionTable table = OPTION_TABLE(rows);

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options,
                         Type acc_type) {
    (void)options;
    specs[0] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    return 1;
}

static void scalars(StepScalars *scalars, const void *options, int64_t t) {
    const LionOptions *o = options;
    (void)t;
    *scalars = (StepScalars){.lr = o->lr, .beta1 = o->beta1, .beta2 = o->beta2};
}

static WeightDecay weight_decay(const void *options) {
    return (WeightDecay){.rate = ((const LionOptions *)options)->weight_decay};
}

static void step(const OptimizerStep *s) {
    const LionOptions *o = s->options;
    for (int i = 0; i < s->n_views; i++) {
        MatrixBatch batch = step_batch(s, &s->views[i], 0, s->views[i].view.count);
        s->ops->lion_update(s->stream, &(ElementUpdate){.batch = &batch, .weight_decay = o->weight_decay});
    }
}

const OptimizerDef optimizer_lion = {
    .name = "lion",
    .summary = "sign of an average of momentum and gradient",
    .reference = "Chen et al. 2023, arXiv 2302.06675, Algorithm 2",
    .table = &table,
    .declare_state = declare_state,
    .scalars = scalars,
    .weight_decay = weight_decay,
    .step = step,
};
