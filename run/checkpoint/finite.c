#include "run/checkpoint/finite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 1 << 16, GROUP = 1024 }; // elements copied, and upcast to double, at a time

// Returns the index of the first of n values whose magnitude exceeds the limit (or is NaN), or -1.
static int64_t first_bad(const double *x, int64_t n, double limit) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i]) <= limit)) return i;
    return -1;
}

static bool report_bad(Error *err, const char *label, const CheckpointTensor *t, int64_t at, double value) {
    char place[64], size[40] = "not finite";
    int64_t rows = t->n_dims == 2 ? t->shape[0] : 1, cols = t->shape[1];
    if (rows == 1) snprintf(place, sizeof place, "element %" PRId64, at);
    else snprintf(place, sizeof place, "row %" PRId64 ", column %" PRId64, at / cols, at % cols);
    if (isfinite(value)) snprintf(size, sizeof size, "as large as %g", fabs(value));
    return error_set(err, "%s is %s (%s)", label, size, place);
}

bool check_finite_values(const char *label, const CheckpointTensor *t, const void *values, int64_t first, int64_t n,
                         Error *err) {
    double wide[GROUP];
    int64_t element = (int64_t)type_size(t->type);
    for (int64_t at = 0; at < n; at += GROUP) {
        int64_t count = n - at < GROUP ? n - at : GROUP;
        float_type_read(wide, t->type, (const char *)values + at * element, count);
        int64_t found = first_bad(wide, count, t->limit);
        if (found >= 0) return report_bad(err, label, t, first + at + found, wide[found]);
    }
    return true;
}

static bool check_tensor(const CheckpointTensor *t, void *chunk, Stream *stream, Error *err) {
    char label[256];
    int64_t element = (int64_t)type_size(t->type), n = t->bytes / element;
    bool ok = true;
    snprintf(label, sizeof label, "the %s of %s", t->what, t->param);
    for (int64_t at = 0; at < n && ok; at += CHUNK) {
        int64_t count = n - at < CHUNK ? n - at : CHUNK;
        const char *from = t->data + at * element;
        if (stream) {
            device_copy(stream, chunk, from, (size_t)(count * element));
            stream_synchronize(stream);
        }
        ok = check_finite_values(label, t, stream ? chunk : from, at, count, err);
    }
    return ok;
}

bool finite_tensors(const CheckpointTensors *tensors, Stream *stream, Error *err) {
    void *chunk = malloc(CHUNK * sizeof(double));
    bool ok = true;
    ASSERT(chunk);
    for (int f = tensors->n_files - 1; f >= 0; f--)
        for (int i = tensors->first[f]; i < tensors->first[f + 1] && ok; i++)
            ok = check_tensor(&tensors->items[i], chunk, stream, err);
    free(chunk);
    return ok;
}

bool finite_gradients(const Model *model, Stream *stream, Error *err) {
    CheckpointTensors gradients = checkpoint_gradients(model);
    bool ok = finite_tensors(&gradients, stream, err);
    checkpoint_tensors_free(&gradients);
    return ok;
}
