#include "device/cpu/thread_buffer.h"

#include "base/error.h"

#include <pthread.h>
#include <stdlib.h>

static _Thread_local struct {
    void *memory;
    size_t bytes;
} buffer;

static pthread_key_t key; // frees the buffer of a thread that ends
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void create_key(void) {
    ASSERT(pthread_key_create(&key, free) == 0);
}

void *cpu_thread_buffer(size_t bytes) {
    if (bytes <= buffer.bytes) return buffer.memory;
    pthread_once(&once, create_key);
    free(buffer.memory);
    buffer.bytes = (bytes + 63) / 64 * 64;
    buffer.memory = aligned_alloc(64, buffer.bytes);
    ASSERT(buffer.memory && pthread_setspecific(key, buffer.memory) == 0);
    return buffer.memory;
}
