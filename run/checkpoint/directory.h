// run/checkpoint/directory.h - the directory of checkpoints: names, listing, removal.
#ifndef POLAR_RUN_CHECKPOINT_DIRECTORY_H
#define POLAR_RUN_CHECKPOINT_DIRECTORY_H

#include "base/error.h"
#include "base/path.h"

#include <stddef.h>
#include <stdint.h>

// The path RUN/checkpoints/step_00000100, or if `temporary` the one it is written to before the rename.
void checkpoint_path(char out[PATH_BYTES], const char *run, int64_t step, bool temporary);

// Errors: the directory of checkpoints exists but cannot be read, so that there may be some.
bool checkpoint_readable(const char *run, Error *err);

// Lists the steps of all checkpoints, newest first; the caller frees *steps. Returns their number (0 if there is no
// directory).
int checkpoint_list(int64_t **steps, const char *run);

// The steps of all checkpoints of a run after `step`, as text: "300, 200"; "" if there are none.
void checkpoint_steps_after(char *text, size_t size, const char *run, int64_t step);

// Removes a checkpoint atomically: it is renamed first, so a partly removed one is never visible. Removing one that
// does not exist is no error.
bool checkpoint_remove(const char *run, int64_t step, Error *err);

// Removes leftovers of an interrupted save or removal. Best effort.
void checkpoint_clean(const char *run);

// Removes all checkpoints of a run. It is no error if there are none.
bool checkpoint_remove_all(const char *run, Error *err);

// Removes the checkpoints after `step`.
bool checkpoint_remove_after(const char *run, int64_t step, Error *err);
#endif
