// base/crc32c.h - CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), for checkpoints and shards.
#ifndef POLAR_BASE_CRC32C_H
#define POLAR_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// Extends a checksum by `size` more bytes; start with crc = 0. crc32c(0, "123456789", 9) == 0xE3069283.
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
#endif
