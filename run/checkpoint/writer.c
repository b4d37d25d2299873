#include "run/checkpoint/writer.h"

#include "base/nvtx.h"
#include "base/thread.h"
#include "run/checkpoint/snapshot.h"

#include <stdlib.h>

// The writer thread owns snapshot and job while `busy`, the caller otherwise.
struct CheckpointWriter {
    Stream *stream; // for the snapshot
    const Datasets *data;
    int keep;
    Snapshot snapshot;
    const char *run; // the job: directory and training state
    RunState state;
    pthread_t thread;
    pthread_mutex_t lock; // guards the fields below
    pthread_cond_t changed;
    bool busy, stop, failed;
    Error error; // valid when failed
};

static void *run_thread(void *argument) {
    CheckpointWriter *w = argument;
    Error err;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->busy && !w->stop) pthread_cond_wait(&w->changed, &w->lock);
        if (!w->busy) break;
        pthread_mutex_unlock(&w->lock);
        nvtx_push("write checkpoint", w->state.step);
        bool ok = checkpoint_save_tensors(w->run, &w->snapshot.tensors, NULL, w->data, &w->state, w->keep, &err);
        nvtx_pop();
        pthread_mutex_lock(&w->lock);
        if (!ok) w->error = err;
        w->failed = !ok;
        w->busy = false;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

// The lock must be held.
static bool result(const CheckpointWriter *w, Error *err) {
    if (w->failed) *err = w->error;
    return !w->failed;
}

static void wait_until_idle(CheckpointWriter *w) {
    while (w->busy) pthread_cond_wait(&w->changed, &w->lock);
}

static void wait_at_exit(void *what) {
    CheckpointWriter *w = what;
    if (pthread_equal(pthread_self(), w->thread)) return; // the writer itself failed
    pthread_mutex_lock(&w->lock);
    wait_until_idle(w);
    pthread_mutex_unlock(&w->lock);
}

static void free_memory(CheckpointWriter *w) {
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    snapshot_free(&w->snapshot);
    free(w);
}

CheckpointWriter *checkpoint_writer_create(const CheckpointParts *parts, int keep) {
    CheckpointWriter *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->stream = parts->stream;
    w->data = parts->data;
    w->keep = keep;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (!snapshot_create(&w->snapshot, parts->model, parts->optimizer) ||
        thread_start(&w->thread, run_thread, w) != 0) {
        free_memory(w);
        return NULL;
    }
    error_on_exit(wait_at_exit, w);
    return w;
}

void checkpoint_writer_free(CheckpointWriter *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    error_on_exit(NULL, NULL);
    free_memory(w);
}

bool checkpoint_writer_begin(CheckpointWriter *w, const char *run, const RunState *state, Error *err) {
    if (!checkpoint_writer_wait(w, err)) return false;
    snapshot_take(&w->snapshot, w->stream);
    w->run = run;
    w->state = *state;
    pthread_mutex_lock(&w->lock);
    w->busy = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return true;
}

bool checkpoint_writer_ok(CheckpointWriter *w, Error *err) {
    pthread_mutex_lock(&w->lock);
    bool ok = result(w, err);
    pthread_mutex_unlock(&w->lock);
    return ok;
}

bool checkpoint_writer_wait(CheckpointWriter *w, Error *err) {
    pthread_mutex_lock(&w->lock);
    wait_until_idle(w);
    bool ok = result(w, err);
    pthread_mutex_unlock(&w->lock);
    return ok;
}
