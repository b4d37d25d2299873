// device/device.h - what all of the program stands on: memory, streams, events and matrix products of one device.
//
// The CPU is the embedded backend and the reference; a second backend implements the same table. All work is issued
// on a Stream and may run later: results are visible to the host after stream_synchronize. CPU streams run at once.
#ifndef POLAR_DEVICE_DEVICE_H
#define POLAR_DEVICE_DEVICE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Element types. The first three can be the type of an instance of the network; those after I32 are found in files only.
typedef enum { TYPE_F32, TYPE_F64, TYPE_BF16, TYPE_I32, TYPE_F16, TYPE_I64, TYPE_U8, TYPE_BOOL, TYPE_COUNT } Type;

size_t type_size(Type type);      // bytes of an element
const char *type_name(Type type); // "F32", "F64", "BF16", ...: the names of safetensors
Type type_accumulate(Type type);  // master weights, gradients, statistics: F64 for F64, else F32

typedef enum { DEVICE_CPU, DEVICE_CUDA } DeviceKind;

typedef struct Device Device;
typedef struct Stream Stream;
typedef struct Event Event;
typedef struct Recording Recording;

// C (m, n) = alpha op(A) op(B) + beta D, row-major, `batch` products at fixed strides. op(A) is (m, k), op(B) (k, n).
// lda, ldb, ldc are row strides of the stored matrices, in elements. D is C itself, or where `add` is not NULL that
// matrix, which has the row stride and batch stride of C and does not overlap it. With beta = 0 D is not read (NaN in
// it is harmless). If bias is not NULL (then beta must be 0), bias[j] (n) is added to column j after the product: the
// epilogue of a linear layer. `symmetric` says that alpha op(A) op(B) is symmetric but for rounding, and so is D: a
// backend may compute one triangle and mirror it. A, B have type `type`; C, D and bias have `c_type`; the CPU requires
// the two equal.
typedef struct {
    Type type, c_type;
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    double alpha, beta;
    const void *a;
    int64_t lda, stride_a;
    const void *b;
    int64_t ldb, stride_b;
    void *c;
    int64_t ldc, stride_c;
    int64_t batch; // 0 means 1
    const void *add, *bias;
    bool symmetric;
} Gemm;

// What a backend implements. Called through the functions below.
typedef struct {
    void *(*alloc)(Device *device, size_t bytes);
    void (*free)(Device *device, void *memory);
    void *(*alloc_host)(Device *device, size_t bytes);
    void (*free_host)(Device *device, void *memory);
    int64_t (*memory_available)(const Device *device);
    int64_t (*memory_most)(const Device *device); // NULL where memory is the process's own
    void (*copy)(Stream *stream, void *to, const void *from, size_t bytes);
    void (*zero)(Stream *stream, void *memory, size_t bytes);
    void (*gemm)(Stream *stream, const Gemm *g);
    bool (*can_solve)(void);
    void (*orthonormalize)(Stream *stream, void *a, Type type, int64_t m, int64_t n);
    void (*solve_right)(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);
    void (*invert_upper)(Stream *stream, void *r, Type type, int64_t n);
    void (*svd)(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);
    Stream *(*stream_create)(Device *device);
    void (*stream_destroy)(Stream *stream);
    void (*stream_synchronize)(Stream *stream);
    int64_t product_workspace;                              // as device_product_workspace
    bool (*stream_reserve)(Stream *stream, size_t scratch); // NULL where operations take no scratch of the stream's
    Event *(*event_create)(Device *device);
    void (*event_destroy)(Event *event);
    void (*event_record)(Event *event, Stream *stream);
    void (*stream_wait)(Stream *stream, Event *event);
    double (*event_elapsed_ms)(Event *from, Event *to);
    void (*record_begin)(Stream *stream); // the four are NULL where the device cannot record
    Recording *(*record_end)(Stream *stream);
    void (*recording_run)(Recording *recording, Stream *stream);
    void (*recording_free)(Recording *recording);
    void (*close)(Device *device);
} DeviceBackend;

struct Device {
    DeviceKind kind;
    char name[128];     // the processor, as its maker calls it
    char library[256];  // the product library in use, its version and the kernels it chose
    int n_threads;      // CPU: OpenMP threads; otherwise 1
    double bf16_flops;  // FLOP/s of dense bf16 products that its units can do at the highest clock; 0: not known
    char fallback[160]; // the CPU stands in for a GPU ("auto"): why; else empty
    const DeviceBackend *backend;
    void *solver; // the backend's workspace for solves, grown as they need it
};

struct Stream {
    Device *device;
    void *handle; // the backend's own
};

struct Event {
    Device *device;
    void *handle; // the backend's own
};

struct Recording {
    Device *device;
    void *handle; // the backend's own
};

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

// As device_memory_available, of host memory.
int64_t host_memory_available(void);

// The most bytes of the device's memory that were allocated at once since it was opened; 0 on the CPU, where memory is
// the process's own.
int64_t device_memory_most(const Device *device);

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
void device_orthonormalize(Stream *stream, void *a, Type type, int64_t m, int64_t n);

// x (m, n) becomes x z^-1 for a symmetric positive definite z (n, n), which is overwritten (Cholesky).
void device_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);

// r (n, n) becomes the inverse of its upper triangle, with zeros below.
void device_invert_upper(Stream *stream, void *r, Type type, int64_t n);

// a (m, n) = u diag(values) vt with k = min(m, n) values in descending order, u (m, k), vt (k, n); a is overwritten.
// u and vt may be NULL, both: the values alone.
void device_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);

// Bytes of device memory that a stream's matrix products work in beside their operands.
int64_t device_product_workspace(const Device *device);

// Allocates now what a stream's products work in, and scratch for its operations of `scratch` bytes, which otherwise come about
// and grow as they are needed. False: out of memory.
bool stream_reserve(Stream *stream, int64_t scratch);

Stream *stream_create(Device *device);
void stream_destroy(Stream *stream);
void stream_synchronize(Stream *stream);
Event *event_create(Device *device);
void event_destroy(Event *event);
void event_record(Event *event, Stream *stream);
void stream_wait(Stream *stream, Event *event);
double event_elapsed_ms(Event *from, Event *to); // both recorded and reached

// Recordings: work that is issued on a stream between begin and end is not done but kept, to be done again and again with
// the same arguments at the cost of one call (CUDA graphs). The same work must have been done once before, so that
// nothing has to be made ready while it is recorded; nothing in between may wait for the host. A device that does its
// work at once, as the CPU, cannot record.
bool device_can_record(const Device *device);
void record_begin(Stream *stream);
Recording *record_end(Stream *stream);
void recording_run(Recording *recording, Stream *stream);
void recording_free(Recording *recording);

#ifdef __cplusplus
}
#endif
#endif
