#include "base/random.h"

#include <math.h>

// Ten rounds of Philox4x32, with the multipliers and key increments of the paper.
void random_bits(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0, c1 = (uint32_t)p1, c2 = n2, c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// The upper 53 of 64 bits as a number in [0, 1).
static double unit(uint32_t high, uint32_t low) {
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t bits[4];
    random_bits(bits, seed, stream, index);
    return unit(bits[0], bits[1]);
}

double random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t bits[4];
    random_bits(bits, seed, stream, index);
    double radius = sqrt(-2 * log(1 - unit(bits[0], bits[1]))); // 1 - u is never 0
    return radius * cos(2 * 3.14159265358979323846 * unit(bits[2], bits[3]));
}

uint64_t random_stream(uint64_t stream, const char *name) {
    uint64_t hash = 0xCBF29CE484222325u ^ stream; // FNV-1a
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001B3u;
    return hash;
}
