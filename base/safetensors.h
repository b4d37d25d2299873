// base/safetensors.h - the safetensors format (Hugging Face): reading untrusted files, writing files others load.
#ifndef POLAR_BASE_SAFETENSORS_H
#define POLAR_BASE_SAFETENSORS_H

#include "base/error.h"
#include "base/type.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SAFETENSORS_MAX_DIMS = 8 };

typedef struct {
    char name[160];
    Type type;
    int n_dims;
    int64_t shape[SAFETENSORS_MAX_DIMS];
    int64_t elements;
    int64_t begin, end; // bytes, from the start of the data area
} SafeTensor;

// An open file. Every size and offset has been checked: tensors are contiguous, in range, and as large as their shapes
// say. Tensors of types this program does not have are refused with their name. Data are read when they are asked for,
// not mapped: a file that is cut short meanwhile is then an error, where a mapping would end the process (SIGBUS).
typedef struct {
    SafeTensor *tensors; // in order of begin
    int n_tensors;
    int fd; // -1: not open
    char *path;
    int64_t data_start;
    uint32_t header_crc; // CRC-32C of all before it: a reader of all tensors in order can go on to the whole file's
} Safetensors;

bool safetensors_open(Safetensors *file, const char *path, Error *err);
void safetensors_close(Safetensors *file);
const SafeTensor *safetensors_find(const Safetensors *file, const char *name); // NULL if absent
// Bytes [at, at + n) of a tensor, which has end - begin of them. Errors: the file changed since it was opened.
bool safetensors_read_bytes(void *out, const Safetensors *file, const SafeTensor *tensor, int64_t at, int64_t n,
                            Error *err);
// Elements [first, first + n) of a tensor of a floating-point type (float_type_is), as doubles.
bool safetensors_read(double *out, const Safetensors *file, const SafeTensor *tensor, int64_t first, int64_t n,
                      Error *err);

// Writes a file: fill name, type, n_dims, shape of every tensor (begin, end, elements are filled in); then the data
// of each in that order; then finish, which fsyncs. The CRC-32C of the whole file goes to *crc. After an error the
// file is closed; the caller removes it.
typedef struct {
    int fd;
    char path[4096];
    int64_t expected, written;
    uint32_t crc;
} SafetensorsWriter;

bool safetensors_write_begin(SafetensorsWriter *w, const char *path, SafeTensor *tensors, int n, Error *err);
bool safetensors_write_data(SafetensorsWriter *w, const void *data, int64_t bytes, Error *err);
bool safetensors_write_finish(SafetensorsWriter *w, uint32_t *crc, Error *err);

#ifdef __cplusplus
}
#endif
#endif
