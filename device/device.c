#include "device/device.h"

#include "device/cpu/backend.h"
#ifdef POLAR_CUDA
#include "device/cuda/backend.h"
#endif

#include <stdio.h>
#include <string.h>

#ifndef POLAR_CUDA
static bool cuda_device_open(Device **device, const char *name, Error *err) {
    (void)device;
    (void)name;
    return error_set(err,
                     "this build of train has no CUDA backend; build it with nvcc installed, or use --device cpu");
}
#endif

bool device_open(Device **device, const char *name, int n_threads, Error *err) {
    if (!strcmp(name, "cpu")) return cpu_device_open(device, n_threads, err);
    if (!strcmp(name, "cuda") || !strncmp(name, "cuda:", 5)) return cuda_device_open(device, name, err);
    if (strcmp(name, "auto") != 0)
        return error_set(err, "unknown device '%s'; use auto, cpu, cuda or cuda:N", name);
    Error why;
    if (cuda_device_open(device, "cuda", &why)) return true;
    if (!cpu_device_open(device, n_threads, err)) return false;
    // Without the advice after ';', which is for users who requested a GPU.
    snprintf((*device)->fallback, sizeof(*device)->fallback, "%.*s", (int)strcspn(why.text, ";"), why.text);
    return true;
}

void device_describe(char *text, size_t size, const Device *d) {
    char threads[32] = "";
    if (d->kind == DEVICE_CPU) snprintf(threads, sizeof threads, "%d threads, ", d->n_threads);
    snprintf(text, size, "%s, %s%s%s%s", d->name, threads, d->library, *d->fallback ? "; no GPU: " : "",
             d->fallback);
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

void device_for_each(Stream *s, int n, void (*call)(void *context, int i), void *context) {
    if (s->device->backend->for_each) s->device->backend->for_each(n, call, context);
    else
        for (int i = 0; i < n; i++) call(context, i);
}

double device_peak_flops(const Device *d, Type type) {
    return d->backend->peak_flops(d, type);
}

int64_t device_memory_available(const Device *d) {
    return d->backend->memory_available(d);
}

bool device_is_host(const Device *d) {
    return d->backend->peak_memory == NULL;
}

int64_t device_peak_memory(const Device *d) {
    return d->backend->peak_memory ? d->backend->peak_memory(d) : 0;
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
int64_t device_gemm_workspace(const Device *d) {
    return d->backend->gemm_workspace;
}
bool stream_reserve(Stream *s, int64_t scratch) {
    return s->device->backend->stream_reserve == NULL || s->device->backend->stream_reserve(s, (size_t)scratch);
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
void event_synchronize(Event *e) {
    e->device->backend->event_synchronize(e);
}
void stream_wait(Stream *s, Event *e) {
    s->device->backend->stream_wait(s, e);
}
double event_elapsed_ms(Event *from, Event *to) {
    return to->device->backend->event_elapsed_ms(from, to);
}

bool device_can_capture(const Device *d) {
    return d->backend->graph_capture_begin != NULL;
}
void graph_capture_begin(Stream *s) {
    s->device->backend->graph_capture_begin(s);
}
Graph *graph_capture_end(Stream *s) {
    return s->device->backend->graph_capture_end(s);
}
void graph_launch(Graph *graph, Stream *s) {
    graph->device->backend->graph_launch(graph, s);
}
void graph_free(Graph *graph) {
    graph->device->backend->graph_free(graph);
}

bool device_can_solve(const Device *device, Error *err) {
    if (device->backend->can_solve()) return true;
    if (device->kind == DEVICE_CUDA)
        return error_set(
            err,
            "%s has no cuSOLVER: install it (CUDA toolkit, or pip install nvidia-cusolver) and name the "
            "directory of libcusolver.so in POLAR_CUDA_LIBRARIES, or use --device cpu",
            device->name);
    return error_set(err, "%s has no LAPACK: install OpenBLAS (apt-get install libopenblas0-openmp)", device->name);
}

void device_qr_q(Stream *stream, void *a, Type type, int64_t m, int64_t n) {
    ASSERT(m >= n && n >= 1);
    stream->device->backend->qr_q(stream, a, type, m, n);
}

void device_cholesky_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n) {
    ASSERT(m >= 1 && n >= 1);
    stream->device->backend->cholesky_solve_right(stream, x, z, type, m, n);
}

void device_trtri(Stream *stream, void *r, Type type, int64_t n) {
    ASSERT(n >= 1);
    stream->device->backend->trtri(stream, r, type, n);
}

void device_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n) {
    ASSERT(m >= 1 && n >= 1 && (u != NULL) == (vt != NULL));
    stream->device->backend->svd(stream, values, u, vt, a, type, m, n);
}
