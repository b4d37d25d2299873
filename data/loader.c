#include "data/loader.h"

#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

enum {
    SCAN = 8192, // tokens read at a time to find the next document: longer than most documents
};

struct Loader {
    const ShardSet *set;
    LoaderConfig config;
    int64_t step; // next global batch, and next micro-batch in it; owned by the thread, as are the next four fields
    int micro;
    int64_t position; // with align: stream index of the end of the last row filled
    uint32_t *tokens; // (micro_batch * T + 1 + SCAN)
    int32_t *scratch; // (vocab_size + 1)
    Batch ring[LOADER_SLOTS];
    int64_t ends[LOADER_SLOTS]; // `position` after each slot
    int64_t taken_position;     // `position` after the last micro-batch returned by loader_next
    pthread_t thread;
    pthread_mutex_t lock; // guards the following fields; micro-batch i is in ring[i % LOADER_SLOTS]
    pthread_cond_t changed;
    int64_t filled;   // micro-batches filled by the thread
    int64_t taken;    // micro-batches returned by loader_next
    int64_t released; // micro-batches given back by loader_release
    bool stop, failed;
    Error error; // valid when failed
};

static int64_t global_tokens(const LoaderConfig *config) {
    return (int64_t)config->batch_size * config->seq_len;
}

// Batches per shard with DROP: the formula of modded-nanogpt's step-count benchmark.
static int64_t shard_batches(const Shard *shard, int64_t G) {
    return shard->n_tokens < 2 ? 0 : (shard->n_tokens - 2) / G;
}

int64_t loader_batch_count(const ShardSet *set, const LoaderConfig *config) {
    if (config->tail == SHARD_TAIL_JOIN) return -1;
    int64_t count = 0;
    for (int i = 0; i < set->n_shards; i++) count += shard_batches(&set->shards[i], global_tokens(config));
    return count;
}

bool loader_batch_index(int64_t *index, const ShardSet *set, const LoaderConfig *config, int64_t step, Error *err) {
    int64_t G = global_tokens(config), left = step;
    ASSERT(step >= 0);
    if (config->tail == SHARD_TAIL_JOIN) {
        // (step * G) mod total without overflow.
        *index = (int64_t)((unsigned __int128)step * (uint64_t)G % (uint64_t)set->total_tokens);
        return true;
    }
    for (int i = 0; i < set->n_shards; i++) {
        int64_t n = shard_batches(&set->shards[i], G);
        if (left < n) {
            *index = set->shards[i].first + left * G;
            return true;
        }
        left -= n;
    }
    return error_set(err,
                     "out of training data: with --shard-tail drop the shards hold %lld batches of %lld tokens; "
                     "add shards, train for fewer steps, or use --shard-tail join",
                     (long long)(step - left), (long long)G);
}

// Sets inputs and targets [at, at + n) of a batch from the n + 1 tokens at `index` of the stream.
static bool set_tokens(Batch *batch, int64_t at, const uint32_t *tokens, int64_t n, const ShardSet *set,
                       int64_t index, int vocab_size, Error *err) {
    for (int64_t i = 0; i <= n; i++) {
        if (tokens[i] < (uint32_t)vocab_size) continue;
        const Shard *shard = shard_set_find(set, index + i);
        return error_set(err,
                         "%s: token %lld is %u, but the vocabulary has %d tokens: the shard belongs to another "
                         "vocabulary, or is corrupt",
                         shard->path, (long long)((index + i) % set->total_tokens - shard->first), tokens[i],
                         vocab_size);
    }
    for (int64_t i = 0; i < n; i++) {
        batch->tokens[at + i] = (int32_t)tokens[i];
        batch->targets[at + i] = (int32_t)tokens[i + 1];
    }
    return true;
}

// Fills a batch from the B * T + 1 tokens of the stream at `index`; `buffer` has room for them.
static bool fill(Batch *batch, uint32_t *buffer, int32_t *scratch, const ShardSet *set, int64_t index,
                 int vocab_size, Error *err) {
    int64_t n = (int64_t)batch->B * batch->T;
    if (!shard_set_read(buffer, set, index, n + 1, err) ||
        !set_tokens(batch, 0, buffer, n, set, index, vocab_size, err))
        return false;
    batch_index(batch, scratch, vocab_size);
    return true;
}

// Advances *position to the first document that begins at or after it, and reads the T + 1 tokens from there. *row
// points to them in `buffer`, which holds T + 1 + SCAN tokens.
static bool find_row(const uint32_t **row, int64_t *position, uint32_t *buffer, const ShardSet *set,
                     const LoaderConfig *c, Error *err) {
    for (int64_t searched = 0; searched < set->total_tokens; searched += SCAN) {
        if (!shard_set_read(buffer, set, *position, (int64_t)c->seq_len + 1 + SCAN, err)) return false;
        for (int i = 0; i < SCAN; i++) {
            if (buffer[i] != (uint32_t)c->document_token) continue;
            *row = buffer + i;
            *position = (*position + i) % set->total_tokens;
            return true;
        }
        *position = (*position + SCAN) % set->total_tokens;
    }
    return error_set(err,
                     "%s%s: found no token %d, which begins every document: omit --align-documents, or use shards "
                     "made with this vocabulary",
                     set->shards[0].path, set->n_shards > 1 ? " and the other shards" : "", c->document_token);
}

// Checks that one pass over the stream gives a full batch: with too few documents (one, in the shards of a single
// text) every batch would repeat the same rows.
static bool check_documents(const ShardSet *set, const LoaderConfig *c, uint32_t *buffer, Error *err) {
    int64_t end = 0; // stream index of the end of the previous row
    for (int r = 0; r < c->batch_size; r++) {
        const uint32_t *row;
        int64_t start = end % set->total_tokens;
        if (!find_row(&row, &start, buffer, set, c, err)) return false;
        if (end >= set->total_tokens || start < end)
            return error_set(
                err,
                "%s%s: only %d sequences of %d tokens begin at a document (token %d), too few for a batch of %d: "
                "omit --align-documents, or use data with more documents",
                set->shards[0].path, set->n_shards > 1 ? " and the other shards" : "", r, c->seq_len,
                c->document_token, c->batch_size);
        end = start + c->seq_len;
    }
    return true;
}

static bool fill_aligned(Batch *batch, Loader *loader, Error *err) {
    const LoaderConfig *c = &loader->config;
    for (int r = 0; r < batch->B; r++) {
        const uint32_t *row;
        if (!find_row(&row, &loader->position, loader->tokens, loader->set, c, err) ||
            !set_tokens(batch, (int64_t)r * c->seq_len, row, c->seq_len, loader->set, loader->position,
                        c->vocab_size, err))
            return false;
        loader->position = (loader->position + c->seq_len) % loader->set->total_tokens;
    }
    batch_index(batch, loader->scratch, c->vocab_size);
    return true;
}

// Passes over the rows of n micro-batches that are not returned.
static bool skip_aligned(Loader *loader, int n, Error *err) {
    const LoaderConfig *c = &loader->config;
    for (int64_t r = 0; r < (int64_t)n * c->micro_batch; r++) {
        const uint32_t *row;
        if (!find_row(&row, &loader->position, loader->tokens, loader->set, c, err)) return false;
        loader->position = (loader->position + c->seq_len) % loader->set->total_tokens;
    }
    return true;
}

// Fills the next micro-batch of this loader's part of the step.
static bool fill_next(Loader *loader, Batch *batch, Error *err) {
    const LoaderConfig *c = &loader->config;
    int all = c->batch_size / c->micro_batch, n = c->n_micro ? c->n_micro : all;
    bool last = loader->micro + 1 == n;
    int64_t index;
    if (c->align) {
        if (loader->micro == 0 && !skip_aligned(loader, c->first_micro, err)) return false;
        if (!fill_aligned(batch, loader, err)) return false;
        if (last && !skip_aligned(loader, all - c->first_micro - n, err)) return false;
    } else {
        if (!loader_batch_index(&index, loader->set, c, loader->step, err)) return false;
        index += (int64_t)(c->first_micro + loader->micro) * c->micro_batch * c->seq_len;
        if (!fill(batch, loader->tokens, loader->scratch, loader->set, index, c->vocab_size, err)) return false;
    }
    loader->micro = last ? 0 : loader->micro + 1;
    loader->step += last;
    return true;
}

static void *run_thread(void *argument) {
    Loader *loader = argument;
    Error err;
    pthread_mutex_lock(&loader->lock);
    while (!loader->failed) {
        while (!loader->stop && loader->filled - loader->released == LOADER_SLOTS)
            pthread_cond_wait(&loader->changed, &loader->lock);
        if (loader->stop) break;
        Batch *batch = &loader->ring[loader->filled % LOADER_SLOTS];
        pthread_mutex_unlock(&loader->lock);
        bool ok = fill_next(loader, batch, &err);
        pthread_mutex_lock(&loader->lock);
        if (ok) loader->ends[loader->filled++ % LOADER_SLOTS] = loader->position;
        else loader->error = err;
        loader->failed = !ok;
        pthread_cond_signal(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static bool start_thread(Loader *loader, Error *err) {
    int status = thread_start(&loader->thread, run_thread, loader);
    return status == 0 || error_set(err, "cannot start the loader's thread: %s", strerror(status));
}

static void free_memory(Loader *loader) {
    free(loader->tokens);
    free(loader->scratch);
    free(loader);
}

static Loader *allocate(const LoaderConfig *config, void *memory) {
    Loader *loader = calloc(1, sizeof *loader);
    if (!loader) return NULL;
    int64_t bytes = batch_bytes(config->micro_batch, config->seq_len);
    size_t n_tokens = (size_t)config->micro_batch * (size_t)config->seq_len + 1 + SCAN;
    loader->tokens = malloc(n_tokens * sizeof *loader->tokens);
    loader->scratch = malloc(((size_t)config->vocab_size + 1) * sizeof *loader->scratch);
    if (!loader->tokens || !loader->scratch) {
        free_memory(loader);
        return NULL;
    }
    for (int i = 0; i < LOADER_SLOTS; i++)
        batch_layout(&loader->ring[i], (char *)memory + i * bytes, config->micro_batch, config->seq_len);
    return loader;
}

int64_t loader_memory_bytes(const LoaderConfig *config) {
    return LOADER_SLOTS * batch_bytes(config->micro_batch, config->seq_len);
}

Loader *loader_create(const ShardSet *set, const LoaderConfig *config, void *memory, int64_t step, int64_t position,
                      Error *err) {
    const LoaderConfig *c = config;
    ASSERT(c->micro_batch > 0 && c->batch_size > 0 && c->batch_size % c->micro_batch == 0);
    ASSERT(c->seq_len > 0 && c->vocab_size > 0 && step >= 0 && position >= 0);
    ASSERT(!c->align || c->tail == SHARD_TAIL_JOIN);
    ASSERT(c->first_micro >= 0 && c->n_micro >= 0 && c->first_micro + c->n_micro <= c->batch_size / c->micro_batch);
    int64_t G = global_tokens(c);
    bool too_short = c->tail == SHARD_TAIL_DROP ? loader_batch_count(set, c) == 0 : set->total_tokens < G;
    if (too_short) {
        error_set(err, "%s%s: %lld tokens are too few for one batch of %lld: use a smaller batch or more data",
                  set->shards[0].path, set->n_shards > 1 ? " and the other shards" : "",
                  (long long)set->total_tokens, (long long)G);
        return NULL;
    }
    Loader *loader = allocate(c, memory);
    if (!loader) {
        error_set(err, "out of memory for batches of %d x %d tokens", c->micro_batch, c->seq_len);
        return NULL;
    }
    loader->set = set;
    loader->config = *c;
    loader->step = step;
    if (c->align) loader->position = loader->taken_position = position % set->total_tokens;
    if (c->align && !check_documents(set, c, loader->tokens, err)) {
        free_memory(loader);
        return NULL;
    }
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    if (start_thread(loader, err)) return loader;
    free_memory(loader);
    return NULL;
}

void loader_free(Loader *loader) {
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_signal(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
    pthread_join(loader->thread, NULL);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->lock);
    free_memory(loader);
}

bool loader_next(Batch *batch, Loader *loader, Error *err) {
    pthread_mutex_lock(&loader->lock);
    ASSERT(loader->taken - loader->released < LOADER_SLOTS); // otherwise the thread has no free slot
    while (loader->filled == loader->taken && !loader->failed) pthread_cond_wait(&loader->changed, &loader->lock);
    bool ok = loader->filled > loader->taken;
    if (ok) {
        int64_t i = loader->taken++ % LOADER_SLOTS;
        *batch = loader->ring[i];
        loader->taken_position = loader->ends[i];
    } else {
        *err = loader->error;
    }
    pthread_mutex_unlock(&loader->lock);
    return ok;
}

void loader_release(Loader *loader) {
    pthread_mutex_lock(&loader->lock);
    ASSERT(loader->released < loader->taken);
    loader->released++;
    pthread_cond_signal(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
}

int64_t loader_position(const Loader *loader) {
    return loader->taken_position;
}

bool loader_read_at(Batch *batch, const ShardSet *set, int64_t index, int vocab_size, Error *err) {
    size_t n_tokens = (size_t)batch->B * (size_t)batch->T + 1;
    uint32_t *buffer = malloc(n_tokens * sizeof *buffer);
    int32_t *scratch = malloc(((size_t)vocab_size + 1) * sizeof *scratch);
    bool ok = buffer && scratch ? fill(batch, buffer, scratch, set, index, vocab_size, err)
                                : error_set(err, "out of memory for a batch of %zu tokens", n_tokens - 1);
    free(buffer);
    free(scratch);
    return ok;
}
