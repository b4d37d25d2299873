// device/pinned_ring.h - a few slots of host memory that a device copies from while the host fills the next: what the host
// makes anew each step (scalars) goes to the device without either waiting for the other.
#ifndef POLAR_DEVICE_PINNED_RING_H
#define POLAR_DEVICE_PINNED_RING_H

#include "device/device.h"

enum { PINNED_RING_SLOTS = 4 };

typedef struct {
    Device *device;
    char *slots; // PINNED_RING_SLOTS times slot_bytes
    size_t slot_bytes;
    Event *copied[PINNED_RING_SLOTS];
    int64_t used; // slots filled so far
} PinnedRing;

bool pinned_ring_create(PinnedRing *ring, Device *device, size_t slot_bytes); // false: out of memory
void pinned_ring_free(PinnedRing *ring);

// The slot to fill next. Waits only where the device is PINNED_RING_SLOTS copies behind.
void *pinned_ring_slot(PinnedRing *ring);

// Copies the first `bytes` of that slot to device memory on the stream, and goes on to the next slot.
void pinned_ring_push(PinnedRing *ring, Stream *stream, void *to, size_t bytes);
#endif
