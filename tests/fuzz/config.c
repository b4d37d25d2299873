// Configurations: an accepted one, printed and parsed again, is accepted and unchanged.
#include "tests/fuzz/fuzz.h"
#include "tests/fixtures/load_config.h"

#include <stdlib.h>

static char *print(const RunConfig *config, size_t *size) {
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    ASSERT(out);
    config_print(out, config);
    fclose(out);
    return text;
}

static bool load(RunConfig *config, const uint8_t *data, size_t size) {
    Error err;
    const char *arguments[] = {"--config", fuzz_file(data, size)};
    bool ok = load_config(config, 2, arguments, &err);
    if (!ok) fuzz_check_error(&err);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static RunConfig config; // large
    size_t n_first, n_second;
    if (!load(&config, data, size)) return 0;
    char *first = print(&config, &n_first);
    ASSERT(load(&config, (const uint8_t *)first, n_first));
    char *second = print(&config, &n_second);
    ASSERT(n_first == n_second && memcmp(first, second, n_first) == 0);
    free(first);
    free(second);
    return 0;
}
