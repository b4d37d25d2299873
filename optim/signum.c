// Signum: the sign of the momentum (Bernstein et al. 2018, Algorithm 2), an average as in their analysis; signSGD with
// --momentum 0. Weight decay is decoupled; rate and decay have Lion's defaults.
#include "optim/registry.h"
#include "optim/step.h"

typedef struct {
    double lr, momentum, weight_decay;
} SignumOptions;

#define OPTIONS_OF SignumOptions
static const OptionSpec rows[] = {
    OPTION_NUMBER("lr", lr, "1e-4", 0, 1e9, .help = "learning rate"),
    OPTION_NUMBER("momentum", momentum, "0.9", 0, 0.999999, .help = "decay of the momentum; 0: no momentum"),
    OPTION_NUMBER("weight-decay", weight_decay, "1", 0, 1e9,
                  .help = "weight decay; 0 for gains and biases unless --vector-weight-decay is given"),
};
static const OptionTable table = OPTION_TABLE(rows);

static int declare_state(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options,
                         Type acc_type) {
    if (((const SignumOptions *)options)->momentum == 0) return 0;
    specs[0] = (StateSpec){"momentum", param->rows, param->cols, acc_type, SHARD_AS_PARAM};
    return 1;
}

static void scalars(StepScalars *scalars, const void *options, int64_t t) {
    const SignumOptions *o = options;
    (void)t;
    *scalars = (StepScalars){.lr = o->lr, .momentum = o->momentum};
}

static WeightDecay weight_decay(const void *options) {
    return (WeightDecay){.rate = ((const SignumOptions *)options)->weight_decay};
}

static void step(const OptimizerStep *s) {
    const SignumOptions *o = s->options;
    for (int i = 0; i < s->n_views; i++) {
        MatrixBatch batch = step_batch(s, &s->views[i], 0, s->views[i].view.count);
        s->ops->signum_update(s->stream, &(ElementUpdate){.batch = &batch, .weight_decay = o->weight_decay});
    }
}

const OptimizerDef optimizer_signum = {
    .name = "signum",
    .summary = "sign of the momentum",
    .reference = "Bernstein et al. 2018, arXiv 1802.04434, Algorithm 2",
    .table = &table,
    .declare_state = declare_state,
    .scalars = scalars,
    .weight_decay = weight_decay,
    .step = step,
};
