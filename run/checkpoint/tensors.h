// run/checkpoint/tensors.h - the tensors of a checkpoint's two files and their way to and from the device. For
// checkpoint*.c.
#ifndef POLAR_RUN_CHECKPOINT_TENSORS_H
#define POLAR_RUN_CHECKPOINT_TENSORS_H

#include "run/checkpoint/checkpoint.h"

typedef enum { TENSORS_MODEL, TENSORS_OPTIMIZER, TENSORS_FILES } TensorsFile;

const char *tensors_file_name(TensorsFile file);

// Writes a file and tells its size and checksum.
bool tensors_write(int64_t *size, uint32_t *crc, const char *path, TensorsFile file, const CheckpointParts *parts,
                   Error *err);

// Refuses a file whose tensors are not exactly those of the parts, by name, type and shape; then loads it.
bool tensors_read(const char *path, TensorsFile file, const CheckpointParts *parts, Error *err);

#endif
