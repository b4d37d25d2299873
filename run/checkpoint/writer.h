// run/checkpoint/writer.h - asynchronous checkpoints: a thread writes a host-memory snapshot while training continues.
//
// At most one checkpoint is in flight: starting the next one, or ending, waits for it. After an error nothing more is
// written, and every later call returns that error.
#ifndef POLAR_RUN_CHECKPOINT_WRITER_H
#define POLAR_RUN_CHECKPOINT_WRITER_H

#include "run/checkpoint/checkpoint.h"

typedef struct CheckpointWriter CheckpointWriter;

// Creates the writer of one run. `parts` is copied; the objects it points to must outlive the writer. Returns NULL if
// there is no memory for the snapshot or no thread. error_exit also waits for a checkpoint in flight.
CheckpointWriter *checkpoint_writer_create(const CheckpointParts *parts, int keep);
void checkpoint_writer_free(CheckpointWriter *writer); // waits

// Takes a snapshot of the device tensors and starts writing it as checkpoint_save does; `run` must stay valid until
// then.
bool checkpoint_writer_begin(CheckpointWriter *writer, const char *run, const RunState *state, Error *err);

// Returns false, with the error, if a completed checkpoint has failed. Does not wait.
bool checkpoint_writer_ok(CheckpointWriter *writer, Error *err);

// The same after waiting for the checkpoint in flight.
bool checkpoint_writer_wait(CheckpointWriter *writer, Error *err);
#endif
