#include "base/metrics.h"

#include "base/file.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_kept(const char *line, size_t size, int64_t step, bool reported) {
    Error ignored;
    Json *json = json_parse(line, size, &ignored);
    const char *kind;
    int64_t at;
    bool kept = json && json_get_string(&kind, json, "kind", &ignored) &&
                json_get_int(&at, json, "step", &ignored) && strcmp(kind, "end") != 0 && at <= step;
    if (kept && at == step && !reported)
        kept = strcmp(kind, "val") != 0 && strcmp(kind, "hellaswag") != 0 && strcmp(kind, "sample") != 0;
    // A run that restarts from scratch keeps no earlier records.
    if (step == 0 && !reported) kept = false;
    json_free(json);
    return kept;
}

bool metrics_trim(const char *run, const char *name, int64_t step, bool reported, Error *err) {
    char path[PATH_BYTES];
    size_t size, kept = 0;
    path_join(path, run, name);
    if (access(path, F_OK) != 0) return true;
    char *text = file_read_whole(&size, path, (size_t)1 << 40, err);
    if (!text) return false;
    for (size_t at = 0; at < size;) {
        char *end = memchr(text + at, '\n', size - at);
        if (!end) break; // incomplete last line
        size_t n = (size_t)(end - (text + at)) + 1;
        if (is_kept(text + at, n - 1, step, reported)) {
            memmove(text + kept, text + at, n);
            kept += n;
        }
        at += n;
    }
    bool ok = kept == size || file_replace(path, &(FilePiece){text, kept}, 1, err);
    free(text);
    return ok;
}

bool metrics_open(Metrics *metrics, const char *run, const char *name, int64_t step, bool reported, Error *err) {
    metrics->fd = -1;
    path_join(metrics->path, run, name);
    if (!metrics_trim(run, name, step, reported, err)) return false;
    metrics->fd = open(metrics->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (metrics->fd < 0) return error_set(err, "cannot open %s: %s", metrics->path, strerror(errno));
    struct stat st;
    if (fstat(metrics->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(err, "%s is not a regular file", metrics->path);
    metrics->size = st.st_size;
    return true;
}

bool metrics_write(Metrics *metrics, JsonWriter *record, Error *err) {
    char *line = malloc(record->size + 1);
    ASSERT(line);
    memcpy(line, record->text, record->size);
    line[record->size] = '\n';
    bool ok = file_write(metrics->fd, metrics->path, line, record->size + 1, err);
    free(line);
    // Removes a partly written line. If that fails too, readers and metrics_trim skip an incomplete last line.
    if (ok) metrics->size += (int64_t)record->size + 1;
    else if (ftruncate(metrics->fd, metrics->size) != 0) error_prefix(err, "an incomplete line is left at the end");
    json_writer_free(record);
    return ok;
}

bool metrics_sync(Metrics *metrics, Error *err) {
    return fsync(metrics->fd) == 0 || error_set(err, "cannot write %s: %s", metrics->path, strerror(errno));
}

void metrics_close(Metrics *metrics) {
    if (metrics->fd >= 0) close(metrics->fd);
    metrics->fd = -1;
}
