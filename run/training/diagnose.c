#include "run/training/diagnose.h"

#include "run/training/diagnose_stats.h"
#include "base/metrics.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 1 << 16 }; // elements copied from the device at a time

struct Diagnose {
    const Model *model;
    const ParamGroupOptions *groups;
    bool spectrum;
    OptimizerMatrix *matrices;
    int n_matrices;
    float *before; // (elements) host: the weights before the step
    double *x;     // (rows, cols) host: the current matrix; sized for the largest
    float piece[CHUNK];
    MatrixStats stats;
    Metrics records;
};

static int64_t largest_matrix(int64_t *rows, int64_t *cols, const ParamTable *table) {
    int64_t most = 0;
    *rows = *cols = 0;
    for (int i = 0; i < table->n_params; i++) {
        const Param *p = &table->params[i];
        if (!param_is_matrix(p)) continue;
        if (p->valid_rows * p->cols > most) most = p->valid_rows * p->cols;
        if (p->valid_rows > *rows) *rows = p->valid_rows;
        if (p->cols > *cols) *cols = p->cols;
    }
    return most;
}

int64_t diagnose_memory(const ParamTable *table) {
    int64_t rows, cols, most = largest_matrix(&rows, &cols, table);
    return table->elements * (int64_t)sizeof(float) + 2 * most * (int64_t)sizeof(double);
}

Diagnose *diagnose_create(const Model *model, const Optimizer *optimizer,
                          const ParamGroupOptions groups[GROUP_COUNT], bool spectrum, Error *err) {
    ASSERT(model->acc_type == TYPE_F32);
    Diagnose *d = calloc(1, sizeof *d);
    ASSERT(d);
    int64_t rows, cols, most = largest_matrix(&rows, &cols, &model->table);
    d->model = model;
    d->groups = groups;
    d->spectrum = spectrum;
    d->records.fd = -1;
    d->n_matrices = optimizer_matrix_count(optimizer);
    d->matrices = malloc(((size_t)d->n_matrices + 1) * sizeof *d->matrices);
    d->before = malloc((size_t)model->table.elements * sizeof *d->before);
    d->x = malloc((size_t)most * sizeof *d->x);
    bool ok = matrix_stats_create(&d->stats, model->device, most, rows, cols);
    if (!ok || !d->matrices || !d->before || !d->x) {
        error_set(err, "out of memory: --diagnose needs %.1f MiB",
                  (double)diagnose_memory(&model->table) / (1 << 20));
        diagnose_free(d);
        return NULL;
    }
    optimizer_matrices(d->matrices, optimizer);
    return d;
}

void diagnose_free(Diagnose *d) {
    metrics_close(&d->records);
    matrix_stats_free(&d->stats, d->model->device);
    free(d->matrices);
    free(d->before);
    free(d->x);
    free(d);
}

bool diagnose_open(Diagnose *d, const char *run, int64_t step, bool reported, Error *err) {
    return metrics_open(&d->records, run, "diagnostics.jsonl", step, reported, err);
}

bool diagnose_sync(Diagnose *d, Error *err) {
    return metrics_sync(&d->records, err);
}

void diagnose_before(Diagnose *d, Stream *stream) {
    device_copy(stream, d->before, d->model->master, (size_t)d->model->table.elements * sizeof *d->before);
    stream_synchronize(stream);
}

// Copies n floats from device memory to x in double.
static void read_matrix(Diagnose *d, Stream *stream, const void *from, int64_t n) {
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t count = n - at < CHUNK ? n - at : CHUNK;
        device_copy(stream, d->piece, (const float *)from + at, (size_t)count * sizeof *d->piece);
        stream_synchronize(stream);
        for (int64_t i = 0; i < count; i++) d->x[at + i] = (double)d->piece[i];
    }
}

// Replaces x (n), the weights after the step, by the update U from the weights w before it. With cautious decay, U
// and W have the same sign exactly where U + rate W and W do.
static void update_from_weights(double *x, const float *w, int64_t n, double lr, WeightDecay decay) {
    for (int64_t i = 0; i < n; i++) {
        double weight = (double)w[i], change = (weight - x[i]) / lr;
        bool decayed = !decay.cautious || change * weight >= 0;
        x[i] = change - (decayed ? decay.rate * weight : 0);
    }
}

static void write_names(JsonWriter *w, const Diagnose *d, const OptimizerMatrix *m, double lr) {
    char name[128];
    snprintf(name, sizeof name, "%s%s%s", m->param->name, m->split[0] ? "." : "", m->split);
    json_string(w, "matrix", name);
    json_string(w, "role", role_name(m->param->role));
    json_int(w, "layer", m->param->layer);
    json_int(w, "rows", m->rows);
    json_int(w, "cols", m->cols);
    json_string(w, "optimizer", d->groups[m->group].def->name);
    json_double(w, "lr", lr);
}

static bool record_matrix(Diagnose *d, Stream *stream, const OptimizerMatrix *m, double lr, int64_t step,
                          int64_t tokens, Error *err) {
    int64_t n = m->rows * m->cols;
    const float *weight = d->before + m->offset;
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    json_string(&w, "kind", "matrix");
    json_int(&w, "step", step);
    json_int(&w, "tokens", tokens);
    write_names(&w, d, m, lr);

    read_matrix(d, stream, (const float *)d->model->grads + m->offset, n);
    matrix_stats_write(&w, "gradient", &d->stats, stream, d->x, weight, m->rows, m->cols, d->spectrum);
    if (m->momentum) {
        read_matrix(d, stream, m->momentum, n);
        matrix_stats_write(&w, "momentum", &d->stats, stream, d->x, weight, m->rows, m->cols, d->spectrum);
    }
    if (lr > 0) {
        read_matrix(d, stream, (const float *)d->model->master + m->offset, n);
        update_from_weights(d->x, weight, n, lr, param_group_weight_decay(&d->groups[m->group]));
        matrix_stats_write(&w, "update", &d->stats, stream, d->x, weight, m->rows, m->cols, d->spectrum);
    }
    json_end_object(&w);
    return metrics_write(&d->records, &w, err);
}

bool diagnose_after(Diagnose *d, Stream *stream, const double lr[GROUP_COUNT], int64_t step, int64_t tokens,
                    Error *err) {
    for (int i = 0; i < d->n_matrices; i++) {
        const OptimizerMatrix *m = &d->matrices[i];
        if (!record_matrix(d, stream, m, lr[m->group], step, tokens, err)) return false;
    }
    return true;
}
