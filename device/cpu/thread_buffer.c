#include "device/cpu/thread_buffer.h"

#include "base/error.h"

#include <pthread.h>
#include <stdlib.h>

enum { INNER, OUTER, BUFFERS };

static _Thread_local struct {
    void *memory;
    size_t bytes;
} buffers[BUFFERS];

static pthread_key_t keys[BUFFERS]; // free the buffers of a thread that ends
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void create_keys(void) {
    for (int i = 0; i < BUFFERS; i++) ASSERT(pthread_key_create(&keys[i], free) == 0);
}

static void *thread_buffer(int i, size_t bytes) {
    if (bytes <= buffers[i].bytes) return buffers[i].memory;
    pthread_once(&once, create_keys);
    free(buffers[i].memory);
    buffers[i].bytes = (bytes + 63) / 64 * 64;
    buffers[i].memory = aligned_alloc(64, buffers[i].bytes);
    ASSERT(buffers[i].memory && pthread_setspecific(keys[i], buffers[i].memory) == 0);
    return buffers[i].memory;
}

void *cpu_thread_buffer(size_t bytes) {
    return thread_buffer(INNER, bytes);
}

void *cpu_outer_thread_buffer(size_t bytes) {
    return thread_buffer(OUTER, bytes);
}
