// run/checkpoint/writer.h - checkpoints that a thread writes while training goes on, from a copy in host memory.
//
// One at a time: whoever wants the next, or wants to end, waits for the one before. After an error nothing more is
// written, and every later call gives that error again.
#ifndef POLAR_RUN_CHECKPOINT_WRITER_H
#define POLAR_RUN_CHECKPOINT_WRITER_H

#include "run/checkpoint/checkpoint.h"

typedef struct CheckpointWriter CheckpointWriter;

// For one run; parts are copied, what they point to must outlive it. NULL: no memory for the copy, or no thread. An end by
// error_exit waits for it too.
CheckpointWriter *checkpoint_writer_create(const CheckpointParts *parts, int keep);
void checkpoint_writer_free(CheckpointWriter *writer); // waits

// Copies what is on the device now and begins checkpoint_save of it; `run` must stay until it is done.
bool checkpoint_writer_begin(CheckpointWriter *writer, const char *run, const RunState *state, Error *err);

// Whether no checkpoint has failed so far, of those that are done.
bool checkpoint_writer_ok(CheckpointWriter *writer, Error *err);

// The same, when there is nothing left to do.
bool checkpoint_writer_wait(CheckpointWriter *writer, Error *err);
#endif
