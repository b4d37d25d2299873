#include "device/cpu/backend.h"

#include "base/host_memory.h"
#include "device/cpu/cpu.h"
#include "device/cpu/gemm_bf16.h"
#include "device/cpu/lapack.h"
#include "device/cpu/peak.h"
#include "device/cpu/processor.h"
#include "device/cpu/syrk.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

// The threads touch the pages in parallel now (first-touch placement); otherwise the first step would pay for the
// faults.
static void *cpu_alloc(Device *device, size_t bytes) {
    (void)device;
    size_t rounded = (bytes + 4095) / 4096 * 4096;
    if (rounded < bytes) return NULL;
    if (rounded == 0) rounded = 4096;
    char *memory = aligned_alloc(4096, rounded);
    if (memory == NULL) return NULL;
    int64_t chunks = (int64_t)((rounded + (1 << 20) - 1) >> 20);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (int64_t i = 0; i < chunks; i++) {
        size_t from = (size_t)i << 20, size = rounded - from < (1 << 20) ? rounded - from : 1 << 20;
        memset(memory + from, 0, size);
    }
    return memory;
}

static void cpu_free(Device *device, void *memory) {
    (void)device;
    free(memory);
}

static double cpu_peak(const Device *device, Type type) {
    (void)device;
    return cpu_peak_flops(type);
}

static int64_t cpu_memory_available(const Device *device) {
    (void)device;
    return host_memory_available();
}

static void cpu_copy(Stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream;
    memmove(to, from, bytes);
}

static void cpu_zero(Stream *stream, void *memory, size_t bytes) {
    (void)stream;
    memset(memory, 0, bytes);
}

// Copies c_in to c, so that the GEMM can accumulate in place.
static void copy_c_in(const Gemm *g, char *c, const char *c_in) {
    size_t element = type_size(g->c_type), row = (size_t)g->n * element;
#pragma omp parallel for schedule(static) if (g->m * g->n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < g->m; i++) {
        size_t at = (size_t)(i * g->ldc) * element;
        memcpy(c + at, c_in + at, row);
    }
}

static void cpu_device_gemm(Stream *stream, const Gemm *g) {
    (void)stream;
    ASSERT(g->type == TYPE_BF16 ? g->c_type == TYPE_BF16 || g->c_type == TYPE_F32
                                : g->type == g->c_type && (g->type == TYPE_F32 || g->type == TYPE_F64));
    ASSERT(g->bias == NULL || g->beta == 0);
    ASSERT(!g->symmetric || g->m == g->n);
    int64_t element = (int64_t)type_size(g->type), c_element = (int64_t)type_size(g->c_type);
    for (int64_t i = 0; i < (g->batch ? g->batch : 1); i++) {
        const char *a = (const char *)g->a + i * g->stride_a * element;
        const char *b = (const char *)g->b + i * g->stride_b * element;
        char *c = (char *)g->c + i * g->stride_c * c_element;
        const char *c_in = g->c_in ? (const char *)g->c_in + i * g->stride_c * c_element : NULL;
        if (g->type == TYPE_BF16) {
            cpu_gemm_bf16(
                &(GemmBf16){g, (const Bf16 *)(const void *)a, (const Bf16 *)(const void *)b, c, c_in ? c_in : c});
            continue;
        }
        if (g->symmetric && g->bias == NULL) {
            cpu_gemm_symmetric(g, a, b, c, c_in);
            continue;
        }
        if (c_in && g->beta != 0) copy_c_in(g, c, c_in);
        cpu_gemm(g->type, g->transpose_a, g->transpose_b, g->m, g->n, g->k, g->alpha, a, g->lda, b, g->ldb, g->beta,
                 c, g->ldc, g->bias);
    }
}

static void cpu_for_each(int n, void (*call)(void *context, int i), void *context) {
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < n; i++) call(context, i);
}

static Stream *cpu_stream_create(Device *device) {
    Stream *stream = calloc(1, sizeof *stream);
    ASSERT(stream != NULL);
    stream->device = device;
    return stream;
}

static void cpu_stream_destroy(Stream *stream) {
    free(stream);
}
static void cpu_stream_synchronize(Stream *stream) {
    (void)stream;
}

// The handle of an event is the time when it was recorded.
static Event *cpu_event_create(Device *device) {
    Event *event = calloc(1, sizeof *event);
    ASSERT(event != NULL);
    event->device = device;
    event->handle = calloc(1, sizeof(double));
    ASSERT(event->handle != NULL);
    return event;
}

static void cpu_event_destroy(Event *event) {
    free(event->handle);
    free(event);
}

static void cpu_event_record(Event *event, Stream *stream) {
    (void)stream;
    *(double *)event->handle = now_ms();
}

static void cpu_event_synchronize(Event *event) {
    (void)event;
}

static void cpu_stream_wait(Stream *stream, Event *event) {
    (void)stream;
    (void)event;
}

static double cpu_event_elapsed_ms(Event *from, Event *to) {
    return *(double *)to->handle - *(double *)from->handle;
}
static void cpu_close(Device *device) {
    cpu_solver_free(device->solver);
    free(device);
}

static const DeviceBackend backend = {
    .alloc = cpu_alloc,
    .free = cpu_free,
    .alloc_host = cpu_alloc,
    .free_host = cpu_free,
    .memory_available = cpu_memory_available,
    .peak_flops = cpu_peak,
    .copy = cpu_copy,
    .zero = cpu_zero,
    .gemm = cpu_device_gemm,
    .for_each = cpu_for_each,
    .can_solve = cpu_can_solve,
    .qr_q = cpu_qr_q,
    .cholesky_solve_right = cpu_cholesky_solve_right,
    .trtri = cpu_trtri,
    .svd = cpu_svd,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .stream_synchronize = cpu_stream_synchronize,
    .event_create = cpu_event_create,
    .event_destroy = cpu_event_destroy,
    .event_record = cpu_event_record,
    .event_synchronize = cpu_event_synchronize,
    .stream_wait = cpu_stream_wait,
    .event_elapsed_ms = cpu_event_elapsed_ms,
    .close = cpu_close,
};

enum { MAX_THREADS = 1024 }; // libgomp aborts if it cannot create its threads

bool cpu_device_open(Device **device, int n_threads, Error *err) {
    int available = omp_get_num_procs();
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return error_set(err, "--threads is %d: it must be 0 (all) to %d", n_threads, MAX_THREADS);
    if (n_threads == 0) n_threads = available;
    omp_set_dynamic(0);
    omp_set_num_threads(n_threads);
    Device *d = calloc(1, sizeof *d);
    if (d == NULL) return error_set(err, "out of memory opening the CPU");
    d->kind = DEVICE_CPU;
    d->n_threads = n_threads;
    d->backend = &backend;
    FILE *cpuinfo = fopen("/proc/cpuinfo", "r");
    cpu_processor_name(d->name, sizeof d->name, cpuinfo);
    if (cpuinfo) fclose(cpuinfo);
    if (!cpu_blas_load(n_threads, d->library, sizeof d->library, err)) {
        free(d);
        return false;
    }
    cpu_lapack_load();
    d->bf16 = bf16_unit_instructions(cpu_bf16_unit());
    *device = d;
    return true;
}
