// base/thread.h - starting threads.
#ifndef POLAR_BASE_THREAD_H
#define POLAR_BASE_THREAD_H

#include <pthread.h>

// pthread_create with all signals blocked in the new thread, so that the main thread receives them. Returns 0 or an
// errno.
int thread_start(pthread_t *thread, void *(*run)(void *), void *argument);
#endif
