// Token shards: an accepted file can be read to its end.
#include "data/shard.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Error err;
    ShardSet set;
    if (!shard_set_open(&set, fuzz_file(data, size), &err)) {
        fuzz_check_error(&err);
        return 0;
    }
    uint32_t tokens[64];
    ASSERT(set.total_tokens > 0 && set.total_tokens <= (int64_t)size / 2);
    ASSERT(shard_set_read(tokens, &set, set.total_tokens - 1, 64, &err)); // around the end
    shard_set_close(&set);
    return 0;
}
