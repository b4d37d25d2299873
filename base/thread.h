// base/thread.h - threads beside the main one.
#ifndef POLAR_BASE_THREAD_H
#define POLAR_BASE_THREAD_H

#include <pthread.h>

// As pthread_create, for a thread that no signal is delivered to: they are the main thread's. Returns 0, or an errno.
int thread_start(pthread_t *thread, void *(*run)(void *), void *argument);
#endif
