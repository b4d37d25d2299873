// run/checkpoint/directory.h - the folder of checkpoints: names, listing, removal.
#ifndef POLAR_RUN_CHECKPOINT_DIRECTORY_H
#define POLAR_RUN_CHECKPOINT_DIRECTORY_H

#include "base/error.h"
#include "base/path.h"

#include <stdint.h>

// RUN/checkpoints/step_00000100, or with `temporary` the name it is written under.
void checkpoint_path(char out[PATH_BYTES], const char *run, int64_t step, bool temporary);

// Steps of the checkpoints, newest first; freed with free(). Returns their number (0 where there is no folder).
int checkpoint_list(int64_t **steps, const char *run);

// Takes a checkpoint's name away first, so that no half-removed one is ever seen. No error where there is none.
bool checkpoint_remove(const char *run, int64_t step, Error *err);

// Removes what an interrupted save or removal left.
void checkpoint_clean(const char *run);

// Removes all checkpoints of a run; no error where there are none.
bool checkpoint_remove_all(const char *run, Error *err);
#endif
