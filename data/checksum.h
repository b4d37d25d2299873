// data/checksum.h - CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), for checkpoints and shards.
#ifndef POLAR_DATA_CHECKSUM_H
#define POLAR_DATA_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Continues a checksum over more bytes; start with 0. crc32c(0, "123456789", 9) == 0xE3069283.
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
