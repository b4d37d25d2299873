// data/hellaswag.h - the HellaSwag benchmark (Zellers et al. 2019), tokenized, in llm.c's .bin format.
//
// A header of 256 little-endian int32: magic 20240522, version 1, number of examples, bytes of the longest example,
// zeros. Then uint16 words, for each example: 65535, its bytes, its index, the label, the number of endings (4), the
// length and tokens of the context, and four times the length and tokens of an ending.
#ifndef POLAR_DATA_HELLASWAG_H
#define POLAR_DATA_HELLASWAG_H

#include "base/error.h"

#include <stdint.h>

enum { HELLASWAG_MAGIC = 20240522, HELLASWAG_VERSION = 1, HELLASWAG_ENDINGS = 4 };

typedef struct {
    int label; // index of the correct ending
    int n_context, n_ending[HELLASWAG_ENDINGS];
    const uint16_t *context, *endings[HELLASWAG_ENDINGS];
} HellaswagExample;

typedef struct {
    char *file; // contents of the file, which the examples point into
    HellaswagExample *examples;
    int n_examples;
    int longest;   // maximum tokens of a context plus an ending
    int max_token; // the largest token in the file
} Hellaswag;

// Reads a file and checks every size in it; errors name the file and the example.
bool hellaswag_open(Hellaswag *set, const char *path, Error *err);
void hellaswag_close(Hellaswag *set); // {0} is allowed
#endif
