#include "data/hellaswag.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is read in host byte order");

enum {
    HEADER_INTS = 256,
    HEADER_BYTES = 1024,
    START = 65535,
    EXAMPLES_MAX = 65536,  // an example's number has 16 bits
    FILE_MAX = 1 << 30,    // the public file has 3.6 MB
    EXAMPLE_HEAD_WORDS = 5 // start, bytes, number, label, endings
};

// Parses a count and that many tokens at *at, and advances *at past them.
static bool parse_tokens(const uint16_t **tokens, int *n, Hellaswag *set, const uint16_t **at,
                         const uint16_t *end) {
    if (*at == end || **at == 0 || **at > end - *at - 1) return false;
    *n = **at;
    *tokens = *at + 1;
    *at += 1 + *n;
    for (int i = 0; i < *n; i++)
        if ((*tokens)[i] > set->max_token) set->max_token = (*tokens)[i];
    return true;
}

// Parses one example from [at, end); returns its size in bytes from its own header, 0 on errors.
static int read_example(Hellaswag *set, int number, const uint16_t *at, const uint16_t *end, const char *path,
                        Error *err) {
    HellaswagExample *example = &set->examples[number];
    if (end - at < EXAMPLE_HEAD_WORDS || at[0] != START || at[2] != number)
        return error_set(err, "%s: example %d has no valid header: the file is corrupt or truncated", path, number);
    int bytes = at[1];
    if (bytes % 2 != 0 || bytes < 2 * EXAMPLE_HEAD_WORDS || bytes / 2 > end - at)
        return error_set(err, "%s: example %d has an invalid size of %d bytes: the file is corrupt or truncated",
                         path, number, bytes);
    if (at[4] != HELLASWAG_ENDINGS)
        return error_set(err, "%s: example %d has %d endings; only %d are supported", path, number, at[4],
                         HELLASWAG_ENDINGS);
    example->label = at[3];
    if (example->label >= HELLASWAG_ENDINGS)
        return error_set(err, "%s: example %d has label %d; it must be 0 to %d", path, number, example->label,
                         HELLASWAG_ENDINGS - 1);
    end = at + bytes / 2;
    at += EXAMPLE_HEAD_WORDS;
    bool ok = parse_tokens(&example->context, &example->n_context, set, &at, end);
    for (int i = 0; i < HELLASWAG_ENDINGS && ok; i++) {
        ok = parse_tokens(&example->endings[i], &example->n_ending[i], set, &at, end);
        if (ok && example->n_context + example->n_ending[i] > set->longest)
            set->longest = example->n_context + example->n_ending[i];
    }
    if (!ok || at != end)
        return error_set(err,
                         "%s: the context and endings of example %d do not fill its %d bytes, or one is empty: "
                         "the file is corrupt",
                         path, number, bytes);
    return bytes;
}

static bool check_header(int32_t header[HEADER_INTS], const char *file, size_t size, const char *path, Error *err) {
    if (size < HEADER_BYTES)
        return error_set(err, "%s has %zu bytes, less than the header of a HellaSwag file (%d): download it again",
                         path, size, HEADER_BYTES);
    memcpy(header, file, HEADER_BYTES);
    if (header[0] != HELLASWAG_MAGIC)
        return error_set(
            err,
            "%s is not a HellaSwag file: it begins with %d instead of the magic number %d (train eval --help "
            "says where to get one)",
            path, header[0], HELLASWAG_MAGIC);
    if (header[1] != HELLASWAG_VERSION)
        return error_set(err, "%s is a HellaSwag file of version %d; only version %d is supported", path, header[1],
                         HELLASWAG_VERSION);
    if (header[2] <= 0 || header[2] > EXAMPLES_MAX)
        return error_set(err, "%s: its header says %d examples, not 1 to %d: the file is corrupt", path, header[2],
                         EXAMPLES_MAX);
    return true;
}

static bool read_all(Hellaswag *set, size_t size, const char *path, Error *err) {
    int32_t header[HEADER_INTS];
    if (!check_header(header, set->file, size, path, err)) return false;
    if (size % 2 != 0)
        return error_set(err, "%s has an odd number of bytes: it is truncated; download it again", path);
    set->n_examples = header[2];
    set->examples = calloc((size_t)set->n_examples, sizeof *set->examples);
    ASSERT(set->examples);
    // Aligned: malloc aligns the file, and the header is a multiple of the word size.
    const uint16_t *at = (const uint16_t *)(const void *)(set->file + HEADER_BYTES);
    const uint16_t *end = (const uint16_t *)(const void *)(set->file + size);
    int longest = 0;
    for (int i = 0; i < set->n_examples; i++) {
        int bytes = read_example(set, i, at, end, path, err);
        if (bytes == 0) return false;
        if (bytes > longest) longest = bytes;
        at += bytes / 2;
    }
    if (at != end)
        return error_set(err, "%s has data after its %d examples: the file is corrupt", path, set->n_examples);
    if (longest != header[3])
        return error_set(err, "%s: its longest example has %d bytes, but its header says %d: the file is corrupt",
                         path, longest, header[3]);
    return true;
}

bool hellaswag_open(Hellaswag *set, const char *path, Error *err) {
    size_t size;
    *set = (Hellaswag){0};
    set->file = file_read_whole(&size, path, FILE_MAX, err);
    if (!set->file) return false;
    if (read_all(set, size, path, err)) return true;
    hellaswag_close(set);
    return false;
}

void hellaswag_close(Hellaswag *set) {
    free(set->examples);
    free(set->file);
    *set = (Hellaswag){0};
}
