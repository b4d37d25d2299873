// data/tokenizer/decompress.h - gzip and zstd streams, by zlib and libzstd, which are loaded when they are first
// needed.
#ifndef POLAR_DATA_TOKENIZER_DECOMPRESS_H
#define POLAR_DATA_TOKENIZER_DECOMPRESS_H

#include "base/error.h"

#include <stddef.h>

typedef enum { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD } Compression;

// The compression that the first bytes of a file show.
Compression compression_of(const unsigned char *head, size_t size);

typedef struct Decompressor Decompressor;

// NULL with an error if the library is not installed.
Decompressor *decompressor_open(Compression compression, Error *err);
void decompressor_close(Decompressor *d); // NULL is allowed

// Decompresses from in[0, *in_size) to out[0, *out_size); both sizes become what was used and written. Several
// members or frames in a row are one stream. Neither moves where more input is needed.
bool decompress(Decompressor *d, char *out, size_t *out_size, const unsigned char *in, size_t *in_size, Error *err);

// Returns true where the input may end: behind a whole member or frame.
bool decompressor_is_complete(const Decompressor *d);
#endif
