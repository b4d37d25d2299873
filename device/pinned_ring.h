// device/pinned_ring.h - a ring of pinned staging buffers: per-step host data (scalars) is copied to the device
// asynchronously while the host fills the next slot.
#ifndef POLAR_DEVICE_PINNED_RING_H
#define POLAR_DEVICE_PINNED_RING_H

#include "device/device.h"

enum { PINNED_RING_SLOTS = 4 };

typedef struct {
    Device *device;
    char *slots; // PINNED_RING_SLOTS * slot_bytes
    size_t slot_bytes;
    Event *copied[PINNED_RING_SLOTS];
    int64_t used; // number of pushes so far
} PinnedRing;

bool pinned_ring_create(PinnedRing *ring, Device *device, size_t slot_bytes); // false: out of memory
void pinned_ring_free(PinnedRing *ring);

// Returns the slot to fill next. Blocks only while all PINNED_RING_SLOTS copies are pending.
void *pinned_ring_slot(PinnedRing *ring);

// Issues a copy of the first `bytes` of that slot to device memory on the stream, and advances to the next slot.
void pinned_ring_push(PinnedRing *ring, Stream *stream, void *to, size_t bytes);
#endif
