#include "run/checkpoint/directory.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void checkpoint_path(char out[PATH_BYTES], const char *run, int64_t step, bool temporary) {
    char name[64];
    snprintf(name, sizeof name, "checkpoints/%sstep_%08" PRId64, temporary ? ".tmp_" : "", step);
    path_join(out, run, name);
}

// Parses a name made by checkpoint_path (not a temporary one).
static bool step_of(int64_t *step, const char *name) {
    if (strncmp(name, "step_", 5) != 0) return false;
    size_t digits = strspn(name + 5, "0123456789");
    if (digits < 8 || digits > 18 || name[5 + digits]) return false;
    *step = strtoll(name + 5, NULL, 10);
    return true;
}

static int newer_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

bool checkpoint_readable(const char *run, Error *err) {
    char folder[PATH_BYTES];
    path_join(folder, run, "checkpoints");
    DIR *dir = opendir(folder);
    if (!dir) return errno == ENOENT || error_set(err, "cannot read %s: %s", folder, strerror(errno));
    closedir(dir);
    return true;
}

int checkpoint_list(int64_t **steps, const char *run) {
    char folder[PATH_BYTES];
    int n = 0, capacity = 0;
    *steps = NULL;
    path_join(folder, run, "checkpoints");
    DIR *dir = opendir(folder);
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));) {
        int64_t step;
        if (!step_of(&step, e->d_name)) continue;
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            *steps = realloc(*steps, (size_t)capacity * sizeof **steps);
            ASSERT(*steps);
        }
        (*steps)[n++] = step;
    }
    closedir(dir);
    if (n > 0) qsort(*steps, (size_t)n, sizeof **steps, newer_first);
    return n;
}

void checkpoint_steps_after(char *text, size_t size, const char *run, int64_t step) {
    int64_t *steps;
    int n = checkpoint_list(&steps, run);
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < n && steps[i] > step && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? ", " : "", steps[i]);
    free(steps);
}

bool checkpoint_remove(const char *run, int64_t step, Error *err) {
    char path[PATH_BYTES], name[64], away[PATH_BYTES];
    checkpoint_path(path, run, step, false);
    snprintf(name, sizeof name, "checkpoints/.tmp_removed_%08" PRId64, step);
    path_join(away, run, name);
    if (!file_remove_folder(away, err)) return false;
    if (rename(path, away) != 0)
        return errno == ENOENT || error_set(err, "cannot rename %s: %s", path, strerror(errno));
    return file_sync_parent(path, err) && file_remove_folder(away, err);
}

void checkpoint_clean(const char *run) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    Error ignored; // best effort: leftovers are harmless
    path_join(folder, run, "checkpoints");
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        if (strncmp(e->d_name, ".tmp", 4) != 0) continue;
        path_join(path, folder, e->d_name);
        file_remove_folder(path, &ignored);
    }
    closedir(dir);
}

bool checkpoint_remove_after(const char *run, int64_t step, Error *err) {
    int64_t *steps;
    int n = checkpoint_list(&steps, run);
    bool ok = true;
    for (int i = 0; i < n && ok && steps[i] > step; i++) ok = checkpoint_remove(run, steps[i], err);
    free(steps);
    return ok;
}

bool checkpoint_remove_all(const char *run, Error *err) {
    bool ok = checkpoint_remove_after(run, -1, err);
    checkpoint_clean(run);
    return ok;
}
