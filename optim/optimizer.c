#include "optim/optimizer.h"

#include "optim/step_scalars.h"
#include "optim/routing.h"
#include "optim/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Optimizer {
    Device *device;
    const OptimOps *ops; // of acc_type
    Type type, acc_type;
    const ParamTable *table;
    OptimizerPlan plan;
    GroupView views[GROUP_COUNT][3 * PARAM_KIND_COUNT];
    int n_views[GROUP_COUNT];
    StateTensor *tensors;
    int n_tensors;
    char *state; // device memory, as are scratch and report
    void *scratch;
    StepReport *report;
    InputRing inputs;
    const OptimizerExchange *exchange; // NULL: no other ranks
};

static char *element_at(const void *base, int64_t index, Type type) {
    return (char *)base + index * (int64_t)type_size(type);
}

MatrixBatch step_batch(const OptimizerStep *step, const GroupView *view, int first, int count) {
    const MatrixGroup *g = &view->view;
    int param = first / g->parts, part = first % g->parts;
    bool is_split = g->parts > 1;
    int left = is_split ? g->parts - part : g->count - first;
    int64_t offset = g->offset + param * g->stride + part * g->rows * g->cols;
    MatrixBatch batch = {.count = count < left ? count : left,
                         .rows = g->rows,
                         .cols = g->cols,
                         .stride = is_split ? g->rows * g->cols : g->stride,
                         .master = element_at(step->master, offset, step->acc_type),
                         .weights = element_at(step->weights, offset, step->type),
                         .weights_type = step->type,
                         .grads = step->grads ? element_at(step->grads, offset, step->acc_type) : NULL,
                         .group = step->group,
                         .inputs = step->inputs,
                         .report = step->report};
    for (int i = 0; i < MAX_STATE_TENSORS; i++) {
        batch.state_stride[i] = is_split ? view->state_part[i] : view->state_stride[i];
        int64_t at = param * view->state_stride[i] + part * view->state_part[i];
        if (view->state[i]) batch.state[i] = element_at(view->state[i], at, view->state_type[i]);
    }
    return batch;
}

bool optimizer_check(const Device *device, const ParamTable *table, const ParamGroupOptions groups[GROUP_COUNT],
                     Error *err) {
    OptimizerPlan plan;
    return optimizer_plan(&plan, device, table, groups, TYPE_F32, err);
}

void optimizer_memory(int64_t *state, int64_t *scratch, const Device *device, const ParamTable *table,
                      const ParamGroupOptions groups[GROUP_COUNT], Type type) {
    OptimizerPlan plan;
    Error err;
    ASSERT(optimizer_plan(&plan, device, table, groups, type, &err));
    *state = plan.state_bytes;
    *scratch = plan.scratch_bytes;
}

int64_t optimizer_stream_scratch(const Device *device, const ParamTable *table,
                                 const ParamGroupOptions groups[GROUP_COUNT], Type type) {
    OptimizerPlan plan;
    Error err;
    ASSERT(optimizer_plan(&plan, device, table, groups, type, &err));
    return plan.stream_scratch_bytes;
}

// Adds the views of a parameter kind with their slices of its state: the same rows as the view, or one row per matrix.
static void add_views(Optimizer *optimizer, const KindPlan *kind) {
    int matrices = 0, first = 0;
    for (int i = 0; i < kind->n_views; i++) matrices += kind->views[i].parts;
    for (int i = 0; i < kind->n_views; first += kind->views[i].parts, i++) {
        GroupView *view = &optimizer->views[kind->group][optimizer->n_views[kind->group]++];
        *view = (GroupView){.view = kind->views[i]};
        for (int j = 0; j < kind->n_states; j++) {
            const StateSpec *spec = &kind->specs[j];
            bool by_row = spec->rows == kind->whole.first->rows;
            ASSERT(by_row || spec->rows == matrices);
            int64_t row = by_row ? view->view.row : first, rows = by_row ? view->view.rows : 1;
            view->state[j] = element_at(optimizer->state + kind->state_offset[j], row * spec->cols, spec->type);
            view->state_stride[j] = kind->state_stride[j] / (int64_t)type_size(spec->type);
            view->state_part[j] = rows * spec->cols;
            view->state_type[j] = spec->type;
        }
    }
}

static const KindPlan *find_kind(const OptimizerPlan *plan, ParamKind which) {
    for (int i = 0; i < plan->n_kinds; i++)
        if (plan->kinds[i].whole.first->kind == which) return &plan->kinds[i];
    ASSERT(!"a parameter kind without a plan");
    return NULL;
}

// Fills o->tensors, in parameter order.
static void list_tensors(Optimizer *optimizer) {
    for (int i = 0; i < optimizer->table->n_params; i++) {
        const Param *param = &optimizer->table->params[i];
        const KindPlan *kind = find_kind(&optimizer->plan, param->kind);
        int layer = param->layer < 0 ? 0 : param->layer;
        for (int j = 0; j < kind->n_states; j++) {
            StateTensor *t = &optimizer->tensors[optimizer->n_tensors++];
            *t = (StateTensor){.param = param,
                               .spec = kind->specs[j],
                               .data = optimizer->state + kind->state_offset[j] + layer * kind->state_stride[j]};
            snprintf(t->name, sizeof t->name, "%s.%s", kind->specs[j].name, param->name);
        }
    }
}

static bool allocate(Optimizer *optimizer) {
    optimizer->tensors =
        calloc((size_t)optimizer->table->n_params * MAX_STATE_TENSORS + 1, sizeof *optimizer->tensors);
    optimizer->state = device_alloc(optimizer->device, (size_t)optimizer->plan.state_bytes);
    optimizer->scratch = device_alloc(optimizer->device, (size_t)optimizer->plan.scratch_bytes);
    optimizer->report = device_alloc(optimizer->device, sizeof *optimizer->report);
    return input_ring_create(&optimizer->inputs, optimizer->device) && optimizer->tensors && optimizer->state &&
           optimizer->scratch && optimizer->report;
}

Optimizer *optimizer_create(Device *device, Type type, const ParamTable *table,
                            const ParamGroupOptions groups[GROUP_COUNT], Error *err) {
    Optimizer *optimizer = calloc(1, sizeof *optimizer);
    if (!optimizer) {
        error_set(err, "out of memory for the optimizer");
        return NULL;
    }
    optimizer->device = device;
    optimizer->type = type;
    optimizer->acc_type = type_accumulate(type);
    optimizer->table = table;
    optimizer->ops = optim_ops(device, optimizer->acc_type);
    bool ok = optim_ops(device, type)
                  ? optimizer_plan(&optimizer->plan, device, table, groups, type, err)
                  : error_set(err, "%s has no optimizer operations for %s", device->name, type_name(type));
    if (ok && !allocate(optimizer))
        ok = error_set(err, "out of memory: the optimizer needs %.1f MiB of state and %.1f MiB of scratch",
                       (double)optimizer->plan.state_bytes / (1 << 20),
                       (double)optimizer->plan.scratch_bytes / (1 << 20));
    if (!ok) {
        optimizer_free(optimizer);
        return NULL;
    }
    for (int i = 0; i < optimizer->plan.n_kinds; i++) add_views(optimizer, &optimizer->plan.kinds[i]);
    list_tensors(optimizer);
    return optimizer;
}

void optimizer_set_exchange(Optimizer *optimizer, const OptimizerExchange *exchange) {
    optimizer->exchange = exchange;
}

void optimizer_free(Optimizer *optimizer) {
    if (!optimizer) return;
    input_ring_free(&optimizer->inputs, optimizer->device);
    device_free(optimizer->device, optimizer->report);
    device_free(optimizer->device, optimizer->scratch);
    device_free(optimizer->device, optimizer->state);
    free(optimizer->tensors);
    free(optimizer);
}

static OptimizerStep group_step(Optimizer *optimizer, Stream *stream, ParamGroup group, void *master, void *weights,
                                const void *grads) {
    return (OptimizerStep){.stream = stream,
                           .ops = optimizer->ops,
                           .type = optimizer->type,
                           .acc_type = optimizer->acc_type,
                           .group = group,
                           .options = optimizer->plan.groups[group].values.bytes,
                           .views = optimizer->views[group],
                           .n_views = optimizer->n_views[group],
                           .master = master,
                           .weights = weights,
                           .grads = grads,
                           .inputs = optimizer->inputs.device,
                           .report = optimizer->report,
                           .scratch = optimizer->scratch,
                           .exchange = optimizer->exchange};
}

static void guard_step(Optimizer *optimizer, Stream *stream, const void *grads, const double *loss) {
    double *sums = optimizer->scratch, *next = sums;
    for (int i = 0; i < optimizer->plan.n_kinds; i++) {
        const MatrixGroup *g = &optimizer->plan.kinds[i].whole;
        RowSumSquares squares = {.sums = next,
                                 .x = element_at(grads, g->offset, optimizer->acc_type),
                                 .stride = g->stride,
                                 .count = g->count,
                                 .rows = g->rows,
                                 .cols = g->cols};
        optimizer->ops->row_sum_squares(stream, &squares);
        next += g->count * g->rows;
    }
    StepGuard guard = {.report = optimizer->report,
                       .inputs = optimizer->inputs.device,
                       .row_sums = sums,
                       .n = optimizer->plan.n_rows,
                       .loss = loss};
    optimizer->ops->step_guard(stream, &guard);
}

void optimizer_begin(Optimizer *optimizer, Stream *stream, int64_t t, int64_t total_steps, double max_grad_norm,
                     double loss_scale, double loss_limit) {
    StepInputs inputs = {.max_grad_norm = max_grad_norm, .loss_scale = loss_scale, .loss_limit = loss_limit};
    step_inputs_fill(&inputs, optimizer->plan.groups, t, total_steps);
    input_ring_push(&optimizer->inputs, stream, &inputs);
}

void optimizer_update(Optimizer *optimizer, Stream *stream, void *master, void *weights, const void *grads,
                      const double *loss) {
    guard_step(optimizer, stream, grads, loss);
    for (int g = 0; g < GROUP_COUNT; g++) {
        if (optimizer->n_views[g] == 0) continue;
        OptimizerStep step = group_step(optimizer, stream, (ParamGroup)g, master, weights, grads);
        optimizer->plan.groups[g].def->step(&step);
    }
}

bool optimizer_needs_host_sync(const Optimizer *optimizer) {
    for (int g = 0; g < GROUP_COUNT; g++) {
        const ParamGroupOptions *group = &optimizer->plan.groups[g];
        if (optimizer->n_views[g] > 0 && group->def->needs_host_sync &&
            group->def->needs_host_sync(group->values.bytes))
            return true;
    }
    return false;
}

void optimizer_step(Optimizer *optimizer, Stream *stream, void *master, void *weights, const void *grads,
                    const double *loss, int64_t t, int64_t total_steps, double max_grad_norm, double loss_scale,
                    double loss_limit) {
    optimizer_begin(optimizer, stream, t, total_steps, max_grad_norm, loss_scale, loss_limit);
    optimizer_update(optimizer, stream, master, weights, grads, loss);
}

void optimizer_evaluation_weights(Optimizer *optimizer, Stream *stream, void *master, void *weights, bool enter) {
    for (int g = 0; g < GROUP_COUNT; g++) {
        if (optimizer->n_views[g] == 0 || !optimizer->plan.groups[g].def->evaluation_weights) continue;
        OptimizerStep step = group_step(optimizer, stream, (ParamGroup)g, master, weights, NULL);
        optimizer->plan.groups[g].def->evaluation_weights(&step, enter);
    }
}

StepReport optimizer_report(const Optimizer *optimizer, Stream *stream) {
    StepReport report;
    device_copy(stream, &report, optimizer->report, sizeof report);
    stream_synchronize(stream);
    return report;
}

int optimizer_state_count(const Optimizer *optimizer) {
    return optimizer->n_tensors;
}

StateTensor optimizer_state(const Optimizer *optimizer, int i) {
    ASSERT(i >= 0 && i < optimizer->n_tensors);
    return optimizer->tensors[i];
}

double optimizer_applied(const Optimizer *optimizer, Stream *stream) {
    return optimizer_report(optimizer, stream).applied;
}

void optimizer_set_applied(Optimizer *optimizer, Stream *stream, double applied) {
    device_copy(stream, &optimizer->report->applied, &applied, sizeof applied);
    stream_synchronize(stream);
}

int optimizer_matrix_count(const Optimizer *optimizer) {
    int count = 0;
    for (int i = 0; i < optimizer->plan.n_kinds; i++) {
        const KindPlan *kind = &optimizer->plan.kinds[i];
        if (param_is_matrix(kind->whole.first)) count += kind->n_views * kind->whole.count;
    }
    return count;
}

// The first moment (average or sum of past gradients) of one layer, from row `row` on; NULL: none.
static const void *momentum_of(const Optimizer *optimizer, const KindPlan *kind, int layer, int64_t row) {
    for (int i = 0; i < kind->n_states; i++) {
        const StateSpec *spec = &kind->specs[i];
        if (strcmp(spec->name, "momentum") != 0 && strcmp(spec->name, "moment1") != 0) continue;
        ASSERT(spec->type == optimizer->acc_type && spec->cols == kind->whole.cols);
        return element_at(optimizer->state + kind->state_offset[i] + layer * kind->state_stride[i],
                          row * spec->cols, spec->type);
    }
    return NULL;
}

void optimizer_matrices(OptimizerMatrix *matrices, const Optimizer *optimizer) {
    for (int i = 0; i < optimizer->table->n_params; i++) {
        const Param *param = &optimizer->table->params[i];
        const KindPlan *kind = find_kind(&optimizer->plan, param->kind);
        for (int j = 0; j < kind->n_views && param_is_matrix(param); j++) {
            const MatrixGroup *view = &kind->views[j];
            *matrices++ = (OptimizerMatrix){
                .param = param,
                .group = kind->group,
                .split = kind->n_views > 1 ? param->splits[j].name : "",
                .offset = param->offset + view->row * view->cols,
                .rows = view->rows,
                .cols = view->cols,
                .momentum = momentum_of(optimizer, kind, param->layer < 0 ? 0 : param->layer, view->row)};
        }
    }
}
