#include "run/training/run_dir.h"

#include "base/file.h"
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// Files that a run may leave if it is killed before config.conf is written.
static bool is_leftover(const char *name) {
    static const char *const names[] = {".", "..", "lock", "config.conf.tmp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

bool run_dir_check_new(const char *path, bool overwrite, Error *err) {
    char config[PATH_BYTES];
    struct stat st;
    if (stat(path, &st) != 0) {
        if (errno == ENOENT) return true;
        return error_set(err, "--out %s: %s", path, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) return error_set(err, "--out %s is not a directory", path);
    path_join(config, path, "config.conf");
    if (access(config, F_OK) == 0) {
        if (overwrite) return true;
        return error_set(err, "--out %s contains a run: --resume %s continues it, --overwrite replaces it", path,
                         path);
    }
    DIR *folder = opendir(path);
    if (!folder) return error_set(err, "--out %s: %s", path, strerror(errno));
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(folder));)
        if (!is_leftover(e->d_name))
            ok = error_set(err, "--out %s contains other files (%s); choose an empty or new directory", path,
                           e->d_name);
    closedir(folder);
    return ok;
}

bool run_dir_lock(RunDir *dir, const char *path, Error *err) {
    char lock[PATH_BYTES];
    *dir = (RunDir){.lock_fd = -1};
    snprintf(dir->path, sizeof dir->path, "%s", path);
    path_join(lock, path, "lock");
    dir->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (dir->lock_fd < 0) return error_set(err, "cannot open %s: %s", lock, strerror(errno));
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) == 0) return true;
    bool busy = errno == EWOULDBLOCK;
    error_set(err, "%s: %s", path,
              busy ? "another process is training this run; wait for it or stop it" : strerror(errno));
    run_dir_unlock(dir);
    return false;
}

void run_dir_unlock(RunDir *dir) {
    if (dir->lock_fd >= 0) close(dir->lock_fd);
    dir->lock_fd = -1;
}

static bool remove_earlier_run(const char *path, Error *err) {
    static const char *const names[] = {"metrics.jsonl", "diagnostics.jsonl", "log.txt", "environment.json"};
    char file[PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_join(file, path, names[i]);
        if (unlink(file) != 0 && errno != ENOENT)
            return error_set(err, "cannot remove %s: %s", file, strerror(errno));
    }
    return true;
}

bool run_dir_set_config(const char *path, const char *command, const char *config, size_t size, Error *err) {
    char file[PATH_BYTES], head[256];
    int n = snprintf(head, sizeof head,
                     "# The effective configuration of this run. It is reproduced by\n"
                     "#   %s --config THIS_FILE --out DIRECTORY\n",
                     command);
    path_join(file, path, "config.conf");
    return file_replace(file, (FilePiece[]){{head, (size_t)n}, {config, size}}, 2, err);
}

bool run_dir_create(RunDir *dir, const char *path, bool overwrite, Error *err) {
    return file_make_dirs(path, err) && run_dir_lock(dir, path, err) && run_dir_check_new(path, overwrite, err);
}

bool run_dir_begin(const RunDir *dir, const char *command, const char *config, size_t size, Error *err) {
    return remove_earlier_run(dir->path, err) && run_dir_set_config(dir->path, command, config, size, err);
}
