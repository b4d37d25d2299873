// run/training/utf8_stream.h - writes a stream of bytes as complete UTF-8 characters.
#ifndef POLAR_RUN_TRAINING_UTF8_STREAM_H
#define POLAR_RUN_TRAINING_UTF8_STREAM_H

#include <stddef.h>
#include <stdio.h>

// Start from {.out = ...}.
typedef struct {
    FILE *out;
    char pending[4]; // start of an incomplete character
    int n_pending;
} Utf8Stream;

// Writes complete characters and keeps the start of an incomplete one. Invalid bytes and zero bytes become U+FFFD,
// one each.
void utf8_stream_write(Utf8Stream *writer, const char *bytes, size_t size);

// Flushes what is pending; call once at the end.
void utf8_stream_flush(Utf8Stream *writer);
#endif
