#include "run/checkpoint/directory.h"

#include "base/file.h"
#include "run/checkpoint/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void checkpoint_path(char out[RUN_PATH_MAX], const char *run, int64_t step, bool temporary) {
    char name[64];
    snprintf(name, sizeof name, "checkpoints/%sstep_%08" PRId64, temporary ? ".tmp_" : "", step);
    run_path(out, run, name);
}

static int newer_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

int checkpoint_list(int64_t **steps, const char *run) {
    char folder[RUN_PATH_MAX];
    int n = 0, capacity = 0;
    *steps = NULL;
    run_path(folder, run, "checkpoints");
    DIR *dir = opendir(folder);
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));) {
        int64_t step;
        if (strncmp(e->d_name, "step_", 5) != 0 || strlen(e->d_name) < 13 || !parse_int64(&step, e->d_name + 5) ||
            step < 0)
            continue;
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

bool checkpoint_remove(const char *run, int64_t step, Error *err) {
    char path[RUN_PATH_MAX], name[64], away[RUN_PATH_MAX];
    checkpoint_path(path, run, step, false);
    snprintf(name, sizeof name, "checkpoints/.tmp_removed_%08" PRId64, step);
    run_path(away, run, name);
    if (!file_remove_folder(away, err)) return false;
    if (rename(path, away) != 0)
        return errno == ENOENT || error_set(err, "cannot rename %s: %s", path, strerror(errno));
    return file_sync_parent(path, err) && file_remove_folder(away, err);
}

void checkpoint_clean(const char *run) {
    char folder[RUN_PATH_MAX], path[RUN_PATH_MAX];
    Error ignored; // what cannot be removed is in nobody's way
    run_path(folder, run, "checkpoints");
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        if (strncmp(e->d_name, ".tmp", 4) != 0) continue;
        run_path(path, folder, e->d_name);
        file_remove_folder(path, &ignored);
    }
    closedir(dir);
}

bool checkpoint_remove_all(const char *run, Error *err) {
    int64_t *steps;
    int n = checkpoint_list(&steps, run);
    bool ok = true;
    for (int i = 0; i < n && ok; i++) ok = checkpoint_remove(run, steps[i], err);
    free(steps);
    checkpoint_clean(run);
    return ok;
}
