#include "optim/routing.h"

#include "optim/ops.h"

enum { STATE_ALIGN = 256 }; // bytes

static int64_t aligned(int64_t bytes) {
    return (bytes + STATE_ALIGN - 1) / STATE_ALIGN * STATE_ALIGN;
}

// Padding rows of the vocabulary have no gradient: views leave them out, and they stay zero.
static MatrixGroup without_padding(MatrixGroup view) {
    int64_t valid = view.first->valid_rows - view.row;
    if (view.rows > valid) view.rows = valid;
    return view;
}

static bool check_group(const Param *param, ParamGroup group, const ParamGroupOptions *options,
                        const Device *device, Error *err) {
    const char *prefix = group_prefix(group);
    if (!options->def)
        return error_set(err, "no optimizer for %s (%s): set --%soptimizer", param->name, role_name(param->role),
                         prefix);
    if (options->def->matrices_only && !param_is_matrix(param))
        return error_set(err, "--%soptimizer %s supports only matrices, but %s is a vector: use adamw or sgd",
                         prefix, options->def->name, param->name);
    if (options->def->check && !options->def->check(options->values.bytes, device, err))
        return error_prefix(err, "optimizer of group %s", group_name(group));
    return true;
}

static void plan_state(OptimizerPlan *plan, KindPlan *kind, const ParamGroupOptions *options, Type acc_type) {
    kind->n_states = options->def->declare_state(kind->specs, kind->whole.first, options->values.bytes, acc_type);
    ASSERT(kind->n_states >= 0 && kind->n_states <= MAX_STATE_TENSORS);
    for (int i = 0; i < kind->n_states; i++) {
        const StateSpec *spec = &kind->specs[i];
        int64_t elements = (spec->rows * spec->cols + PARAM_ALIGN - 1) / PARAM_ALIGN * PARAM_ALIGN;
        kind->state_offset[i] = plan->state_bytes;
        kind->state_stride[i] = elements * (int64_t)type_size(spec->type);
        plan->state_bytes += aligned(kind->whole.count * kind->state_stride[i]);
    }
}

// Bytes of the stream's workspace for the row sums of the gradient norm.
static int64_t sum_scratch(const KindPlan *kind, const Device *device, Type type) {
    const OptimOps *ops = device ? optim_ops(device, type_accumulate(type)) : NULL;
    if (ops == NULL || ops->row_scratch == NULL) return 0;
    return ops->row_scratch(kind->whole.count, kind->whole.rows, kind->whole.cols);
}

static bool plan_kind(OptimizerPlan *plan, const Device *device, const ParamTable *table, ParamKind which,
                      Type type, Error *err) {
    MatrixGroup whole[3];
    if (param_matrix_groups(whole, table, which, SPLIT_NONE) == 0) return true;
    KindPlan *kind = &plan->kinds[plan->n_kinds++];
    *kind = (KindPlan){.group = group_of_role(whole[0].first->role), .whole = without_padding(whole[0])};
    const ParamGroupOptions *options = &plan->groups[kind->group];
    if (!check_group(whole[0].first, kind->group, options, device, err)) return false;

    const OptimizerDef *def = options->def;
    SplitLevel level = def->splits ? def->splits(options->values.bytes) : SPLIT_NONE;
    kind->n_views = param_matrix_groups(kind->views, table, which, level);
    for (int i = 0; i < kind->n_views; i++) kind->views[i] = without_padding(kind->views[i]);
    plan->n_rows += kind->whole.count * kind->whole.rows;
    plan_state(plan, kind, options, type_accumulate(type));
    OptimizerScratch scratch = {0};
    if (def->scratch) scratch = def->scratch(kind->views, kind->n_views, options->values.bytes, device, type);
    if (scratch.own > plan->scratch_bytes) plan->scratch_bytes = scratch.own;
    if (scratch.stream > plan->stream_scratch_bytes) plan->stream_scratch_bytes = scratch.stream;
    int64_t sums = sum_scratch(kind, device, type);
    if (sums > plan->stream_scratch_bytes) plan->stream_scratch_bytes = sums;
    return true;
}

bool optimizer_plan(OptimizerPlan *plan, const Device *device, const ParamTable *table,
                    const ParamGroupOptions groups[GROUP_COUNT], Type type, Error *err) {
    *plan = (OptimizerPlan){0};
    for (int g = 0; g < GROUP_COUNT; g++) {
        plan->groups[g] = groups[g];
        if (groups[g].def && groups[g].def->resolve) groups[g].def->resolve(&plan->groups[g]);
    }
    for (int kind = 0; kind < PARAM_KIND_COUNT; kind++)
        if (!plan_kind(plan, device, table, (ParamKind)kind, type, err)) return false;
    // The row sums of the gradient norm are consumed before the optimizers start, so both share the scratch.
    int64_t sums = plan->n_rows * (int64_t)sizeof(double);
    if (sums > plan->scratch_bytes) plan->scratch_bytes = sums;
    return true;
}
