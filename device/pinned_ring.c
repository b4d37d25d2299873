#include "device/pinned_ring.h"

bool pinned_ring_create(PinnedRing *ring, Device *device, size_t slot_bytes) {
    *ring = (PinnedRing){.device = device,
                         .slots = device_alloc_host(device, PINNED_RING_SLOTS * slot_bytes),
                         .slot_bytes = slot_bytes};
    for (int i = 0; i < PINNED_RING_SLOTS; i++) ring->copied[i] = event_create(device);
    return ring->slots != NULL;
}

void pinned_ring_free(PinnedRing *ring) {
    for (int i = 0; i < PINNED_RING_SLOTS; i++)
        if (ring->copied[i]) event_destroy(ring->copied[i]);
    if (ring->slots) device_free_host(ring->device, ring->slots);
    *ring = (PinnedRing){0};
}

void *pinned_ring_slot(PinnedRing *ring) {
    int i = (int)(ring->used % PINNED_RING_SLOTS);
    if (ring->used >= PINNED_RING_SLOTS) event_synchronize(ring->copied[i]);
    return ring->slots + (size_t)i * ring->slot_bytes;
}

void pinned_ring_push(PinnedRing *ring, Stream *stream, void *to, size_t bytes) {
    int i = (int)(ring->used % PINNED_RING_SLOTS);
    ASSERT(bytes <= ring->slot_bytes);
    device_copy(stream, to, ring->slots + (size_t)i * ring->slot_bytes, bytes);
    event_record(ring->copied[i], stream);
    ring->used++;
}
