// AdamW: Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), in the form of llm.c.
// Default learning rate and betas are those of NorMuon's auxiliary Adam, eps and decay those of GPT-2 reproductions.
#include "optim/registry.h"
#include "optim/step.h"

typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
} AdamwOptions;

#define OPTIONS_OF AdamwOptions
static const OptionSpec rows[] = {
    OPTION_NUMBER("lr", lr, "3e-4", 0, 1e9, .help = "learning rate"),
    OPTION_NUMBER("beta1", beta1, "0.9", 0, 0.999999, .help = "decay of the first moment"),
    OPTION_NUMBER("beta2", beta2, "0.95", 0, 0.999999, .help = "decay of the second moment"),
    OPTION_NUMBER("eps", eps, "1e-8", 1e-30, 1, .help = "added to the square root of the corrected second moment"),
    OPTION_NUMBER("weight-decay", weight_decay, "0.1", 0, 1e9,
                  .help = "weight decay; 0 for gains and biases unless --vector-weight-decay is given"),
};
static const OptionTable table = OPTION_TABLE(rows);

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options,
                         Type acc_type) {
    (void)options;
    specs[0] = (StateSpec){"moment1", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    specs[1] = (StateSpec){"moment2", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    return 2;
}

static void scalars(StepScalars *scalars, const void *options, int64_t t) {
    const AdamwOptions *o = options;
    (void)t;
    *scalars = (StepScalars){.lr = o->lr, .beta1 = o->beta1, .beta2 = o->beta2};
}

static WeightDecay weight_decay(const void *options) {
    return (WeightDecay){.rate = ((const AdamwOptions *)options)->weight_decay};
}

static void step(const OptimizerStep *s) {
    const AdamwOptions *o = s->options;
    for (int i = 0; i < s->n_views; i++) {
        MatrixBatch batch = step_batch(s, &s->views[i], 0, s->views[i].view.count);
        ElementUpdate update = {.batch = &batch, .eps = o->eps, .weight_decay = o->weight_decay};
        s->ops->adamw_update(s->stream, &update);
    }
}

const OptimizerDef optimizer_adamw = {
    .name = "adamw",
    .summary = "Adam with decoupled weight decay",
    .reference = "Loshchilov and Hutter 2019, Algorithm 2",
    .table = &table,
    .declare_state = declare_state,
    .scalars = scalars,
    .weight_decay = weight_decay,
    .step = step,
};
