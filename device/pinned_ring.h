// device/pinned_ring.h - a few slots of host memory that a device copies from while the host fills the next: what the host
// makes anew each step (scalars) goes to the device without either waiting for the other.
#ifndef POLAR_DEVICE_PINNED_RING_H
#define POLAR_DEVICE_PINNED_RING_H

#include "device/device.h"

enum { HOST_RING_SLOTS = 4 };

typedef struct {
    Device *device;
    char *slots; // HOST_RING_SLOTS times slot_bytes
    size_t slot_bytes;
    Event *copied[HOST_RING_SLOTS];
    int64_t used; // slots filled so far
} HostRing;

bool host_ring_create(HostRing *ring, Device *device, size_t slot_bytes); // false: out of memory
void host_ring_free(HostRing *ring);

// The slot to fill next. Waits only where the device is HOST_RING_SLOTS copies behind.
void *host_ring_slot(HostRing *ring);

// Copies the first `bytes` of that slot to device memory on the stream, and goes on to the next slot.
void host_ring_push(HostRing *ring, Stream *stream, void *to, size_t bytes);
#endif
