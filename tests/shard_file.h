// A shard file of tokens in memory, for tests.
#ifndef POLAR_TESTS_SHARD_FILE_H
#define POLAR_TESTS_SHARD_FILE_H

#include "data/shard.h"

static inline bool shard_write(const char *path, const uint16_t *tokens, int64_t n, Error *err) {
    ShardWriter writer;
    if (!shard_writer_open(&writer, path, err)) return false;
    if (shard_writer_add(&writer, tokens, n, err)) return shard_writer_close(&writer, err);
    shard_writer_discard(&writer);
    return false;
}
#endif
