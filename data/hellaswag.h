// data/hellaswag.h - multiple choice (HellaSwag; Zellers et al. 2019) as tokens: the .bin format of llm.c.
//
// 256 little-endian int32 (magic 20240522, version 1, number of examples, bytes of the longest, zeros); then a stream
// of uint16, of each example: 65535, its bytes, its number, the right ending, the number of endings (4), tokens of
// the context, the context, and four times tokens of an ending, the ending.
#ifndef POLAR_DATA_HELLASWAG_H
#define POLAR_DATA_HELLASWAG_H

#include "base/error.h"

#include <stdint.h>

enum { HELLASWAG_MAGIC = 20240522, HELLASWAG_VERSION = 1, HELLASWAG_ENDINGS = 4 };

typedef struct {
    int label; // the right ending
    int n_context, n_ending[HELLASWAG_ENDINGS];
    const uint16_t *context, *endings[HELLASWAG_ENDINGS];
} HellaswagExample;

typedef struct {
    char *file; // what the examples point into
    HellaswagExample *examples;
    int n_examples;
    int longest;   // most tokens of a context with an ending
    int max_token; // the largest token
} Hellaswag;

// Reads a file. Every size in it is checked; errors name the file and the example.
bool hellaswag_open(Hellaswag *set, const char *path, Error *err);
void hellaswag_close(Hellaswag *set); // {0} is allowed
#endif
