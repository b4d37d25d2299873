// A checkpoint's state.json. Its checksum is corrected first, so that the fuzzer reaches the parser.
#include "base/crc32c.h"
#include "data/datasets.h"
#include "run/checkpoint/state_file.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char key[] = ",\"crc32c\":";
    char *text = malloc(size + 64);
    ASSERT(text);
    memcpy(text, data, size);
    size_t n = size + (size_t)snprintf(text + size, 64, "%s%u}\n", key, crc32c(0, data, size));
    Error err;
    RunState state;
    FileSum sums[CHECKPOINT_FILES];
    Json *json;
    if (state_from_file(&state, sums, &json, fuzz_file((const uint8_t *)text, n), &err)) {
        const Datasets data_of_run = {0};
        ASSERT(state.data_position >= 0);
        if (!state_check_data(json, &data_of_run, "state.json", &err)) fuzz_check_error(&err);
        json_free(json);
    } else {
        fuzz_check_error(&err);
    }
    free(text);
    return 0;
}
