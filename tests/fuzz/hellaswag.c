// HellaSwag files: every token of every example of an accepted file can be read.
#include "data/hellaswag.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Error err;
    Hellaswag set = {0};
    if (!hellaswag_open(&set, fuzz_file(data, size), &err)) {
        fuzz_check_error(&err);
        return 0;
    }
    for (int i = 0; i < set.n_examples; i++) {
        const HellaswagExample *e = &set.examples[i];
        ASSERT(e->label >= 0 && e->label < HELLASWAG_ENDINGS);
        for (int j = 0; j < e->n_context; j++) ASSERT(e->context[j] <= set.max_token);
        for (int k = 0; k < HELLASWAG_ENDINGS; k++) {
            ASSERT(e->n_context + e->n_ending[k] <= set.longest);
            for (int j = 0; j < e->n_ending[k]; j++) ASSERT(e->endings[k][j] <= set.max_token);
        }
    }
    hellaswag_close(&set);
    return 0;
}
