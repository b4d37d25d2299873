// device/backend.h - what a backend of device/device.h implements, and what stands behind its types. For device/ only,
// which reaches the files above it through nothing else.
#ifndef POLAR_DEVICE_BACKEND_H
#define POLAR_DEVICE_BACKEND_H

#include "device/gemm.h"

typedef enum { DEVICE_CPU, DEVICE_CUDA } DeviceKind;

typedef struct Device Device;
typedef struct Stream Stream;
typedef struct Event Event;
typedef struct Graph Graph;

// What a backend implements. Called through the functions of device/device.h.
typedef struct {
    void *(*alloc)(Device *device, size_t bytes);
    void (*free)(Device *device, void *memory);
    void *(*alloc_host)(Device *device, size_t bytes);
    void (*free_host)(Device *device, void *memory);
    int64_t (*memory_available)(const Device *device);
    int64_t (*peak_memory)(const Device *device); // NULL where memory is the process's own
    void (*copy)(Stream *stream, void *to, const void *from, size_t bytes);
    void (*zero)(Stream *stream, void *memory, size_t bytes);
    void (*gemm)(Stream *stream, const Gemm *g);
    bool (*can_solve)(void);
    void (*qr_q)(Stream *stream, void *a, Type type, int64_t m, int64_t n);
    void (*cholesky_solve_right)(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);
    void (*trtri)(Stream *stream, void *r, Type type, int64_t n);
    void (*svd)(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);
    Stream *(*stream_create)(Device *device);
    void (*stream_destroy)(Stream *stream);
    void (*stream_synchronize)(Stream *stream);
    int64_t gemm_workspace;                              // as device_gemm_workspace
    bool (*stream_reserve)(Stream *stream, size_t scratch); // NULL where operations take no scratch of the stream's
    Event *(*event_create)(Device *device);
    void (*event_destroy)(Event *event);
    void (*event_record)(Event *event, Stream *stream);
    void (*event_synchronize)(Event *event);
    void (*stream_wait)(Stream *stream, Event *event);
    double (*event_elapsed_ms)(Event *from, Event *to);
    void (*graph_capture_begin)(Stream *stream); // the four are NULL where the device cannot record
    Graph *(*graph_capture_end)(Stream *stream);
    void (*graph_launch)(Graph *graph, Stream *stream);
    void (*graph_free)(Graph *graph);
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

struct Graph {
    Device *device;
    void *handle; // the backend's own
};
#endif
