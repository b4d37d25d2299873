// run/checkpoint/state_file.h - state.json: text from and to the state of a run and the files it vouches for. For
// checkpoint*.c.
#ifndef POLAR_RUN_CHECKPOINT_STATE_FILE_H
#define POLAR_RUN_CHECKPOINT_STATE_FILE_H

#include "base/json.h"
#include "data/datasets.h"
#include "run/checkpoint/tensor_file.h"
#include "run/checkpoint/train_state.h"

enum { CHECKPOINT_VERSION = 1 };

// Returns the text, freed with free().
char *state_to_text(size_t *size, const RunState *state, const FileSum sums[CHECKPOINT_FILES],
                    const Datasets *data);

// Reads and checks it. *json is the whole of it, for state_check_data; freed with json_free().
bool state_from_file(RunState *state, FileSum sums[CHECKPOINT_FILES], Json **json, const char *path, Error *err);

// Refuses data whose shards are not those that the state names.
bool state_check_data(const Json *json, const Datasets *data, const char *path, Error *err);

#endif
