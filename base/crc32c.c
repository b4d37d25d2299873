#include "base/crc32c.h"

#include <pthread.h>

enum { SLICES = 8 };

// table[k][b]: the CRC of byte b followed by k zero bytes. Filled once, then constant.
static uint32_t table[SLICES][256];

static void table_fill(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int bit = 0; bit < 8; bit++) c = c >> 1 ^ (0x82F63B78u & (0u - (c & 1)));
        table[0][b] = c;
    }
    for (int k = 1; k < SLICES; k++)
        for (int b = 0; b < 256; b++) table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
}

static uint32_t load_u32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// Slicing-by-8 (Kounavis, Berry 2005): eight bytes per iteration, each looked up in the table for its
// distance from the end.
uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, table_fill);

    const unsigned char *p = data;
    uint32_t c = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint32_t a = c ^ load_u32(p), b = load_u32(p + 4);
        c = table[7][a & 255] ^ table[6][a >> 8 & 255] ^ table[5][a >> 16 & 255] ^ table[4][a >> 24] ^
            table[3][b & 255] ^ table[2][b >> 8 & 255] ^ table[1][b >> 16 & 255] ^ table[0][b >> 24];
    }
    for (; size > 0; size--, p++) c = c >> 8 ^ table[0][(c ^ *p) & 255];
    return ~c;
}
