// data/loader.h - shards in, batches out. A thread reads ahead; the whole state is the step, and a position in the
// stream where rows begin at documents.
#ifndef POLAR_DATA_LOADER_H
#define POLAR_DATA_LOADER_H

#include "data/shard.h"
#include "data/batch.h"

// JOIN: the shards are one continuous stream that wraps around; global batch s is tokens [sG, sG + G], G tokens a
// batch, whatever their ends. DROP: every shard starts at token 0, gives floor((N - 2) / G) batches and its tail is
// never read (the order of the public step-count benchmark); running out of shards is an error.
typedef enum { SHARD_TAIL_JOIN, SHARD_TAIL_DROP } ShardTail;

// Aligned to documents (with JOIN only): every row begins at the first document token at or after the end of the
// row before it, whose T inputs end at its start + T; the tokens in between are skipped. A row takes T + 1 tokens
// from its start, across the ends of shards and of the stream.

typedef struct {
    int batch_size;  // sequences in a global batch (one optimizer step)
    int micro_batch; // sequences in a micro-batch; divides batch_size
    int seq_len;     // T; G = batch_size * seq_len
    int vocab_size;  // a token at or above it is an error that names shard and position
    ShardTail tail;
    bool align;         // to documents
    int document_token; // with align: what every document begins with
} LoaderConfig;

typedef struct Loader Loader;

// Where the G + 1 tokens of global batch `step` begin in the stream of the set (not with align, where it depends on
// all rows before), and how many batches there are with DROP (negative with JOIN: no end). Errors: DROP, and the
// shards have no batch `step`.
bool loader_batch_index(int64_t *index, const ShardSet *set, const LoaderConfig *config, int64_t step, Error *err);
int64_t loader_batch_count(const ShardSet *set, const LoaderConfig *config);

// Micro-batches that the thread reads into: those in use, those ready, and one being filled.
enum { LOADER_SLOTS = 5 };

// Bytes of the memory for them, 64-byte aligned. It is the caller's, so that a device can copy from it at full speed.
int64_t loader_memory_bytes(const LoaderConfig *config);

// Starts reading at global batch `step`; with align instead at `position`, 0 for the first batch. Set and memory must
// outlive the loader. Errors: a set too short for one batch, or with align of too few documents for it; out of memory.
Loader *loader_create(const ShardSet *set, const LoaderConfig *config, void *memory, int64_t step, int64_t position,
                      Error *err);
void loader_free(Loader *loader);

// The next micro-batch, which stays as it is until it is released: at most LOADER_SLOTS can be out. An error met by the
// thread is reported here, after the batches before it, and again by every later call.
bool loader_next(Batch *batch, Loader *loader, Error *err);

// Gives back the oldest batch that is out, to be filled again.
void loader_release(Loader *loader);

// With align: where the last row handed out ends in the stream, which is where the next loader goes on; 0 without.
int64_t loader_position(const Loader *loader);

// Fills one (B, T) batch from the stream at `index`, at once, without a thread: for validation.
bool loader_read_at(Batch *batch, const ShardSet *set, int64_t index, int vocab_size, Error *err);
#endif
