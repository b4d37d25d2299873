#include "run/checkpoint/checkpoint.h"

#include "base/file.h"
#include "base/path.h"
#include "run/checkpoint/directory.h"
#include "run/checkpoint/finite.h"
#include "run/checkpoint/state_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_files(const char *folder, const CheckpointTensors *tensors, Stream *stream, const Datasets *data,
                        const RunState *state, Error *err) {
    char path[PATH_BYTES];
    FileSum sums[CHECKPOINT_FILES];
    ASSERT(tensors->n_files == CHECKPOINT_FILES);
    for (int f = 0; f < CHECKPOINT_FILES; f++) {
        path_join(path, folder, checkpoint_file_name((CheckpointFile)f));
        if (!tensor_file_write(&sums[f], path, tensors, (CheckpointFile)f, stream, err)) return false;
    }
    size_t size;
    char *text = state_to_text(&size, state, sums, data);
    path_join(path, folder, "state.json");
    bool ok = file_replace(path, &(FilePiece){text, size}, 1, err); // syncs the folder as well
    free(text);
    return ok;
}

static bool remove_old(const char *run, int64_t newest, int keep, Error *err) {
    int64_t *steps;
    int n = checkpoint_list(&steps, run), kept = 0;
    bool ok = true;
    for (int i = 0; i < n && ok; i++)
        if (steps[i] <= newest && ++kept > keep) ok = checkpoint_remove(run, steps[i], err);
    free(steps);
    return ok;
}

bool checkpoint_is_finite(const CheckpointParts *parts, Error *err) {
    CheckpointTensors tensors = checkpoint_tensors(parts->model, parts->optimizer);
    bool ok = finite_tensors(&tensors, parts->stream, err);
    checkpoint_tensors_free(&tensors);
    return ok;
}

bool checkpoint_save_tensors(const char *run, const CheckpointTensors *tensors, Stream *stream,
                             const Datasets *data, const RunState *state, int keep, Error *err) {
    char folder[PATH_BYTES], temporary[PATH_BYTES], final[PATH_BYTES];
    if (!finite_tensors(tensors, stream, err))
        return error_prefix(err, "step %" PRId64 " is not saved, so that the checkpoints before it are kept",
                            state->step);
    path_join(folder, run, "checkpoints");
    checkpoint_path(temporary, run, state->step, true);
    checkpoint_path(final, run, state->step, false);
    checkpoint_clean(run);
    if (!file_make_dirs(folder, err) || !file_sync_parent(folder, err)) return false;
    if (mkdir(temporary, 0777) != 0) return error_set(err, "cannot create %s: %s", temporary, strerror(errno));
    if (!write_files(temporary, tensors, stream, data, state, err)) {
        checkpoint_clean(run);
        return error_prefix(err, "cannot write the checkpoint of step %" PRId64, state->step);
    }
    // A checkpoint of this step exists only if it was corrupt and the run resumed from an older one.
    if (!checkpoint_remove(run, state->step, err)) return false;
    if (rename(temporary, final) != 0)
        return error_set(err, "cannot rename %s to %s: %s", temporary, final, strerror(errno));
    if (!file_sync_parent(final, err)) return false;
    return keep == 0 || remove_old(run, state->step, keep, err);
}

bool checkpoint_save(const char *run, const CheckpointParts *parts, const RunState *state, int keep, Error *err) {
    CheckpointTensors tensors = checkpoint_tensors(parts->model, parts->optimizer);
    bool ok = checkpoint_save_tensors(run, &tensors, parts->stream, parts->data, state, keep, err);
    checkpoint_tensors_free(&tensors);
    return ok;
}

// Reads and checks state.json. *corrupt: as in tensor_file_read.
static bool load_state(RunState *state, FileSum sums[CHECKPOINT_FILES], bool *corrupt, const char *folder,
                       int64_t step, const Datasets *data, Error *err) {
    char path[PATH_BYTES];
    Json *json;
    path_join(path, folder, "state.json");
    *corrupt = true;
    if (!state_from_file(state, sums, &json, path, err)) return false;
    bool ok = state->step == step || error_set(err, "%s is of step %" PRId64, path, state->step);
    if (ok && data) {
        *corrupt = false;
        ok = state_check_data(json, data, folder, err);
    }
    json_free(json);
    return ok;
}

static bool load(RunState *state, bool *corrupt, const char *folder, int64_t step, const CheckpointTensors *tensors,
                 const CheckpointParts *parts, Error *err) {
    char path[PATH_BYTES];
    FileSum sums[CHECKPOINT_FILES];
    bool ok = load_state(state, sums, corrupt, folder, step, parts->data, err);
    for (int f = 0; f < tensors->n_files && ok; f++) {
        path_join(path, folder, checkpoint_file_name((CheckpointFile)f));
        ok = tensor_file_read(corrupt, path, &sums[f], tensors, (CheckpointFile)f, parts->stream, err);
    }
    if (!ok) return false;
    model_refresh_weights(parts->model, parts->stream);
    if (parts->optimizer) optimizer_set_applied(parts->optimizer, parts->stream, state->applied);
    return true;
}

// The checkpoint of one step, which has been asked for by name: there is no other in its place.
static bool load_step(RunState *state, const char *run, int64_t step, const CheckpointParts *parts, Error *err) {
    char folder[PATH_BYTES], kept[256];
    bool corrupt;
    checkpoint_path(folder, run, step, false);
    if (access(folder, F_OK) != 0) {
        checkpoint_steps_after(kept, sizeof kept, run, -1);
        return error_set(err, "%s has no checkpoint of step %" PRId64 "; it has %s", run, step,
                         kept[0] ? kept : "none");
    }
    CheckpointTensors tensors = checkpoint_tensors(parts->model, parts->optimizer);
    bool ok = load(state, &corrupt, folder, step, &tensors, parts, err);
    checkpoint_tensors_free(&tensors);
    return ok || error_prefix(err, "the checkpoint of step %" PRId64, step);
}

// A corrupt checkpoint may leave the tensors partly overwritten. That is harmless: the next older one overwrites all
// of them, and if there is none, this is an error.
bool checkpoint_load(RunState *state, bool *found, char note[1024], const char *run, int64_t step,
                     const CheckpointParts *parts, Error *err) {
    char folder[PATH_BYTES];
    int64_t *steps;
    *found = false;
    if (!checkpoint_readable(run, err)) return false;
    if (step >= 0) {
        note[0] = 0;
        return *found = load_step(state, run, step, parts, err);
    }
    CheckpointTensors tensors = checkpoint_tensors(parts->model, parts->optimizer);
    int n = checkpoint_list(&steps, run);
    *found = false;
    note[0] = 0;
    bool corrupt = true;
    for (int i = 0; i < n; i++) {
        checkpoint_path(folder, run, steps[i], false);
        *found = load(state, &corrupt, folder, steps[i], &tensors, parts, err);
        if (*found || !corrupt) break;
        size_t used = strlen(note);
        snprintf(note + used, 1024 - used,
                 "%sthe checkpoint of step %" PRId64 " is corrupt and was skipped: %.900s", used ? "; " : "",
                 steps[i], err->text);
    }
    checkpoint_tensors_free(&tensors);
    free(steps);
    if (n == 0 || *found) return true;
    if (!corrupt) return false;
    return error_set(err, "no checkpoint of %s can be used: %.700s; remove %s/checkpoints to start over", run, note,
                     run);
}
