// data/shard.h - token shards: the FineWeb format of llm.c and modded-nanogpt.
//
// 256 little-endian int32 (magic 20240520, version 1, number of tokens, zeros), then that many uint16 tokens; or, for
// vocabularies beyond 65,536 tokens, magic 20240801, version 7, and uint32 tokens (llm.c's Llama 3 shards).
#ifndef POLAR_DATA_SHARD_H
#define POLAR_DATA_SHARD_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { SHARD_MAGIC = 20240520, SHARD_VERSION = 1, SHARD_HEADER_BYTES = 1024 };
enum { SHARD_WIDE_MAGIC = 20240801, SHARD_WIDE_VERSION = 7 };

// Changes whenever a file is written to or another takes its name.
typedef struct {
    int64_t device, inode, seconds, nanoseconds;
} ShardVersion;

typedef struct {
    char *path; // opened for each read: a set may have more shards than a process may have open files
    int64_t n_tokens;
    int token_bytes;      // 2 or 4
    int64_t first;        // index of its first token in the set's stream
    uint32_t fingerprint; // CRC-32C of header, size and 64 evenly spaced pages: enough to see a replaced file
    ShardVersion version; // while it is the file's, so is the fingerprint
} Shard;

// All shards that match a pattern, in name order: one stream of total_tokens tokens.
typedef struct {
    Shard *shards;
    int n_shards;
    int64_t total_tokens;
} ShardSet;

// Opens a file or a glob pattern (quoted, so that the shell leaves it alone; ~ works). Errors, each naming the
// file: nothing matches, cannot be read, empty, wrong magic (a headerless nanoGPT file is recognized and said so),
// wrong version, size that disagrees with the header.
bool shard_set_open(ShardSet *set, const char *pattern, Error *err);
void shard_set_close(ShardSet *set);

// The shard that holds token `index` of the stream, which wraps around at its end.
const Shard *shard_set_find(const ShardSet *set, int64_t index);

// Reads tokens [index, index + n) of the stream, which wraps around at its end. Any number of threads may read one
// set. Errors: a file changed under us, by its size or its fingerprint; one that was only touched or copied is read on.
bool shard_set_read(uint32_t *tokens, const ShardSet *set, int64_t index, int64_t n, Error *err);

// A 16-bit shard file in the making: PATH.tmp until all of its tokens, 1 to 2^31 - 1, are there and on the disk.
typedef struct {
    char *path;
    int fd;
    int64_t n_tokens;
} ShardWriter;

bool shard_writer_open(ShardWriter *writer, const char *path, Error *err);
bool shard_writer_add(ShardWriter *writer, const uint16_t *tokens, int64_t n, Error *err);
// Gives the file its header and its name. After an error, as after shard_writer_discard, nothing is left of it.
bool shard_writer_close(ShardWriter *writer, Error *err);
void shard_writer_discard(ShardWriter *writer); // one that is not open is left alone
#endif
