// base/metrics.h - files of records, metrics.jsonl and its like: one JSON object a line, each line one write.
#ifndef POLAR_BASE_METRICS_H
#define POLAR_BASE_METRICS_H

#include "base/json.h"

typedef struct {
    int fd;
    int64_t size; // bytes of whole lines
    char path[4096];
} Metrics;

// Removes from the file `name` of a run, by an atomic rewrite, what a killed process wrote after the state that is gone
// on from: records of steps after `step`; of `step` itself the evaluations and the sample unless `reported`, and the end;
// a torn last line. A file that is not there is none.
bool metrics_trim(const char *run, const char *name, int64_t step, bool reported, Error *err);

// Trims the file and opens it for appending.
bool metrics_open(Metrics *metrics, const char *run, const char *name, int64_t step, bool reported, Error *err);

// Appends the finished object and frees it. After an error, as on a full disk, nothing of the line is left.
bool metrics_write(Metrics *metrics, JsonWriter *record, Error *err);

// What has been written is on the disk when this returns.
bool metrics_sync(Metrics *metrics, Error *err);
void metrics_close(Metrics *metrics);
#endif
