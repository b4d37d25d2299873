// run/checkpoint/tensor_file.h - a file of a checkpoint's tensors: written from them and read into them. For checkpoint.c.
#ifndef POLAR_RUN_CHECKPOINT_TENSOR_FILE_H
#define POLAR_RUN_CHECKPOINT_TENSOR_FILE_H

#include "run/checkpoint/tensors.h"

// What state.json vouches for.
typedef struct {
    int64_t size;
    uint32_t crc;
} FileSum;

// Writes the tensors of one file in their order and tells its size and checksum. Without a stream they are in host memory.
bool tensor_file_write(FileSum *sum, const char *path, const CheckpointTensors *tensors, CheckpointFile file,
                       Stream *stream, Error *err);

// Reads a file, once: a piece after the other is added to its checksum, looked at and copied to its place. So it is known
// only at the end whether it is the file that `sum` vouches for; after an error the tensors hold whatever had been read.
// *damaged: the file cannot be read, is not the one that was written, or has numbers that a run cannot go on with. Where it is
// false, the file is in order, but its tensors are not exactly those of the list, by name, type and shape, and none was
// touched.
bool tensor_file_read(bool *damaged, const char *path, const FileSum *sum, const CheckpointTensors *tensors,
                      CheckpointFile file, Stream *stream, Error *err);
#endif
