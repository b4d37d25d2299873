// Safetensors: every tensor of an accepted file can be read in full and converted from its type.
#include "base/safetensors.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Error err;
    Safetensors file;
    if (!safetensors_open(&file, fuzz_file(data, size), &err)) {
        fuzz_check_error(&err);
        return 0;
    }
    for (int i = 0; i < file.n_tensors; i++) {
        const SafeTensor *t = &file.tensors[i];
        size_t bytes = (size_t)(t->end - t->begin);
        unsigned char *data_of = malloc(bytes + 1);
        ASSERT(t->end - t->begin == t->elements * (int64_t)type_size(t->type));
        ASSERT(safetensors_find(&file, t->name) != NULL);
        ASSERT(data_of && safetensors_read_bytes(data_of, &file, t, 0, t->end - t->begin, &err));
        free(data_of);
    }
    safetensors_close(&file);
    return 0;
}
