#include "base/safetensors.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are read and written in host byte order");

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100000000 };

static bool parse_type(Type *type, const char *name, Error *err) {
    for (int t = 0; t < TYPE_COUNT; t++) {
        if (strcmp(name, type_name((Type)t)) != 0) continue;
        *type = (Type)t;
        return true;
    }
    return error_set(err, "type %.20s is not supported; use F32, F64, BF16, F16, I32, I64, U8 or BOOL", name);
}

static bool parse_shape(SafeTensor *t, const Json *shape, Error *err) {
    if (!shape || shape->kind != JSON_ARRAY) return error_set(err, "\"shape\" is not a list");
    if (shape->count > SAFETENSORS_MAX_DIMS)
        return error_set(err, "%zu dimensions; at most %d are supported", shape->count, SAFETENSORS_MAX_DIMS);
    t->elements = 1;
    for (const Json *dim = shape->first; dim; dim = dim->next) {
        if (!dim->is_integer || dim->integer < 0) return error_set(err, "\"shape\" is not a list of sizes");
        if (__builtin_mul_overflow(t->elements, dim->integer, &t->elements))
            return error_set(err, "its shape is too large");
        t->shape[t->n_dims++] = dim->integer;
    }
    return true;
}

static bool parse_offsets(SafeTensor *t, const Json *offsets, Error *err) {
    const Json *begin = offsets && offsets->kind == JSON_ARRAY && offsets->count == 2 ? offsets->first : NULL;
    const Json *end = begin ? begin->next : NULL;
    if (!end || !begin->is_integer || !end->is_integer || begin->integer < 0 || end->integer < begin->integer)
        return error_set(err, "\"data_offsets\" is not [begin, end]");
    t->begin = begin->integer;
    t->end = end->integer;
    int64_t bytes;
    if (__builtin_mul_overflow(t->elements, (int64_t)type_size(t->type), &bytes) || bytes != t->end - t->begin)
        return error_set(err, "%lld bytes do not fit %lld elements of type %s", (long long)(t->end - t->begin),
                         (long long)t->elements, type_name(t->type));
    return true;
}

static bool parse_tensor(SafeTensor *t, const Json *node, Error *err) {
    const char *type;
    *t = (SafeTensor){0};
    if (strlen(node->key) >= sizeof t->name)
        return error_set(err, "tensor %.40s...: its name is longer than %zu bytes", node->key, sizeof t->name - 1);
    memcpy(t->name, node->key, strlen(node->key) + 1);
    if (node->kind != JSON_OBJECT) return error_set(err, "tensor %s: its entry is not an object", t->name);
    if (json_get_string(&type, node, "dtype", err) && parse_type(&t->type, type, err) &&
        parse_shape(t, json_get(node, "shape"), err) && parse_offsets(t, json_get(node, "data_offsets"), err))
        return true;
    return error_prefix(err, "tensor %s", t->name);
}

static bool check_metadata(const Json *metadata, Error *err) {
    bool ok = metadata->kind == JSON_OBJECT;
    for (const Json *entry = metadata->first; ok && entry; entry = entry->next) ok = entry->kind == JSON_STRING;
    return ok || error_set(err, "__metadata__ is not an object of strings");
}

static int compare_tensors(const void *a, const void *b) {
    const SafeTensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1; // an empty tensor precedes the next at its offset
    return strcmp(x->name, y->name);
}

static bool check_contiguous(const Safetensors *file, int64_t size, Error *err) {
    int64_t end = 0;
    for (int i = 0; i < file->n_tensors; i++) {
        const SafeTensor *t = &file->tensors[i];
        if (t->begin != end)
            return error_set(
                err, "tensor %s begins at byte %lld of the data instead of byte %lld (a hole or an overlap)",
                t->name, (long long)t->begin, (long long)end);
        end = t->end;
    }
    if (end != size)
        return error_set(
            err, "its tensors take %lld bytes, but %lld follow the header: the file is truncated or corrupt",
            (long long)end, (long long)size);
    return true;
}

// `size`: bytes after the header.
static bool parse_tensors(Safetensors *file, const Json *root, int64_t size, Error *err) {
    if (root->kind != JSON_OBJECT || root->count > INT32_MAX) return error_set(err, "the header is not an object");
    file->tensors = calloc(root->count + 1, sizeof *file->tensors);
    if (!file->tensors) return error_set(err, "out of memory");
    for (const Json *node = root->first; node; node = node->next) {
        if (strcmp(node->key, "__metadata__") == 0) {
            if (!check_metadata(node, err)) return false;
        } else if (!parse_tensor(&file->tensors[file->n_tensors++], node, err)) {
            return false;
        }
    }
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, compare_tensors);
    return check_contiguous(file, size, err);
}

static bool parse_file(Safetensors *file, int64_t size, Error *err) {
    uint64_t length;
    if (size < LENGTH_BYTES)
        return error_set(err, "%s: too short for a safetensors file (%lld bytes)", file->path, (long long)size);
    if (!file_read_at(&length, file->fd, file->path, 0, LENGTH_BYTES, err)) return false;
    if (length > MAX_HEADER_BYTES || (int64_t)length > size - LENGTH_BYTES)
        return error_set(err,
                         "%s: its header would have %llu bytes: the file is truncated, or not a safetensors file",
                         file->path, (unsigned long long)length);
    char *header = malloc(length + 1);
    if (!header) return error_set(err, "out of memory for the header of %s", file->path);
    Json *root = NULL;
    bool ok = file_read_at(header, file->fd, file->path, LENGTH_BYTES, length, err);
    if (ok) file->header_crc = crc32c(crc32c(0, &length, LENGTH_BYTES), header, length);
    if (ok && (length == 0 || header[0] != '{'))
        ok = error_set(err, "%s: its header does not begin with '{': not a safetensors file", file->path);
    if (ok && !(root = json_parse(header, length, err))) ok = error_prefix(err, "%s: header", file->path);
    free(header);
    file->data_start = LENGTH_BYTES + (int64_t)length;
    if (ok && !parse_tensors(file, root, size - file->data_start, err)) ok = error_prefix(err, "%s", file->path);
    json_free(root);
    return ok;
}

bool safetensors_open(Safetensors *file, const char *path, Error *err) {
    int64_t size;
    *file = (Safetensors){.fd = file_open_read(&size, path, err)};
    if (file->fd < 0) return false;
    file->path = strdup(path);
    ASSERT(file->path);
    if (parse_file(file, size, err)) return true;
    safetensors_close(file);
    return false;
}

void safetensors_close(Safetensors *file) {
    if (file->fd >= 0) close(file->fd);
    free(file->path);
    free(file->tensors);
    *file = (Safetensors){.fd = -1};
}

const SafeTensor *safetensors_find(const Safetensors *file, const char *name) {
    for (int i = 0; i < file->n_tensors; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

bool safetensors_read_bytes(void *out, const Safetensors *file, const SafeTensor *t, int64_t at, int64_t n,
                            Error *err) {
    ASSERT(at >= 0 && n >= 0 && at <= t->end - t->begin - n);
    return file_read_at(out, file->fd, file->path, file->data_start + t->begin + at, (size_t)n, err);
}

bool safetensors_read(double *out, const Safetensors *file, const SafeTensor *t, int64_t first, int64_t n,
                      Error *err) {
    enum { BUFFER_BYTES = 8192 };
    unsigned char bytes[BUFFER_BYTES];
    int64_t size = (int64_t)type_size(t->type), max_count = BUFFER_BYTES / size;
    ASSERT(first >= 0 && n >= 0 && first <= t->elements - n);
    for (int64_t i = 0; i < n; i += max_count) {
        int64_t count = n - i < max_count ? n - i : max_count;
        if (!file_read_at(bytes, file->fd, file->path, file->data_start + t->begin + (first + i) * size,
                          (size_t)(count * size), err))
            return false;
        float_type_read(out + i, t->type, bytes, count);
    }
    return true;
}
