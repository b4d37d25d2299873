// device/backend.h - the interface that a backend of device/device.h implements, and the definitions of its types.
// Private to device/.
#ifndef POLAR_DEVICE_BACKEND_H
#define POLAR_DEVICE_BACKEND_H

#include "device/gemm.h"

typedef enum { DEVICE_CPU, DEVICE_CUDA } DeviceKind;

typedef struct Device Device;
typedef struct Stream Stream;
typedef struct Event Event;
typedef struct Graph Graph;

// The operations of a backend, called through the functions of device/device.h.
typedef struct {
    void *(*alloc)(Device *device, size_t bytes);
    void (*free)(Device *device, void *memory);
    void *(*alloc_host)(Device *device, size_t bytes);
    void (*free_host)(Device *device, void *memory);
    int64_t (*memory_available)(const Device *device);
    int64_t (*peak_memory)(const Device *device); // NULL if device memory is host memory
    double (*peak_flops)(const Device *device, Type type);
    void (*copy)(Stream *stream, void *to, const void *from, size_t bytes);
    void (*zero)(Stream *stream, void *memory, size_t bytes);
    void (*gemm)(Stream *stream, const Gemm *g);
    void (*for_each)(int n, void (*call)(void *context, int i), void *context); // NULL: in order
    bool (*can_solve)(void);
    void (*qr_q)(Stream *stream, void *a, Type type, int64_t m, int64_t n);
    void (*cholesky_solve_right)(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);
    void (*trtri)(Stream *stream, void *r, Type type, int64_t n);
    void (*svd)(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);
    Stream *(*stream_create)(Device *device);
    void (*stream_destroy)(Stream *stream);
    void (*stream_synchronize)(Stream *stream);
    int64_t gemm_workspace;                                 // see device_gemm_workspace
    bool (*stream_reserve)(Stream *stream, size_t scratch); // NULL if operations need no scratch buffer
    Event *(*event_create)(Device *device);
    void (*event_destroy)(Event *event);
    void (*event_record)(Event *event, Stream *stream);
    void (*event_synchronize)(Event *event);
    void (*stream_wait)(Stream *stream, Event *event);
    double (*event_elapsed_ms)(Event *from, Event *to);
    void (*graph_capture_begin)(Stream *stream); // these four are NULL if the device cannot capture graphs
    Graph *(*graph_capture_end)(Stream *stream);
    void (*graph_launch)(Graph *graph, Stream *stream);
    void (*graph_free)(Graph *graph);
    void (*close)(Device *device);
} DeviceBackend;

struct Device {
    DeviceKind kind;
    char name[128];     // CPU or GPU model name
    char library[256];  // BLAS library in use, its version and kernels
    const char *bf16;   // CPU: the instructions that multiply bf16 matrices faster than f32 ones, "AMX"; NULL: none
    int n_threads;      // CPU: OpenMP threads; otherwise 1
    int n_ranks;        // of the run that this process is one of; 0 or 1: it is alone
    double bf16_flops;  // peak dense bf16 tensor-core FLOP/s at the maximum clock; 0: unknown
    char fallback[160]; // why "auto" chose the CPU; else empty
    const DeviceBackend *backend;
    void *solver; // the backend's workspace for solvers, grown on demand
};

struct Stream {
    Device *device;
    void *handle; // private to the backend
};

struct Event {
    Device *device;
    void *handle; // private to the backend
};

struct Graph {
    Device *device;
    void *handle; // private to the backend
};
#endif
