#include "device/device.h"

#include "device/cpu_backend.h" // defines: cpu_device_open

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[TYPE_COUNT] = {
    [TYPE_F32] = {"F32", 4}, [TYPE_F64] = {"F64", 8}, [TYPE_BF16] = {"BF16", 2}, [TYPE_I32] = {"I32", 4},
    [TYPE_F16] = {"F16", 2}, [TYPE_I64] = {"I64", 8}, [TYPE_U8] = {"U8", 1},     [TYPE_BOOL] = {"BOOL", 1}};

size_t type_size(Type type) {
    return types[type].size;
}
const char *type_name(Type type) {
    return types[type].name;
}
Type type_accumulate(Type type) {
    return type == TYPE_F64 ? TYPE_F64 : TYPE_F32;
}

bool device_open(Device **device, const char *name, int n_threads, Error *err) {
    if (!strcmp(name, "cpu") || !strcmp(name, "auto")) return cpu_device_open(device, n_threads, err);
    if (!strncmp(name, "cuda", 4))
        return error_set(err, "this build of train has no CUDA backend; use --device cpu");
    return error_set(err, "unknown device '%s'; there are: auto, cpu, cuda, cuda:N", name);
}

void device_close(Device *d) {
    d->backend->close(d);
}
void *device_alloc(Device *d, size_t bytes) {
    return d->backend->alloc(d, bytes);
}
void device_free(Device *d, void *memory) {
    d->backend->free(d, memory);
}
void *device_alloc_host(Device *d, size_t bytes) {
    return d->backend->alloc_host(d, bytes);
}
void device_free_host(Device *d, void *memory) {
    d->backend->free_host(d, memory);
}

int64_t device_memory_available(const Device *d) {
    return d->backend->memory_available(d);
}

void device_copy(Stream *s, void *to, const void *from, size_t bytes) {
    s->device->backend->copy(s, to, from, bytes);
}
void device_zero(Stream *s, void *memory, size_t bytes) {
    s->device->backend->zero(s, memory, bytes);
}
void device_gemm(Stream *s, const Gemm *g) {
    s->device->backend->gemm(s, g);
}

Stream *stream_create(Device *d) {
    return d->backend->stream_create(d);
}
void stream_destroy(Stream *s) {
    s->device->backend->stream_destroy(s);
}
void stream_synchronize(Stream *s) {
    s->device->backend->stream_synchronize(s);
}
Event *event_create(Device *d) {
    return d->backend->event_create(d);
}
void event_destroy(Event *e) {
    e->device->backend->event_destroy(e);
}
void event_record(Event *e, Stream *s) {
    s->device->backend->event_record(e, s);
}
void stream_wait(Stream *s, Event *e) {
    s->device->backend->stream_wait(s, e);
}
double event_elapsed_ms(Event *from, Event *to) {
    return to->device->backend->event_elapsed_ms(from, to);
}

bool device_can_solve(const Device *device, Error *err) {
    if (device->backend->can_solve()) return true;
    return error_set(err, "%s has no LAPACK: install OpenBLAS (apt-get install libopenblas0-openmp)", device->name);
}

void device_orthonormalize(Stream *stream, void *a, Type type, int64_t m, int64_t n) {
    ASSERT(m >= n && n >= 1);
    stream->device->backend->orthonormalize(stream, a, type, m, n);
}

void device_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n) {
    ASSERT(m >= 1 && n >= 1);
    stream->device->backend->solve_right(stream, x, z, type, m, n);
}

void device_invert_upper(Stream *stream, void *r, Type type, int64_t n) {
    ASSERT(n >= 1);
    stream->device->backend->invert_upper(stream, r, type, n);
}

void device_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n) {
    ASSERT(m >= 1 && n >= 1 && (u != NULL) == (vt != NULL));
    stream->device->backend->svd(stream, values, u, vt, a, type, m, n);
}
