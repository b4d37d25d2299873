// run/training/utf8_stream.h - bytes that come in pieces, written as whole characters.
#ifndef POLAR_RUN_TRAINING_UTF8_STREAM_H
#define POLAR_RUN_TRAINING_UTF8_STREAM_H

#include <stddef.h>
#include <stdio.h>

// Start from {.out = ...}.
typedef struct {
    FILE *out;
    char pending[4]; // the beginning of a character
    int n_pending;
} Utf8Stream;

// Writes the UTF-8 characters that are complete and keeps a beginning of one. What is not UTF-8, and the zero byte,
// becomes U+FFFD, byte by byte.
void utf8_stream_write(Utf8Stream *writer, const char *bytes, size_t size);

// Nothing more comes.
void utf8_stream_flush(Utf8Stream *writer);
#endif
