// Runs a fuzzer without libFuzzer: on every file of a folder, then on N deterministic mutations of them.
//   fuzz_NAME FOLDER N
#include "base/random.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdlib.h>

enum { MOST_SEEDS = 64, MOST_BYTES = 1 << 16 };

typedef struct {
    uint8_t *bytes;
    size_t size;
} Seed;

static Seed read_seed(const char *folder, const char *name) {
    char path[4096];
    Seed seed = {malloc(MOST_BYTES), 0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    ASSERT(file && seed.bytes);
    seed.size = fread(seed.bytes, 1, MOST_BYTES, file);
    fclose(file);
    return seed;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_file(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

// A few changes: bits, bytes of interest, numbers, pieces removed, repeated or taken from elsewhere.
static size_t mutate(uint8_t *to, const Seed *seed, const Seed *other, uint64_t number) {
    static const uint8_t bytes[] = {0, 1, 0x7F, 0x80, 0xFF, '"', '{', '}', '[', ',', '\n', ' ', '=', '-', '9', 'e'};
    size_t n = seed->size;
    memcpy(to, seed->bytes, n);
    uint32_t r[4];
    random_bits(r, 7, RANDOM_TEST, number << 8);
    int changes = 1 + (int)(r[3] % 4);
    for (int i = 1; i <= changes; i++) {
        random_bits(r, 7, RANDOM_TEST, (number << 8) + (uint64_t)i);
        size_t at = n ? r[0] % n : 0, length = n ? 1 + r[1] % (n - at < 16 ? n - at : 16) : 0;
        switch (r[2] % 6) {
        case 0:
            if (n) to[at] ^= (uint8_t)(1u << (r[3] % 8));
            break;
        case 1:
            if (n) to[at] = bytes[r[3] % sizeof bytes];
            break;
        case 2: // a number in place of four bytes
            if (n - at >= 4 && n >= 4) memcpy(to + at, &r[3], 4);
            break;
        case 3:
            memmove(to + at, to + at + length, n - at - length);
            n -= length;
            break;
        case 4:
            if (n + length > MOST_BYTES) break;
            memmove(to + at + length, to + at, n - at);
            n += length;
            break;
        default:
            if (other->size == 0 || n == 0) break;
            for (size_t j = 0; j < length && at + j < n; j++) to[at + j] = other->bytes[(r[3] + j) % other->size];
        }
    }
    return r[1] % 50 == 0 ? n / 2 : n;
}

int main(int argc, char **argv) {
    struct dirent **names;
    Seed seeds[MOST_SEEDS];
    ASSERT(argc == 3);
    int found = scandir(argv[1], &names, is_file, by_name), n_seeds = 0;
    ASSERT(found > 0);
    for (int i = 0; i < found; i++) {
        if (n_seeds < MOST_SEEDS) seeds[n_seeds++] = read_seed(argv[1], names[i]->d_name);
        free(names[i]);
    }
    free(names);
    for (int i = 0; i < n_seeds; i++) LLVMFuzzerTestOneInput(seeds[i].bytes, seeds[i].size);
    uint64_t count = strtoull(argv[2], NULL, 10);
    for (uint64_t i = 0; i < count; i++) {
        // A block of its own for every input, of its size: a byte beyond it is seen.
        uint8_t buffer[MOST_BYTES];
        uint32_t r[4];
        random_bits(r, 8, RANDOM_TEST, i);
        size_t size = mutate(buffer, &seeds[r[0] % (unsigned)n_seeds], &seeds[r[1] % (unsigned)n_seeds], i);
        uint8_t *input = malloc(size ? size : 1);
        ASSERT(input);
        memcpy(input, buffer, size);
        LLVMFuzzerTestOneInput(input, size);
        free(input);
    }
    for (int i = 0; i < n_seeds; i++) free(seeds[i].bytes);
    printf("%d seeds, %llu mutations\n", n_seeds, (unsigned long long)count);
    return 0;
}
