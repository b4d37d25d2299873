// run/checkpoint/state_file.h - writes and parses state.json: the training state and the checksums of the tensor files.
// Internal to run/checkpoint.
#ifndef POLAR_RUN_CHECKPOINT_STATE_FILE_H
#define POLAR_RUN_CHECKPOINT_STATE_FILE_H

#include "base/json.h"
#include "data/datasets.h"
#include "run/checkpoint/tensor_file.h"
#include "run/checkpoint/train_state.h"

enum { CHECKPOINT_VERSION = 1 };

// Returns the text of state.json; the caller frees it.
char *state_to_text(size_t *size, const RunState *state, const FileSum sums[CHECKPOINT_FILES],
                    const Datasets *data);

// Reads and checks state.json. *json is the parsed file, for state_check_data; the caller frees it with json_free().
bool state_from_file(RunState *state, FileSum sums[CHECKPOINT_FILES], Json **json, const char *path, Error *err);

// Checks that the data shards are those recorded in the state: names, token counts, fingerprints.
bool state_check_data(const Json *json, const Datasets *data, const char *path, Error *err);

#endif
