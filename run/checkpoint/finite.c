#include "run/checkpoint/finite.h"

#include "base/safetensors.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 1 << 16 }; // elements looked at together

static const double LARGEST_WEIGHT = 1.8e19; // its square is about FLT_MAX

// The first of n numbers that is not within the limit, or -1.
static int64_t first_bad(const double *x, int64_t n, double limit) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i]) <= limit)) return i;
    return -1;
}

// One tensor: what it is, of which parameter, and its shape.
typedef struct {
    const char *what, *name;
    Type type;
    int64_t rows, cols;
    double limit;
} Numbers;

static bool refuse(Error *err, const Numbers *x, int64_t at, double value) {
    char place[64], size[40] = "not finite";
    if (x->rows == 1) snprintf(place, sizeof place, "element %" PRId64, at);
    else snprintf(place, sizeof place, "row %" PRId64 ", column %" PRId64, at / x->cols, at % x->cols);
    if (isfinite(value)) snprintf(size, sizeof size, "as large as %g", fabs(value));
    return error_set(err, "%s %s is %s (%s)", x->what, x->name, size, place);
}

// Without a stream the data are in host memory.
static bool check(const Numbers *x, const void *data, Stream *stream, Error *err) {
    int64_t n = x->rows * x->cols, size = (int64_t)type_size(x->type), found = -1;
    void *piece = malloc((size_t)(PIECE * size));
    double *wide = malloc(PIECE * sizeof *wide);
    ASSERT(piece && wide && float_type_is(x->type));
    for (int64_t at = 0; at < n && found < 0; at += PIECE) {
        int64_t count = n - at < PIECE ? n - at : PIECE;
        const char *from = (const char *)data + at * size;
        if (stream) {
            device_copy(stream, piece, from, (size_t)(count * size));
            stream_synchronize(stream);
        }
        float_type_read(wide, x->type, stream ? piece : from, count);
        found = first_bad(wide, count, x->limit);
        if (found >= 0) refuse(err, x, at + found, wide[found]);
    }
    free(wide);
    free(piece);
    return found < 0;
}

bool finite_state(const Optimizer *optimizer, const HostCopy *copy, Stream *stream, Error *err) {
    const char *arena = optimizer_state_arena(optimizer);
    for (int i = 0; i < optimizer_state_count(optimizer); i++) {
        StateTensor s = optimizer_state(optimizer, i);
        char what[128];
        snprintf(what, sizeof what, "the %s of", s.spec.name);
        Numbers x = {what, s.param->name, s.spec.type, s.spec.rows, s.spec.cols, DBL_MAX};
        const char *data = copy ? copy->state + ((const char *)s.data - arena) : s.data;
        if (!check(&x, data, copy ? NULL : stream, err)) return false;
    }
    return true;
}

// An arena with the layout of the parameters.
static bool check_arena(const char *what, const void *arena, double limit, const Model *model, Stream *stream,
                        Error *err) {
    Type type = model->acc_type;
    for (int i = 0; i < model->table.n_params; i++) {
        const Param *p = &model->table.params[i];
        Numbers x = {what, p->name, type, p->rows, p->cols, limit};
        if (!check(&x, (const char *)arena + p->offset * (int64_t)type_size(type), stream, err)) return false;
    }
    return true;
}

bool finite_weights(const Model *model, const HostCopy *copy, Stream *stream, Error *err) {
    const void *arena = copy ? copy->weights : model->master;
    return check_arena("the weight of", arena, LARGEST_WEIGHT, model, copy ? NULL : stream, err);
}

bool finite_gradients(const Model *model, Stream *stream, Error *err) {
    return check_arena("the gradient of", model->grads, DBL_MAX, model, stream, err);
}

bool finite_file(const char *path, bool weights, Error *err) {
    Safetensors file;
    if (!safetensors_open(&file, path, err)) return false;
    double *piece = malloc(PIECE * sizeof *piece);
    bool ok = piece || error_set(err, "out of memory");
    for (int i = 0; i < file.n_tensors && ok; i++) {
        const SafeTensor *t = &file.tensors[i];
        int64_t cols = t->n_dims > 1 ? t->shape[t->n_dims - 1] : t->elements,
                rows = t->n_dims > 1 ? t->shape[0] : 1;
        Numbers x = {"tensor", t->name, t->type, rows, cols, weights ? LARGEST_WEIGHT : DBL_MAX};
        for (int64_t at = 0; at < t->elements && ok && float_type_is(t->type); at += PIECE) {
            int64_t count = t->elements - at < PIECE ? t->elements - at : PIECE;
            ok = safetensors_read(piece, &file, t, at, count, err);
            int64_t found = ok ? first_bad(piece, count, x.limit) : -1;
            if (found >= 0) ok = refuse(err, &x, at + found, piece[found]) || error_prefix(err, "%s", path);
        }
    }
    free(piece);
    safetensors_close(&file);
    return ok;
}
