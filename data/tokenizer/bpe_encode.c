// BPE encoding: splits a text into pieces, and merges each piece into tokens.
#include "data/tokenizer/bpe.h"

#include "data/tokenizer/split.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

// Pieces of at most CACHE_BYTES bytes and CACHE_TOKENS tokens are kept in a direct-mapped cache. Pieces of at most
// SHORT_BYTES bytes are merged with a linear search for every merge, longer ones with a heap.
enum { CACHE_BITS = 14, CACHE_BYTES = 15, CACHE_TOKENS = 7, SHORT_BYTES = 96 };

typedef struct {
    uint64_t key[2]; // the bytes, zero padding, and in the highest byte their number; 0: empty
    uint16_t n, tokens[CACHE_TOKENS];
} CacheSlot;

// A symbol of a long piece; the symbols form a doubly linked list.
typedef struct {
    uint32_t previous, next; // indices; NO_POSITION at the ends
    uint16_t token;          // BPE_NO_TOKEN: merged into the previous symbol
} Symbol;

static const uint32_t NO_POSITION = UINT32_MAX;

// A min-heap of candidate merges, rank << 32 | position of the left symbol: the minimum is the leftmost of lowest rank.
typedef struct {
    uint64_t *items;
    size_t n;
} Heap;

struct BpeEncoder {
    const Bpe *bpe;
    CacheSlot cache[1 << CACHE_BITS];
};

BpeEncoder *bpe_encoder_create(const Bpe *bpe) {
    BpeEncoder *encoder = calloc(1, sizeof *encoder);
    ASSERT(encoder);
    encoder->bpe = bpe;
    return encoder;
}

void bpe_encoder_free(BpeEncoder *encoder) {
    free(encoder);
}

static int merge_short(uint16_t *tokens, const Bpe *bpe, const char *bytes, int n) {
    uint16_t merged[SHORT_BYTES]; // (n - 1) result of merging tokens i and i + 1, which is also the rank
    for (int i = 0; i < n; i++) tokens[i] = bpe->single[(unsigned char)bytes[i]];
    for (int i = 0; i + 1 < n; i++) merged[i] = bpe_find_pair(bpe, tokens[i], tokens[i + 1]);
    for (;;) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++)
            if (merged[i] < merged[best]) best = i;
        if (n < 2 || merged[best] == BPE_NO_TOKEN) return n;
        tokens[best] = merged[best];
        n--;
        size_t n_after = (size_t)(n - best - 1);
        memmove(tokens + best + 1, tokens + best + 2, n_after * sizeof *tokens);
        memmove(merged + best, merged + best + 1, n_after * sizeof *merged);
        if (best > 0) merged[best - 1] = bpe_find_pair(bpe, tokens[best - 1], tokens[best]);
        if (best + 1 < n) merged[best] = bpe_find_pair(bpe, tokens[best], tokens[best + 1]);
    }
}

static void heap_push(Heap *heap, uint64_t item) {
    size_t i = heap->n++;
    for (; i > 0 && heap->items[(i - 1) / 2] > item; i = (i - 1) / 2) heap->items[i] = heap->items[(i - 1) / 2];
    heap->items[i] = item;
}

static uint64_t heap_pop(Heap *heap) {
    uint64_t top = heap->items[0], last = heap->items[--heap->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < heap->n; i = child) {
        if (child + 1 < heap->n && heap->items[child + 1] < heap->items[child]) child++;
        if (heap->items[child] >= last) break;
        heap->items[i] = heap->items[child];
    }
    heap->items[i] = last;
    return top;
}

// Returns the token that the symbol at a position and the next one merge to; BPE_NO_TOKEN if none.
static uint16_t merged_at(const Bpe *bpe, const Symbol *symbols, uint32_t at) {
    const Symbol *s = &symbols[at];
    if (s->token == BPE_NO_TOKEN || s->next == NO_POSITION) return BPE_NO_TOKEN;
    return bpe_find_pair(bpe, s->token, symbols[s->next].token);
}

static void push_pair(Heap *heap, const Bpe *bpe, const Symbol *symbols, uint32_t at) {
    uint16_t merged = merged_at(bpe, symbols, at);
    if (merged != BPE_NO_TOKEN) heap_push(heap, (uint64_t)merged << 32 | at);
}

static int64_t merge_long(uint16_t *tokens, const Bpe *bpe, const char *bytes, uint32_t n) {
    Symbol *symbols = malloc(n * sizeof *symbols);
    Heap heap = {malloc(2 * (size_t)n * sizeof *heap.items), 0}; // a merge removes one pair and adds at most two
    ASSERT(symbols && heap.items);
    for (uint32_t i = 0; i < n; i++)
        symbols[i] = (Symbol){i ? i - 1 : NO_POSITION, i + 1 < n ? i + 1 : NO_POSITION,
                              bpe->single[(unsigned char)bytes[i]]};
    for (uint32_t i = 0; i < n; i++) push_pair(&heap, bpe, symbols, i);
    while (heap.n > 0) {
        uint64_t item = heap_pop(&heap);
        uint32_t at = (uint32_t)item;
        uint16_t merged = (uint16_t)(item >> 32);
        if (merged_at(bpe, symbols, at) != merged) continue; // stale: one of the two has been merged since
        Symbol *left = &symbols[at], *right = &symbols[left->next];
        left->token = merged;
        left->next = right->next;
        right->token = BPE_NO_TOKEN;
        if (left->next != NO_POSITION) symbols[left->next].previous = at;
        if (left->previous != NO_POSITION) push_pair(&heap, bpe, symbols, left->previous);
        push_pair(&heap, bpe, symbols, at);
    }
    int64_t n_tokens = 0;
    for (uint32_t at = 0; at != NO_POSITION; at = symbols[at].next) tokens[n_tokens++] = symbols[at].token;
    free(symbols);
    free(heap.items);
    return n_tokens;
}

static int64_t encode_piece(uint16_t *tokens, const Bpe *bpe, const char *bytes, size_t size) {
    tokens[0] = bpe_find(bpe, bytes, size);
    if (tokens[0] != BPE_NO_TOKEN) return 1;
    return size <= SHORT_BYTES ? merge_short(tokens, bpe, bytes, (int)size)
                               : merge_long(tokens, bpe, bytes, (uint32_t)size);
}

static int64_t encode_cached(uint16_t *tokens, BpeEncoder *encoder, const char *bytes, size_t size) {
    union {
        uint64_t word[2];
        char bytes[CACHE_BYTES + 1];
    } key = {{0}};
    memcpy(key.bytes, bytes, size);
    key.bytes[CACHE_BYTES] = (char)size;
    uint64_t hash = (key.word[0] * 0x9E3779B97F4A7C15u ^ key.word[1]) * 0xD6E8FEB86659FD93u;
    CacheSlot *slot = &encoder->cache[hash >> (64 - CACHE_BITS)];
    if (slot->key[0] == key.word[0] && slot->key[1] == key.word[1]) {
        for (int i = 0; i < slot->n; i++) tokens[i] = slot->tokens[i];
        return slot->n;
    }
    int64_t n = encode_piece(tokens, encoder->bpe, bytes, size);
    if (n <= CACHE_TOKENS) {
        memcpy(slot->key, key.word, sizeof slot->key);
        slot->n = (uint16_t)n;
        memcpy(slot->tokens, tokens, (size_t)n * sizeof *tokens);
    }
    return n;
}

// Returns the length of the longest well-formed UTF-8 prefix.
static size_t valid_prefix(const char *text, size_t size) {
    size_t at = 0;
    while (at < size) {
        uint64_t eight;
        if (size - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        int length = utf8_length(text + at, size - at);
        if (length == 0) break;
        at += (size_t)length;
    }
    return at;
}

// Returns the number of bytes of ill-formed text that become one U+FFFD: the maximal subpart of a character.
static size_t invalid_length(const char *text, size_t size) {
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0xC2 || p[0] > 0xF4 || size < 2) return 1;
    unsigned low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[0] < 0xE0 || p[1] < low || p[1] > high) return 1;
    return p[0] >= 0xF0 && size > 2 && (p[2] & 0xC0) == 0x80 ? 3 : 2;
}

// Returns a copy of the text with U+FFFD for invalid UTF-8, to be freed by the caller.
static char *replace_invalid(size_t *out_size, const char *text, size_t size) {
    char *out = malloc(3 * size);
    ASSERT(out);
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        size_t valid = valid_prefix(text + at, size - at);
        memcpy(out + n, text + at, valid);
        n += valid;
        at += valid;
        if (at == size) break;
        memcpy(out + n, "\xEF\xBF\xBD", 3);
        n += 3;
        at += invalid_length(text + at, size - at);
    }
    *out_size = n;
    return out;
}

int64_t bpe_encode(uint16_t *tokens, BpeEncoder *encoder, const char *text, size_t size) {
    char *replaced = NULL;
    if (valid_prefix(text, size) < size) text = replaced = replace_invalid(&size, text, size);
    ASSERT(size < NO_POSITION);
    int64_t n = 0;
    for (size_t at = 0, end; at < size; at = end) {
        end = split_piece_end(encoder->bpe->classes, text, at, size);
        n += end - at <= CACHE_BYTES ? encode_cached(tokens + n, encoder, text + at, end - at)
                                     : encode_piece(tokens + n, encoder->bpe, text + at, end - at);
    }
    free(replaced);
    return n;
}
