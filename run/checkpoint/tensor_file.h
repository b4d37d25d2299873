// run/checkpoint/tensor_file.h - writes and reads one safetensors file of a checkpoint. Internal to run/checkpoint.
#ifndef POLAR_RUN_CHECKPOINT_TENSOR_FILE_H
#define POLAR_RUN_CHECKPOINT_TENSOR_FILE_H

#include "run/checkpoint/tensors.h"

// Size and CRC-32C of a file, as recorded in state.json.
typedef struct {
    int64_t size;
    uint32_t crc;
} FileSum;

// Writes the tensors of one file in list order and returns its size and checksum in *sum. If stream is NULL, they are
// in host memory.
bool tensor_file_write(FileSum *sum, const char *path, const CheckpointTensors *tensors, CheckpointFile file,
                       Stream *stream, Error *err);

// Reads a file in one pass: each chunk is added to the checksum, checked for non-finite values and copied to its
// tensor. The checksum is compared only at the end, so after an error the tensors are partly overwritten. On error,
// *corrupt is true if the file is unreadable, does not match `sum` or has non-finite values; it is false if the file is
// intact but its tensors differ from the list by name, type or shape: then no tensor was modified.
bool tensor_file_read(bool *corrupt, const char *path, const FileSum *sum, const CheckpointTensors *tensors,
                      CheckpointFile file, Stream *stream, Error *err);
#endif
