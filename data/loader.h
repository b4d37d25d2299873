// data/loader.h - reads batches from shards, with a prefetch thread. The entire state is the step, or the position in
// the stream if rows are aligned to documents.
#ifndef POLAR_DATA_LOADER_H
#define POLAR_DATA_LOADER_H

#include "data/shard.h"
#include "data/batch.h"

// G is the number of tokens in a global batch. JOIN: the shards form one continuous stream that wraps around, and
// global batch s is tokens [sG, sG + G], across shard boundaries. DROP: each shard of N tokens gives floor((N - 2) /
// G) batches from its token 0 and its tail is never read (the order of modded-nanogpt's step-count benchmark);
// running out of shards is an error.
typedef enum { SHARD_TAIL_JOIN, SHARD_TAIL_DROP } ShardTail;

// Document alignment (JOIN only): every row begins at the first document token at or after the end of the previous
// row, which is that row's start + T; the tokens in between are skipped. A row takes the T + 1 tokens from its start,
// across the ends of shards and of the stream.

typedef struct {
    int batch_size;  // sequences in a global batch (one optimizer step)
    int micro_batch; // sequences in a micro-batch; divides batch_size
    int seq_len;     // T; G = batch_size * seq_len
    int vocab_size;  // a larger token is an error that names the shard and the position
    ShardTail tail;
    bool align;         // align rows to documents
    int document_token; // with align: the token that begins every document
    // The micro-batches of every step that are returned: `n_micro` from `first_micro` on; 0, 0: all.
    int first_micro, n_micro;
} LoaderConfig;

typedef struct Loader Loader;

// loader_batch_index: the stream index of the G + 1 tokens of global batch `step`; not with align, where it depends
// on all previous rows. Errors: with DROP, no batch `step`. loader_batch_count: the number of batches with DROP;
// negative (unlimited) with JOIN.
bool loader_batch_index(int64_t *index, const ShardSet *set, const LoaderConfig *config, int64_t step, Error *err);
int64_t loader_batch_count(const ShardSet *set, const LoaderConfig *config);

// Slots of the prefetch ring: micro-batches in use, ready ones, and one being filled.
enum { LOADER_SLOTS = 5 };

// Bytes of the ring, which the caller allocates, 64-byte aligned: it can be pinned memory for fast copies to a device.
int64_t loader_memory_bytes(const LoaderConfig *config);

// Starts reading at global batch `step`, or with align at stream index `position` (0 for the first batch). `set` and
// `memory` must outlive the loader. Errors: too few tokens for one batch, with align too few documents; out of memory.
Loader *loader_create(const ShardSet *set, const LoaderConfig *config, void *memory, int64_t step, int64_t position,
                      Error *err);
void loader_free(Loader *loader);

// Returns the next micro-batch, valid until it is released; at most LOADER_SLOTS may be unreleased. An error of the
// thread is reported here, after the batches before it, and again by every later call.
bool loader_next(Batch *batch, Loader *loader, Error *err);

// Releases the oldest unreleased micro-batch for reuse.
void loader_release(Loader *loader);

// With align: the stream index from which a new loader continues after the last micro-batch of a step was returned;
// otherwise 0.
int64_t loader_position(const Loader *loader);

// Fills one (B, T) batch from the stream at `index`, synchronously: for validation.
bool loader_read_at(Batch *batch, const ShardSet *set, int64_t index, int vocab_size, Error *err);
#endif
