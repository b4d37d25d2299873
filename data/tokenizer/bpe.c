// Reads a `.tiktoken` file and builds its lookup tables.
#include "data/tokenizer/bpe.h"

#include "base/utf8.h"
#include "base/file.h"
#include "data/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

// Upper bound of a valid file: 4 characters per 3 bytes, a space, a rank of 5 digits and a newline per token.
enum { MAX_FILE = BPE_MAX_TOKENS * (4 * ((BPE_MAX_BYTES + 2) / 3) + 7) };

static uint32_t hash_bytes(const char *bytes, size_t size) {
    uint64_t h = size;
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)bytes[i]) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

static uint32_t hash_pair(uint64_t left_right) {
    return (uint32_t)((left_right * 0x9E3779B97F4A7C15u) >> 32);
}

uint16_t bpe_find(const Bpe *bpe, const char *bytes, size_t size) {
    if (size > BPE_MAX_BYTES) return BPE_NO_TOKEN;
    for (uint32_t i = hash_bytes(bytes, size);; i++) {
        uint16_t token = bpe->tokens[i & (bpe->n_slots - 1)];
        if (token == BPE_NO_TOKEN) return token;
        uint32_t start = bpe->starts[token];
        if (bpe->starts[token + 1] - start == size && memcmp(bpe->bytes + start, bytes, size) == 0) return token;
    }
}

uint16_t bpe_find_pair(const Bpe *bpe, uint16_t left, uint16_t right) {
    uint64_t key = (uint64_t)left << 16 | right;
    for (uint32_t i = hash_pair(key);; i++) {
        uint64_t pair = bpe->pairs[i & (bpe->n_pair_slots - 1)];
        if (pair >> 16 == key) return (uint16_t)pair;
        if (pair == UINT64_MAX) return BPE_NO_TOKEN;
    }
}

// Value of a base64 digit; -1 for any other character.
static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Decodes padded base64 of at most BPE_MAX_BYTES bytes; returns the number of bytes, -1 if the text is invalid.
static int decode_base64(char *out, const char *text, size_t size) {
    size_t pad = size >= 4 && text[size - 1] == '=' ? 1u + (text[size - 2] == '=') : 0;
    if (size % 4 != 0 || size / 4 * 3 - pad > BPE_MAX_BYTES) return -1;
    int n = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < size - pad; i++) {
        int value = base64_digit(text[i]);
        if (value < 0) return -1;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 0) out[n++] = (char)(bits >> (6 - i % 4 * 2));
    }
    return n;
}

// One line of the file.
typedef struct {
    char bytes[BPE_MAX_BYTES];
    int length;
    int rank;
} Line;

static bool parse_line(Line *line, const char *text, size_t size, Error *err) {
    const char *blank = memchr(text, ' ', size);
    size_t n = blank ? (size_t)(blank - text) : size, rank_digits = size - n - 1;
    line->length = blank ? decode_base64(line->bytes, text, n) : -1;
    if (line->length < 1 || rank_digits < 1 || rank_digits > 5)
        return error_set(err, "expected a token of at most %d bytes in base64, a space and its rank",
                         BPE_MAX_BYTES);
    line->rank = 0;
    for (const char *p = blank + 1; p < text + size; p++) {
        if (*p < '0' || *p > '9') return error_set(err, "the rank is not a number");
        line->rank = 10 * line->rank + (*p - '0');
    }
    return true;
}

// Returns the length of the next line of [*at, end), without its newline, and advances *at past it.
static size_t next_line(const char **line, const char **at, const char *end) {
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    size_t size = (size_t)((newline ? newline : end) - *at);
    *line = *at;
    *at += size + (newline != NULL);
    return size;
}

// Called twice: first for the length of each token, then for its bytes.
static bool read_tokens(Bpe *bpe, const char *text, const char *end, bool lengths, Error *err) {
    int number = 1;
    for (const char *at = text; at < end; number++) {
        Line line;
        const char *start;
        size_t size = next_line(&start, &at, end);
        if (!parse_line(&line, start, size, err)) return error_prefix(err, "line %d", number);
        if (lengths && line.rank >= bpe->n_tokens)
            return error_set(err,
                             "line %d: rank %d is out of range, there are %d tokens: ranks must be 0, 1, 2, ...",
                             number, line.rank, bpe->n_tokens);
        if (lengths && bpe->starts[line.rank + 1])
            return error_set(err, "line %d: duplicate rank %d", number, line.rank);
        if (lengths) bpe->starts[line.rank + 1] = (uint32_t)line.length;
        else memcpy(bpe->bytes + bpe->starts[line.rank], line.bytes, (size_t)line.length);
    }
    return true;
}

static void *allocate(size_t n, size_t size, int fill) {
    void *p = malloc(n * size);
    ASSERT(p);
    return memset(p, fill, n * size);
}

static uint32_t slots_for(uint32_t n) {
    uint32_t slots = 16;
    while (slots < 2 * n) slots *= 2;
    return slots;
}

static bool fill_token_table(Bpe *bpe, Error *err) {
    bpe->n_slots = slots_for((uint32_t)bpe->n_tokens);
    bpe->tokens = allocate(bpe->n_slots, sizeof *bpe->tokens, 0xFF);
    for (int token = 0; token < bpe->n_tokens; token++) {
        const char *bytes = bpe->bytes + bpe->starts[token];
        size_t size = bpe->starts[token + 1] - bpe->starts[token];
        if (bpe_find(bpe, bytes, size) != BPE_NO_TOKEN)
            return error_set(err, "ranks %d and %d are the same token", bpe_find(bpe, bytes, size), token);
        uint32_t i = hash_bytes(bytes, size);
        while (bpe->tokens[i & (bpe->n_slots - 1)] != BPE_NO_TOKEN) i++;
        bpe->tokens[i & (bpe->n_slots - 1)] = (uint16_t)token;
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        bpe->single[b] = bpe_find(bpe, &byte, 1);
        if (bpe->single[b] == BPE_NO_TOKEN)
            return error_set(err, "no token for the byte 0x%02X: not every text could be encoded", b);
    }
    return true;
}

// Calls `add` for every pair of tokens whose concatenation is a token (every split of every token); NULL only counts.
static uint32_t for_each_pair(Bpe *bpe, void (*add)(Bpe *bpe, uint64_t pair)) {
    uint32_t n = 0;
    for (int token = 0; token < bpe->n_tokens; token++) {
        const char *bytes = bpe->bytes + bpe->starts[token];
        size_t size = bpe->starts[token + 1] - bpe->starts[token];
        for (size_t cut = 1; cut < size; cut++) {
            uint16_t left = bpe_find(bpe, bytes, cut), right;
            if (left == BPE_NO_TOKEN) continue;
            right = bpe_find(bpe, bytes + cut, size - cut);
            if (right == BPE_NO_TOKEN) continue;
            n++;
            if (add) add(bpe, (uint64_t)left << 32 | (uint64_t)right << 16 | (uint64_t)token);
        }
    }
    return n;
}

static void add_pair(Bpe *bpe, uint64_t pair) {
    uint32_t i = hash_pair(pair >> 16);
    while (bpe->pairs[i & (bpe->n_pair_slots - 1)] != UINT64_MAX) i++;
    bpe->pairs[i & (bpe->n_pair_slots - 1)] = pair;
}

static bool parse(Bpe *bpe, const char *text, size_t size, Error *err) {
    const char *end = text + size, *line;
    int64_t n = 0;
    for (const char *at = text; at < end; n++) next_line(&line, &at, end);
    if (n > BPE_MAX_TOKENS)
        return error_set(err, "it has %lld lines; 16-bit tokens allow at most %d", (long long)n, BPE_MAX_TOKENS);
    bpe->n_tokens = (int)n;
    bpe->starts = allocate((size_t)n + 1, sizeof *bpe->starts, 0);
    if (!read_tokens(bpe, text, end, true, err)) return false;
    for (int64_t i = 0; i < n; i++) bpe->starts[i + 1] += bpe->starts[i];
    bpe->bytes = allocate(bpe->starts[n] + 1, 1, 0);
    if (!read_tokens(bpe, text, end, false, err) || !fill_token_table(bpe, err)) return false;
    bpe->n_pair_slots = slots_for(for_each_pair(bpe, NULL));
    bpe->pairs = allocate(bpe->n_pair_slots, sizeof *bpe->pairs, 0xFF);
    for_each_pair(bpe, add_pair);
    bpe->classes = allocate(UNICODE_CODES, 1, 0);
    unicode_fill_classes(bpe->classes);
    return true;
}

Bpe *bpe_open(const char *path, Error *err) {
    size_t size;
    char *text = file_read_whole(&size, path, MAX_FILE, err);
    if (!text) return NULL;
    Bpe *bpe = allocate(1, sizeof *bpe, 0);
    size_t bom = utf8_bom_size(text, size);
    bool ok = parse(bpe, text + bom, size - bom, err);
    free(text);
    if (ok) return bpe;
    error_prefix(err, "%s is not a valid vocabulary", path);
    bpe_close(bpe);
    return NULL;
}

void bpe_close(Bpe *bpe) {
    if (!bpe) return;
    free(bpe->bytes);
    free(bpe->starts);
    free(bpe->tokens);
    free(bpe->pairs);
    free(bpe->classes);
    free(bpe);
}
