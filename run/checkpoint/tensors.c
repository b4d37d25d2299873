#include "run/checkpoint/tensors.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

static const double LARGEST_WEIGHT = 1.8e19; // its square is about FLT_MAX

const char *checkpoint_file_name(CheckpointFile file) {
    static const char *const names[CHECKPOINT_FILES] = {"model.safetensors", "optimizer.safetensors"};
    return names[file];
}

static CheckpointTensor param_tensor(const Param *p, Type type, void *arena, const char *what, double limit) {
    int64_t element = (int64_t)type_size(type);
    CheckpointTensor t = {.what = what,
                          .param = p->name,
                          .type = type,
                          .n_dims = p->n_dims,
                          .shape = {p->n_dims == 2 ? p->rows : p->cols, p->n_dims == 2 ? p->cols : 0},
                          .data = (char *)arena + p->offset * element,
                          .bytes = param_elements(p) * element,
                          .limit = limit};
    snprintf(t.name, sizeof t.name, "%s", p->name);
    return t;
}

static CheckpointTensor state_tensor(const StateTensor *s) {
    CheckpointTensor t = {.what = s->spec.name,
                          .param = s->param->name,
                          .type = s->spec.type,
                          .n_dims = 2,
                          .shape = {s->spec.rows, s->spec.cols},
                          .data = s->data,
                          .bytes = s->spec.rows * s->spec.cols * (int64_t)type_size(s->spec.type),
                          .limit = DBL_MAX};
    snprintf(t.name, sizeof t.name, "%s", s->name);
    return t;
}

static CheckpointTensors allocate_list(int n_weights, int n_states, int n_files) {
    CheckpointTensors list = {.items = calloc((size_t)(n_weights + n_states) + 1, sizeof *list.items),
                              .n_files = n_files,
                              .first = {0, n_weights, n_weights + n_states}};
    ASSERT(list.items);
    return list;
}

static void fill_params(CheckpointTensor *items, const Model *m, void *arena, const char *what, double limit) {
    for (int i = 0; i < m->table.n_params; i++)
        items[i] = param_tensor(&m->table.params[i], m->acc_type, arena, what, limit);
}

CheckpointTensors checkpoint_tensors(const Model *model, const Optimizer *optimizer) {
    int n_weights = model->table.n_params, n_states = optimizer ? optimizer_state_count(optimizer) : 0;
    CheckpointTensors list =
        allocate_list(n_weights, n_states, optimizer ? CHECKPOINT_FILES : CHECKPOINT_MODEL + 1);
    fill_params(list.items, model, model->master, "weight", LARGEST_WEIGHT);
    for (int i = 0; i < n_states; i++) {
        StateTensor s = optimizer_state(optimizer, i);
        list.items[n_weights + i] = state_tensor(&s);
    }
    return list;
}

CheckpointTensors checkpoint_gradients(const Model *model) {
    CheckpointTensors list = allocate_list(model->table.n_params, 0, CHECKPOINT_MODEL + 1);
    fill_params(list.items, model, model->grads, "gradient", DBL_MAX);
    return list;
}

void checkpoint_tensors_free(CheckpointTensors *tensors) {
    free(tensors->items);
    *tensors = (CheckpointTensors){0};
}

int checkpoint_tensors_count(const CheckpointTensors *tensors) {
    return tensors->first[CHECKPOINT_FILES];
}
