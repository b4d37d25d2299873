// device/device.h - what all of the program stands on: memory, streams, events and matrix products of one device.
//
// The CPU is the embedded backend and the reference; another implements the same table (device/backend.h). All work is issued
// on a Stream and may run later: results are visible to the host after stream_synchronize. CPU streams run at once.
#ifndef POLAR_DEVICE_DEVICE_H
#define POLAR_DEVICE_DEVICE_H

#include "base/error.h"
#include "device/backend.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Opens "cpu", "cuda", "cuda:N" or "auto" (cuda where there is one, else cpu). n_threads 0 means all that this
// process may run on. Errors: no such device, not built with it.
bool device_open(Device **device, const char *name, int n_threads, Error *err);
void device_close(Device *device);

// One line for people: name, threads, library, and why there is no GPU where "auto" found none.
void device_describe(char *text, size_t size, const Device *device);

// Zeroed memory on the device, 64-byte aligned. NULL when there is not enough.
void *device_alloc(Device *device, size_t bytes);
void device_free(Device *device, void *memory);

// Zeroed host memory that the device can copy from at full speed. NULL when there is not enough.
void *device_alloc_host(Device *device, size_t bytes);
void device_free_host(Device *device, void *memory);

// Bytes that this process can still get of the device's memory, as far as the system tells; 0: not known.
int64_t device_memory_available(const Device *device);

// Whether the device's memory is the process's own: what is on it need not be copied to be in host memory.
bool device_is_host(const Device *device);

// The most bytes of the device's memory that were allocated at once since it was opened; 0 on the CPU, where memory is
// the process's own.
int64_t device_peak_memory(const Device *device);

// Copies between any two places the device can reach (the direction follows from the addresses).
void device_copy(Stream *stream, void *to, const void *from, size_t bytes);
void device_zero(Stream *stream, void *memory, size_t bytes);
void device_gemm(Stream *stream, const Gemm *g);

// Solves: LAPACK on the CPU, cuSOLVER on a GPU. All matrices are dense and row-major, in F32 or F64. A solve that fails
// (a matrix that is not positive definite, numbers that are not finite) fills its outputs with NaN.
//
// Whether the device has them; the error says what is missing.
bool device_can_solve(const Device *device, Error *err);

// a (m, n), m >= n, becomes the factor with orthonormal columns of a = Q R (Householder).
void device_qr_q(Stream *stream, void *a, Type type, int64_t m, int64_t n);

// x (m, n) becomes x z^-1 for a symmetric positive definite z (n, n), which is overwritten (Cholesky).
void device_cholesky_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);

// r (n, n) becomes the inverse of its upper triangle, with zeros below.
void device_trtri(Stream *stream, void *r, Type type, int64_t n);

// a (m, n) = u diag(values) vt with k = min(m, n) values in descending order, u (m, k), vt (k, n); a is overwritten.
// u and vt may be NULL, both: the values alone.
void device_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);

// Bytes of device memory that a stream's matrix products work in beside their operands.
int64_t device_gemm_workspace(const Device *device);

// Allocates now what a stream's products work in, and scratch for its operations of `scratch` bytes, which otherwise come about
// and grow as they are needed. False: out of memory.
bool stream_reserve(Stream *stream, int64_t scratch);

Stream *stream_create(Device *device);
void stream_destroy(Stream *stream);
void stream_synchronize(Stream *stream);
Event *event_create(Device *device);
void event_destroy(Event *event);
void event_record(Event *event, Stream *stream);
void event_synchronize(Event *event); // the host waits until it is reached
void stream_wait(Stream *stream, Event *event);
double event_elapsed_ms(Event *from, Event *to); // both recorded and reached

// Recordings: work that is issued on a stream between begin and end is not done but kept, to be done again and again with
// the same arguments at the cost of one call (CUDA graphs). The same work must have been done once before, so that
// nothing has to be made ready while it is recorded; nothing in between may wait for the host. A device that does its
// work at once, as the CPU, cannot record.
bool device_can_capture(const Device *device);
void graph_capture_begin(Stream *stream);
Graph *graph_capture_end(Stream *stream);
void graph_launch(Graph *graph, Stream *stream);
void graph_free(Graph *graph);

#ifdef __cplusplus
}
#endif
#endif
