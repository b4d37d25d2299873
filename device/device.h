// device/device.h - the hardware abstraction: memory, streams, events, GEMMs and solvers of one device.
//
// The CPU backend is always present and is the reference; every backend implements the table in device/backend.h.
// Work is issued on a Stream and may run asynchronously: results are visible to the host after stream_synchronize.
// The CPU runs it synchronously.
#ifndef POLAR_DEVICE_DEVICE_H
#define POLAR_DEVICE_DEVICE_H

#include "base/error.h"
#include "device/backend.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Opens "cpu", "cuda", "cuda:N" or "auto" (cuda if available, else cpu). n_threads 0: all processors available to this
// process. Errors: no such device, or built without the backend.
bool device_open(Device **device, const char *name, int n_threads, Error *err);
void device_close(Device *device);

// A one-line description: name, threads, library, and why "auto" did not choose a GPU.
void device_describe(char *text, size_t size, const Device *device);

// Allocates zeroed device memory, 64-byte aligned. Returns NULL if out of memory.
void *device_alloc(Device *device, size_t bytes);
void device_free(Device *device, void *memory);

// Allocates zeroed pinned host memory. Returns NULL if out of memory.
void *device_alloc_host(Device *device, size_t bytes);
void device_free_host(Device *device, void *memory);

// Bytes of device memory that this process can still allocate, as far as the system reports; 0: unknown.
int64_t device_memory_available(const Device *device);

// FLOP/s that the device can do at most in `type`: measured multiply-adds in registers on a CPU, the specification
// of the tensor cores on a GPU (bf16); 0: unknown.
double device_peak_flops(const Device *device, Type type);

// Returns true if device memory is host memory (the CPU), so that the host can access it without a copy.
bool device_is_host(const Device *device);

// Peak bytes of device memory allocated since the device was opened; 0 on the CPU.
int64_t device_peak_memory(const Device *device);

// Copies between any two addresses that the device can access (the direction follows from the addresses).
void device_copy(Stream *stream, void *to, const void *from, size_t bytes);
void device_zero(Stream *stream, void *memory, size_t bytes);
void device_gemm(Stream *stream, const Gemm *g); // see device/gemm.h

// Calls call(context, i) for i = 0, ..., n - 1: on a CPU at the same time, each on one thread, elsewhere in order.
// Operations that are issued in it run on that thread alone.
void device_for_each(Stream *stream, int n, void (*call)(void *context, int i), void *context);

// Solvers, by LAPACK on the CPU and cuSOLVER on a GPU. All matrices are dense and row-major, in F32 or F64. If a
// solver fails (a matrix is not positive definite, or has non-finite elements), it fills its outputs with NaN.
//
// Returns true if the device has solvers; the error says what is missing.
bool device_can_solve(const Device *device, Error *err);

// Overwrites a (m, n), m >= n, with the factor Q of its QR decomposition (Householder): orthonormal columns.
void device_qr_q(Stream *stream, void *a, Type type, int64_t m, int64_t n);

// Overwrites x (m, n) with x z^-1 for a symmetric positive definite z (n, n), which is overwritten (Cholesky).
void device_cholesky_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);

// Overwrites r (n, n) with the inverse of its upper triangle, and zeros below.
void device_trtri(Stream *stream, void *r, Type type, int64_t n);

// Thin SVD, a (m, n) = u diag(values) vt: k = min(m, n) singular values in descending order, u (m, k), vt (k, n); a is
// overwritten. u and vt may both be NULL: singular values only.
void device_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);

// Bytes of device memory that the GEMMs of a stream use as workspace.
int64_t device_gemm_workspace(const Device *device);

// Allocates a stream's GEMM workspace and a scratch buffer of `scratch` bytes now; otherwise they are allocated and
// grown on demand. Returns false if out of memory.
bool stream_reserve(Stream *stream, int64_t scratch);

Stream *stream_create(Device *device);
void stream_destroy(Stream *stream);
void stream_synchronize(Stream *stream);
Event *event_create(Device *device);
void event_destroy(Event *event);
void event_record(Event *event, Stream *stream);
void event_synchronize(Event *event);            // blocks the host until the event is reached
void stream_wait(Stream *stream, Event *event);  // later work on the stream waits for the event
double event_elapsed_ms(Event *from, Event *to); // both must have been reached

// CUDA graphs: work issued on a stream between begin and end is captured instead of executed, and can then be
// launched any number of times, with the same arguments, by one call. The same work must have run once before, so
// that no allocation or initialization happens during the capture, and nothing in between may synchronize with the
// host. The CPU cannot capture.
bool device_can_capture(const Device *device);
void graph_capture_begin(Stream *stream);
Graph *graph_capture_end(Stream *stream);
void graph_launch(Graph *graph, Stream *stream);
void graph_free(Graph *graph);

#ifdef __cplusplus
}
#endif
#endif
