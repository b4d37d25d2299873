// metrics.jsonl as a resumed run finds it: trimmed to whole lines, and trimming again changes nothing.
#include "base/file.h"
#include "base/metrics.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static const char path[] = FUZZ_FOLDER "/metrics.jsonl";

static char *trimmed(size_t *size) {
    Error err;
    Metrics metrics = {.fd = -1};
    ASSERT(metrics_open(&metrics, FUZZ_FOLDER, "metrics.jsonl", 20, true, &err));
    metrics_close(&metrics);
    char *text = file_read_whole(size, path, 1 << 24, &err);
    ASSERT(text);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memory_file_write(path, data, size);
    size_t n_once, n_twice;
    char *once = trimmed(&n_once), *twice = trimmed(&n_twice);
    ASSERT(n_once <= size && (n_once == 0 || once[n_once - 1] == '\n'));
    ASSERT(n_once == n_twice && memcmp(once, twice, n_once) == 0);
    free(once);
    free(twice);
    return 0;
}
