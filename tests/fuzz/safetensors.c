// Safetensors: every byte of every tensor that an accepted file names is there, and reads as its type.
#include "data/checksum.h"
#include "data/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Error err;
    Safetensors file;
    if (!safetensors_open(&file, fuzz_file(data, size), &err)) {
        fuzz_check_error(&err);
        return 0;
    }
    for (int i = 0; i < file.n_tensors; i++) {
        const SafeTensor *t = &file.tensors[i];
        const unsigned char *bytes = safetensors_data(&file, t);
        ASSERT(t->end - t->begin == t->elements * (int64_t)type_size(t->type));
        ASSERT(safetensors_find(&file, t->name) != NULL);
        (void)crc32c(0, bytes, (size_t)(t->end - t->begin)); // reads them all
    }
    safetensors_close(&file);
    return 0;
}
