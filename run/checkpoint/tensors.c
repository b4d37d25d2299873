#include "run/checkpoint/tensors.h"

#include "base/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE_BYTES = 1 << 22 };

const char *tensors_file_name(TensorsFile file) {
    return file == TENSORS_MODEL ? "model.safetensors" : "optimizer.safetensors";
}

static int tensor_count(TensorsFile file, const CheckpointParts *parts) {
    return file == TENSORS_MODEL ? parts->model->table.n_params : optimizer_state_count(parts->optimizer);
}

static void describe(SafeTensor *t, TensorsFile file, const CheckpointParts *parts, int i) {
    *t = (SafeTensor){0};
    if (file == TENSORS_MODEL) {
        const Param *p = &parts->model->table.params[i];
        snprintf(t->name, sizeof t->name, "%s", p->name);
        t->type = parts->model->acc_type;
        t->n_dims = p->n_dims;
        t->shape[0] = p->n_dims == 2 ? p->rows : p->cols;
        t->shape[1] = p->n_dims == 2 ? p->cols : 0;
        t->elements = param_elements(p);
    } else {
        StateTensor s = optimizer_state(parts->optimizer, i);
        snprintf(t->name, sizeof t->name, "%s", s.name);
        t->type = s.spec.type;
        t->n_dims = 2;
        t->shape[0] = s.spec.rows;
        t->shape[1] = s.spec.cols;
        t->elements = s.spec.rows * s.spec.cols;
    }
}

static SafeTensor *describe_all(int *n, TensorsFile file, const CheckpointParts *parts) {
    *n = tensor_count(file, parts);
    SafeTensor *tensors = malloc(((size_t)*n + 1) * sizeof *tensors);
    ASSERT(tensors);
    for (int i = 0; i < *n; i++) describe(&tensors[i], file, parts, i);
    return tensors;
}

// Where a tensor stands: in the copy, or in device memory.
static const char *data_of(TensorsFile file, const CheckpointParts *parts, int i) {
    const HostCopy *copy = parts->copy;
    if (file == TENSORS_OPTIMIZER) {
        const char *arena = optimizer_state_arena(parts->optimizer),
                   *data = optimizer_state(parts->optimizer, i).data;
        return copy ? copy->state + (data - arena) : data;
    }
    const Model *m = parts->model;
    const char *arena = copy ? copy->weights : m->master;
    return arena + m->table.params[i].offset * (int64_t)type_size(m->acc_type);
}

// A piece at a time: room for the largest tensor, an embedding, would be more than the run's memory plan has.
static bool write_tensor(SafetensorsWriter *w, void *piece, const char *data, int64_t bytes,
                         const CheckpointParts *parts, Error *err) {
    bool ok = true;
    for (int64_t at = 0; at < bytes && ok; at += PIECE_BYTES) {
        int64_t n = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        if (!parts->copy) {
            device_copy(parts->stream, piece, data + at, (size_t)n);
            stream_synchronize(parts->stream);
        }
        ok = safetensors_write_data(w, parts->copy ? data + at : piece, n, err);
    }
    return ok;
}

static void to_device(const void *host, size_t bytes, TensorsFile file, const CheckpointParts *parts, int i) {
    if (file == TENSORS_MODEL) {
        model_set_param(parts->model, parts->stream, &parts->model->table.params[i], host);
    } else {
        device_copy(parts->stream, optimizer_state(parts->optimizer, i).data, host, bytes);
        stream_synchronize(parts->stream);
    }
}

bool tensors_write(int64_t *size, uint32_t *crc, const char *path, TensorsFile file, const CheckpointParts *parts,
                   Error *err) {
    int n;
    SafeTensor *tensors = describe_all(&n, file, parts);
    void *piece = malloc(PIECE_BYTES);
    SafetensorsWriter w;
    bool ok = piece || error_set(err, "out of memory to write %s", path);
    ok = ok && safetensors_write_begin(&w, path, tensors, n, err);
    for (int i = 0; i < n && ok; i++)
        ok = write_tensor(&w, piece, data_of(file, parts, i),
                          tensors[i].elements * (int64_t)type_size(tensors[i].type), parts, err);
    ok = ok && safetensors_write_finish(&w, crc, err);
    free(piece);
    free(tensors);
    if (!ok) return false;
    struct stat st;
    if (stat(path, &st) != 0) return error_set(err, "cannot find %s, which was just written", path);
    *size = st.st_size;
    return true;
}

static void shape_text(char text[64], const SafeTensor *t) {
    int used = snprintf(text, 64, "%s (", type_name(t->type));
    for (int d = 0; d < t->n_dims && used < 60; d++)
        used += snprintf(text + used, 64 - (size_t)used, "%s%" PRId64, d ? ", " : "", t->shape[d]);
    if (used < 63) snprintf(text + used, 64 - (size_t)used, ")");
}

static bool check_tensor(const Safetensors *in, const SafeTensor *want, const char *path, Error *err) {
    const SafeTensor *have = safetensors_find(in, want->name);
    if (!have) return error_set(err, "%s has no tensor %s, which this run needs", path, want->name);
    bool same = have->type == want->type && have->n_dims == want->n_dims;
    for (int d = 0; same && d < want->n_dims; d++) same = have->shape[d] == want->shape[d];
    if (same) return true;
    char a[64], b[64];
    shape_text(a, have);
    shape_text(b, want);
    return error_set(err, "%s: tensor %s is %s, but this run needs %s", path, want->name, a, b);
}

static int64_t largest_tensor(const Safetensors *file) {
    int64_t most = 0;
    for (int i = 0; i < file->n_tensors; i++) {
        int64_t bytes = file->tensors[i].end - file->tensors[i].begin;
        if (bytes > most) most = bytes;
    }
    return most;
}

bool tensors_read(const char *path, TensorsFile file, const CheckpointParts *parts, Error *err) {
    Safetensors in;
    if (!safetensors_open(&in, path, err)) return false;
    int n;
    SafeTensor *tensors = describe_all(&n, file, parts);
    bool ok = true;
    for (int i = 0; i < n && ok; i++) ok = check_tensor(&in, &tensors[i], path, err);
    if (ok && in.n_tensors != n)
        ok = error_set(err, "%s has %d tensors where this run has %d: it is another run's", path, in.n_tensors, n);
    void *data = ok ? malloc((size_t)largest_tensor(&in) + 1) : NULL;
    if (ok && !data) ok = error_set(err, "out of memory for the largest tensor of %s", path);
    for (int i = 0; i < n && ok; i++) {
        const SafeTensor *t = safetensors_find(&in, tensors[i].name);
        ok = safetensors_read_bytes(data, &in, t, err);
        if (ok) to_device(data, (size_t)(t->end - t->begin), file, parts, i);
    }
    free(data);
    free(tensors);
    safetensors_close(&in);
    return ok;
}
