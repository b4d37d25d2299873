#include "run/checkpoint/tensor_file.h"

#include "base/crc32c.h"
#include "base/safetensors.h"
#include "run/checkpoint/finite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Tensors are copied in chunks: a buffer for the largest one, an embedding, would exceed the run's memory plan.
enum { CHUNK_BYTES = 1 << 22 };

// The tensors of one file.
typedef struct {
    const CheckpointTensor *items;
    int n;
} Part;

static Part part_of(const CheckpointTensors *tensors, CheckpointFile file) {
    return (Part){tensors->items + tensors->first[file], tensors->first[file + 1] - tensors->first[file]};
}

// ------------------------------------------------------------------------------------------------------- writing

static SafeTensor *headers_of(const Part *part) {
    SafeTensor *headers = calloc((size_t)part->n + 1, sizeof *headers);
    ASSERT(headers);
    for (int i = 0; i < part->n; i++) {
        const CheckpointTensor *t = &part->items[i];
        memcpy(headers[i].name, t->name, sizeof t->name);
        memcpy(headers[i].shape, t->shape, sizeof t->shape);
        headers[i].type = t->type;
        headers[i].n_dims = t->n_dims;
    }
    return headers;
}

static bool write_tensor(SafetensorsWriter *w, void *chunk, const CheckpointTensor *t, Stream *stream, Error *err) {
    bool ok = true;
    for (int64_t at = 0; at < t->bytes && ok; at += CHUNK_BYTES) {
        int64_t n = t->bytes - at < CHUNK_BYTES ? t->bytes - at : CHUNK_BYTES;
        if (stream) {
            device_copy(stream, chunk, t->data + at, (size_t)n);
            stream_synchronize(stream);
        }
        ok = safetensors_write_data(w, stream ? chunk : t->data + at, n, err);
    }
    return ok;
}

bool tensor_file_write(FileSum *sum, const char *path, const CheckpointTensors *tensors, CheckpointFile file,
                       Stream *stream, Error *err) {
    Part part = part_of(tensors, file);
    SafeTensor *headers = headers_of(&part);
    void *chunk = malloc(CHUNK_BYTES);
    SafetensorsWriter w;
    bool ok = chunk || error_set(err, "out of memory to write %s", path);
    ok = ok && safetensors_write_begin(&w, path, headers, part.n, err);
    for (int i = 0; i < part.n && ok; i++) ok = write_tensor(&w, chunk, &part.items[i], stream, err);
    ok = ok && safetensors_write_finish(&w, &sum->crc, err);
    free(chunk);
    free(headers);
    if (!ok) return false;
    struct stat st;
    if (stat(path, &st) != 0) return error_set(err, "cannot find %s, which was just written", path);
    sum->size = st.st_size;
    return true;
}

// ------------------------------------------------------------------------------------------------------- reading

static void format_shape(char text[64], Type type, int n_dims, const int64_t *shape) {
    int used = snprintf(text, 64, "%s (", type_name(type));
    for (int d = 0; d < n_dims && used < 60; d++)
        used += snprintf(text + used, 64 - (size_t)used, "%s%" PRId64, d ? ", " : "", shape[d]);
    if (used < 63) snprintf(text + used, 64 - (size_t)used, ")");
}

static bool check_tensor(const Safetensors *in, const CheckpointTensor *want, Error *err) {
    const SafeTensor *have = safetensors_find(in, want->name);
    if (!have) return error_set(err, "%s has no tensor %s, which this run needs", in->path, want->name);
    bool same = have->type == want->type && have->n_dims == want->n_dims;
    for (int d = 0; same && d < want->n_dims; d++) same = have->shape[d] == want->shape[d];
    if (same) return true;
    char a[64], b[64];
    format_shape(a, have->type, have->n_dims, have->shape);
    format_shape(b, want->type, want->n_dims, want->shape);
    return error_set(err, "%s: tensor %s is %s, but this run needs %s", in->path, want->name, a, b);
}

static bool check_fit(const Safetensors *in, const Part *part, Error *err) {
    for (int i = 0; i < part->n; i++)
        if (!check_tensor(in, &part->items[i], err)) return false;
    return in->n_tensors == part->n || error_set(err, "%s has %d tensors, but this run has %d: it is another run's",
                                                 in->path, in->n_tensors, part->n);
}

static const CheckpointTensor *find(const Part *part, const char *name) {
    for (int i = 0; i < part->n; i++)
        if (strcmp(part->items[i].name, name) == 0) return &part->items[i];
    return NULL;
}

// Adds a tensor's bytes to the checksum and, if `to` is not NULL, checks them and copies them there.
static bool read_tensor(uint32_t *crc, void *chunk, const Safetensors *in, const SafeTensor *t,
                        const CheckpointTensor *to, Stream *stream, Error *err) {
    char label[256];
    int64_t bytes = t->end - t->begin, element = (int64_t)type_size(t->type);
    snprintf(label, sizeof label, "tensor %s", t->name);
    for (int64_t at = 0; at < bytes; at += CHUNK_BYTES) {
        int64_t n = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
        if (!safetensors_read_bytes(chunk, in, t, at, n, err)) return false;
        *crc = crc32c(*crc, chunk, (size_t)n);
        if (!to) continue;
        if (!check_finite_values(label, to, chunk, at / element, n / element, err))
            return error_prefix(err, "%s", in->path);
        device_copy(stream, to->data + at, chunk, (size_t)n);
        stream_synchronize(stream);
    }
    return true;
}

static bool check_size(const char *path, int64_t size, Error *err) {
    struct stat st;
    if (stat(path, &st) != 0 || st.st_size == size) return true; // a missing file is reported by the open
    return error_set(err, "%s has %" PRId64 " bytes instead of %" PRId64, path, (int64_t)st.st_size, size);
}

bool tensor_file_read(bool *corrupt, const char *path, const FileSum *sum, const CheckpointTensors *tensors,
                      CheckpointFile file, Stream *stream, Error *err) {
    Safetensors in;
    Error misfit;
    Part part = part_of(tensors, file);
    *corrupt = true;
    if (!check_size(path, sum->size, err) || !safetensors_open(&in, path, err)) return false;
    bool fits = check_fit(&in, &part, &misfit);
    uint32_t crc = in.header_crc;
    void *chunk = malloc(CHUNK_BYTES);
    bool ok = chunk || error_set(err, "out of memory to read %s", path);
    for (int i = 0; i < in.n_tensors && ok; i++) // in file order, as the checksum needs
        ok = read_tensor(&crc, chunk, &in, &in.tensors[i], fits ? find(&part, in.tensors[i].name) : NULL, stream,
                         err);
    if (ok && crc != sum->crc) ok = error_set(err, "%s does not match its checksum", path);
    *corrupt = !ok;
    free(chunk);
    safetensors_close(&in);
    if (!ok || fits) return ok;
    *err = misfit;
    return false;
}
