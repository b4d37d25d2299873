// data/shard.h - token shards in the .bin format of llm.c and modded-nanogpt (FineWeb).
//
// A header of 256 little-endian int32 (magic 20240520, version 1, number of tokens, zeros), then that many uint16
// tokens; or, for vocabularies of more than 65,536 tokens, magic 20240801, version 7, and uint32 tokens (llm.c's
// Llama 3 shards). Our own shards have two more numbers, which others ignore: 0x564F4342 and the fingerprint of the
// vocabulary.
#ifndef POLAR_DATA_SHARD_H
#define POLAR_DATA_SHARD_H

#include "base/file.h"

#include <stddef.h>
#include <stdint.h>

enum { SHARD_VOCAB_TAG = 0x564F4342 };
enum { SHARD_MAGIC = 20240520, SHARD_VERSION = 1, SHARD_HEADER_BYTES = 1024 };
enum { SHARD_WIDE_MAGIC = 20240801, SHARD_WIDE_VERSION = 7 };

// Identifies the contents of a path: differs after a write to the file, or if another file takes its name.
typedef struct {
    int64_t device, inode, seconds, nanoseconds;
} ShardVersion;

typedef struct {
    char *path; // opened for each read: a set may have more shards than a process may have open files
    int64_t n_tokens;
    int token_bytes;      // 2 or 4
    uint32_t vocab;       // fingerprint of the vocabulary; 0: unknown
    int64_t first;        // stream index of its first token
    uint32_t fingerprint; // CRC-32C of header, size and 64 evenly spaced pages: detects a replaced file
    ShardVersion version; // if it still matches the file, the fingerprint need not be checked again
} Shard;

// All shards that match a pattern, in name order, concatenated into a stream of total_tokens tokens.
typedef struct {
    Shard *shards;
    int n_shards;
    int64_t total_tokens;
    uint32_t vocab; // fingerprint of the vocabulary of all shards that name one; 0: none does
} ShardSet;

// Opens a file, or glob patterns (~ is expanded) with commas between them. Errors, each naming the file: no match,
// unreadable, empty, wrong magic number (a headerless nanoGPT file is recognized), unsupported version, size that
// disagrees with the header.
bool shard_set_open(ShardSet *set, const char *pattern, Error *err);
void shard_set_close(ShardSet *set);

// Returns the shard that contains token `index` of the stream, which wraps around at its end.
const Shard *shard_set_find(const ShardSet *set, int64_t index);

// Reads tokens [index, index + n) of the stream, which wraps around at its end. Thread-safe. Errors: a file changed, by
// its size or fingerprint, since it was opened; one that was only touched or copied is accepted.
bool shard_set_read(uint32_t *tokens, const ShardSet *set, int64_t index, int64_t n, Error *err);

// Writes a 16-bit shard of 1 to 2^31 - 1 tokens.
typedef struct {
    AtomicFile file;
    int64_t n_tokens;
    uint32_t vocab;
} ShardWriter;

bool shard_writer_open(ShardWriter *writer, const char *path, uint32_t vocab,
                       Error *err); // vocab: its fingerprint, or 0
bool shard_writer_add(ShardWriter *writer, const uint16_t *tokens, int64_t n, Error *err);
// Writes the header and commits the file. After an error, as after shard_writer_discard, no file is left.
bool shard_writer_close(ShardWriter *writer, Error *err);
void shard_writer_discard(ShardWriter *writer); // does nothing if the writer is not open
#endif
