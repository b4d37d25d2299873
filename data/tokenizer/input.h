// data/tokenizer/input.h - a text file as a stream of bytes: decompressed, without its byte order mark, and known to be
// text.
#ifndef POLAR_DATA_TOKENIZER_INPUT_H
#define POLAR_DATA_TOKENIZER_INPUT_H

#include "data/tokenizer/decompress.h"
#include "data/tokenizer/tokenize.h"

#include <stdint.h>

typedef struct {
    const char *path;               // "standard input" for "-"
    int fd;                         // -1: not open
    bool is_json;                   // lines of JSON
    int64_t file_bytes, read_bytes; // of the file as it is stored; file_bytes -1: a pipe
    unsigned char *raw;             // a buffer of the stored bytes; raw[raw_at, raw_end) is not decompressed yet
    size_t raw_at, raw_end;
    bool raw_eof;
    Decompressor *decompressor;
    char *head; // the first bytes, looked at to tell the format; head[head_at, head_end) is not read yet
    size_t head_at, head_end;
} Input;

// Opens a file ("-": standard input) and tells its format: that of `format`, else lines of JSON where the name ends
// in .jsonl, .ndjson or .json (in any case, also before .gz or .zst) or the first line is a JSON object, else text.
// Refuses by name what is neither: UTF-16, Parquet and other binary formats, other compressions, empty files.
bool input_open(Input *input, const char *name, TextFormat format, Error *err);
void input_close(Input *input); // of {.fd = -1} too

// Reads up to `size` bytes; *n is 0 at the end and only there.
bool input_read(Input *input, char *data, size_t size, size_t *n, Error *err);
#endif
