#include "base/safetensors.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void layout(SafeTensor *tensors, int n) {
    int64_t end = 0;
    for (int i = 0; i < n; i++) {
        SafeTensor *t = &tensors[i];
        ASSERT(t->n_dims >= 0 && t->n_dims <= SAFETENSORS_MAX_DIMS && memchr(t->name, 0, sizeof t->name));
        t->elements = 1;
        for (int d = 0; d < t->n_dims; d++)
            ASSERT(t->shape[d] >= 0 && !__builtin_mul_overflow(t->elements, t->shape[d], &t->elements));
        t->begin = end;
        t->end = end += t->elements * (int64_t)type_size(t->type);
    }
}

static void build_header(JsonWriter *w, const SafeTensor *tensors, int n) {
    json_begin_object(w, NULL);
    // transformers rejects a file without this entry.
    json_begin_object(w, "__metadata__");
    json_string(w, "format", "pt");
    json_end_object(w);
    for (int i = 0; i < n; i++) {
        json_begin_object(w, tensors[i].name);
        json_string(w, "dtype", type_name(tensors[i].type));
        json_begin_array(w, "shape");
        for (int d = 0; d < tensors[i].n_dims; d++) json_int(w, NULL, tensors[i].shape[d]);
        json_end_array(w);
        json_begin_array(w, "data_offsets");
        json_int(w, NULL, tensors[i].begin);
        json_int(w, NULL, tensors[i].end);
        json_end_array(w);
        json_end_object(w);
    }
    json_end_object(w);
}

// Closes the file after an error; returns false.
static bool fail(SafetensorsWriter *w) {
    close(w->fd);
    w->fd = -1;
    return false;
}

static bool write_bytes(SafetensorsWriter *w, const void *data, size_t size, Error *err) {
    if (!file_write(w->fd, w->path, data, size, err)) return fail(w);
    w->crc = crc32c(w->crc, data, size);
    return true;
}

bool safetensors_write_begin(SafetensorsWriter *w, const char *path, SafeTensor *tensors, int n, Error *err) {
    *w = (SafetensorsWriter){.fd = -1};
    if (strlen(path) >= sizeof w->path) return error_set(err, "path too long: %s", path);
    memcpy(w->path, path, strlen(path) + 1);
    layout(tensors, n);
    w->expected = n > 0 ? tensors[n - 1].end : 0;

    w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) return error_set(err, "cannot create %s: %s", path, strerror(errno));
    JsonWriter header = {0};
    build_header(&header, tensors, n);
    uint64_t padding = -header.size % 8, length = header.size + padding; // the data area is 8-byte aligned
    bool ok = write_bytes(w, &length, sizeof length, err) && write_bytes(w, header.text, header.size, err) &&
              write_bytes(w, "        ", padding, err);
    json_writer_free(&header);
    return ok;
}

bool safetensors_write_data(SafetensorsWriter *w, const void *data, int64_t bytes, Error *err) {
    ASSERT(w->fd >= 0 && bytes >= 0 && w->written + bytes <= w->expected);
    w->written += bytes;
    return write_bytes(w, data, (size_t)bytes, err);
}

bool safetensors_write_finish(SafetensorsWriter *w, uint32_t *crc, Error *err) {
    ASSERT(w->fd >= 0 && w->written == w->expected);
    *crc = w->crc;
    if (fsync(w->fd) != 0) {
        error_set(err, "cannot write %s: %s", w->path, strerror(errno));
        return fail(w);
    }
    bool ok = close(w->fd) == 0 || error_set(err, "cannot write %s: %s", w->path, strerror(errno));
    w->fd = -1;
    return ok;
}
