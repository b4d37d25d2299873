// base/metrics.h - metrics.jsonl and similar files: one JSON object per line, each line written by a single write.
#ifndef POLAR_BASE_METRICS_H
#define POLAR_BASE_METRICS_H

#include "base/json.h"

typedef struct {
    int fd;
    int64_t size; // bytes of complete lines
    char path[4096];
} Metrics;

// Atomically rewrites the file `name` of a run without the records that a killed process wrote after the checkpoint
// that is being resumed: those of steps after `step`; those of `step` itself of kind "val", "hellaswag" and "sample",
// unless `reported`; "end" records; and an incomplete last line. A missing file is not an error.
bool metrics_trim(const char *run, const char *name, int64_t step, bool reported, Error *err);

// Calls metrics_trim, then opens the file for appending.
bool metrics_open(Metrics *metrics, const char *run, const char *name, int64_t step, bool reported, Error *err);

// Appends the finished object and frees it. After an error, such as a full disk, the partial line is removed.
bool metrics_write(Metrics *metrics, JsonWriter *record, Error *err);

// Fsyncs the file.
bool metrics_sync(Metrics *metrics, Error *err);
void metrics_close(Metrics *metrics);
#endif
