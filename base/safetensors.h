// base/safetensors.h - the safetensors format (Hugging Face): a reader for untrusted files, and a writer.
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
    int64_t begin, end; // byte offsets from the start of the data area
} SafeTensor;

// An open file. Every size and offset has been checked: the tensors are contiguous, in range, and their sizes match
// their shapes. A tensor of an unsupported type is an error that names it. Data is read on request and not
// memory-mapped, so that a file truncated meanwhile is an error and not a SIGBUS.
typedef struct {
    SafeTensor *tensors; // in order of begin
    int n_tensors;
    int fd; // -1: not open
    char *path;
    int64_t data_start;
    uint32_t header_crc; // CRC-32C of everything before data_start, for readers that extend it to the whole file
} Safetensors;

bool safetensors_open(Safetensors *file, const char *path, Error *err);
void safetensors_close(Safetensors *file);
const SafeTensor *safetensors_find(const Safetensors *file, const char *name); // NULL if absent
// Reads bytes [at, at + n) of a tensor's end - begin. Errors: the file changed since it was opened.
bool safetensors_read_bytes(void *out, const Safetensors *file, const SafeTensor *tensor, int64_t at, int64_t n,
                            Error *err);
// Reads elements [first, first + n) of a floating-point tensor (float_type_is), converted to double.
bool safetensors_read(double *out, const Safetensors *file, const SafeTensor *tensor, int64_t first, int64_t n,
                      Error *err);

// Writes a file: the caller sets name, type, n_dims and shape of every tensor (begin, end and elements are computed),
// writes their data in that order and calls finish, which fsyncs and returns the CRC-32C of the whole file in *crc.
// After an error the file is closed; the caller removes it.
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
