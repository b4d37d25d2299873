#include "run/checkpoint/checkpoint.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/path.h"
#include "run/checkpoint/directory.h"
#include "run/checkpoint/state_file.h"
#include "run/checkpoint/tensors.h"
#include "run/checkpoint/finite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_files(const char *folder, const CheckpointParts *parts, const RunState *state, Error *err) {
    char path[PATH_BYTES];
    FileSum sums[TENSORS_FILES];
    for (int f = 0; f < TENSORS_FILES; f++) {
        path_join(path, folder, tensors_file_name((TensorsFile)f));
        if (!tensors_write(&sums[f].size, &sums[f].crc, path, (TensorsFile)f, parts, err)) return false;
    }
    size_t size;
    char *text = state_to_text(&size, state, sums, parts->data);
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
    return finite_state(parts->optimizer, parts->copy, parts->stream, err) &&
           finite_weights(parts->model, parts->copy, parts->stream, err);
}

bool checkpoint_save(const char *run, const CheckpointParts *parts, const RunState *state, int keep, Error *err) {
    char folder[PATH_BYTES], temporary[PATH_BYTES], final[PATH_BYTES];
    if (!checkpoint_is_finite(parts, err))
        return error_prefix(err, "step %" PRId64 " is not saved, so that the checkpoints before it are kept",
                            state->step);
    path_join(folder, run, "checkpoints");
    checkpoint_path(temporary, run, state->step, true);
    checkpoint_path(final, run, state->step, false);
    checkpoint_clean(run);
    if (!file_make_dirs(folder, err) || !file_sync_parent(folder, err)) return false;
    if (mkdir(temporary, 0777) != 0) return error_set(err, "cannot create %s: %s", temporary, strerror(errno));
    if (!write_files(temporary, parts, state, err)) {
        checkpoint_clean(run);
        return error_prefix(err, "cannot write the checkpoint of step %" PRId64, state->step);
    }
    // One of this step is there only if it was found harmed and an older one was resumed.
    if (!checkpoint_remove(run, state->step, err)) return false;
    if (rename(temporary, final) != 0)
        return error_set(err, "cannot rename %s to %s: %s", temporary, final, strerror(errno));
    if (!file_sync_parent(final, err)) return false;
    return keep == 0 || remove_old(run, state->step, keep, err);
}

static bool check_sum(const char *path, const FileSum *sum, Error *err) {
    enum { CHUNK = 1 << 20 };
    int64_t size;
    int fd = file_open_read(&size, path, err);
    if (fd < 0) return false;
    char *buffer = malloc(CHUNK);
    uint32_t crc = 0;
    bool ok = buffer || error_set(err, "out of memory");
    if (ok && size != sum->size)
        ok = error_set(err, "%s has %" PRId64 " bytes instead of %" PRId64, path, size, sum->size);
    for (int64_t at = 0; at < size && ok; at += CHUNK) {
        size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        ok = file_read_at(buffer, fd, path, at, n, err);
        if (ok) crc = crc32c(crc, buffer, n);
    }
    if (ok && crc != sum->crc) ok = error_set(err, "%s does not match its checksum", path);
    free(buffer);
    close(fd);
    return ok;
}

// What is read of a checkpoint: all files, or only the model's.
static int files_wanted(const CheckpointParts *parts) {
    return parts->optimizer ? TENSORS_FILES : TENSORS_MODEL + 1;
}

// Whether a checkpoint is complete and unharmed.
static bool verify(RunState *state, Json **json, const char *folder, int64_t step, const CheckpointParts *parts,
                   Error *err) {
    char path[PATH_BYTES];
    FileSum sums[TENSORS_FILES];
    path_join(path, folder, "state.json");
    if (!state_from_file(state, sums, json, path, err)) return false;
    bool ok = state->step == step || error_set(err, "%s is of step %" PRId64, path, state->step);
    for (int f = 0; f < files_wanted(parts) && ok; f++) {
        path_join(path, folder, tensors_file_name((TensorsFile)f));
        ok = check_sum(path, &sums[f], err) && finite_file(path, f == TENSORS_MODEL, err);
    }
    if (ok) return true;
    json_free(*json);
    *json = NULL;
    return false;
}

static bool load(const RunState *state, const Json *json, const char *folder, const CheckpointParts *parts,
                 Error *err) {
    char path[PATH_BYTES];
    if (parts->data && !state_check_data(json, parts->data, folder, err)) return false;
    for (int f = 0; f < files_wanted(parts); f++) {
        path_join(path, folder, tensors_file_name((TensorsFile)f));
        if (!tensors_read(path, (TensorsFile)f, parts, err)) return false;
    }
    if (parts->optimizer) optimizer_set_applied(parts->optimizer, parts->stream, state->applied);
    return true;
}

bool checkpoint_load(RunState *state, bool *found, char note[1024], const char *run, const CheckpointParts *parts,
                     Error *err) {
    char folder[PATH_BYTES];
    int64_t *steps;
    int n = checkpoint_list(&steps, run);
    *found = false;
    note[0] = 0;
    bool ok = true;
    for (int i = 0; i < n && ok && !*found; i++) {
        Json *json;
        Error harm;
        checkpoint_path(folder, run, steps[i], false);
        if (verify(state, &json, folder, steps[i], parts, &harm)) {
            *found = true;
            ok = load(state, json, folder, parts, err);
            json_free(json);
        } else {
            size_t used = strlen(note);
            snprintf(note + used, 1024 - used, "%sthe checkpoint of step %" PRId64 " is harmed and passed over: %s",
                     used ? "; " : "", steps[i], harm.text);
        }
    }
    free(steps);
    if (ok && n > 0 && !*found)
        return error_set(err, "no checkpoint of %s can be used: %.700s; remove %s/checkpoints to start over", run,
                         note, run);
    return ok;
}
