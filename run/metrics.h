// run/metrics.h - metrics.jsonl: one JSON object a line, each line one write.
#ifndef POLAR_RUN_METRICS_H
#define POLAR_RUN_METRICS_H

#include "data/json.h" // defines: JsonWriter

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int fd;
    char path[4096];
} Metrics;

// Opens for appending. First removes, by an atomic rewrite, what a killed run wrote after the state it goes on
// from: records of steps after `step`; of `step` itself the evaluations and the sample unless `reported`, and the end;
// a torn last line.
bool metrics_open(Metrics *metrics, const char *run, int64_t step, bool reported, Error *err);

// Appends the finished object and frees it.
bool metrics_write(Metrics *metrics, JsonWriter *record, Error *err);

// What has been written is on the disk when this returns.
bool metrics_sync(Metrics *metrics, Error *err);
void metrics_close(Metrics *metrics);

#ifdef __cplusplus
}
#endif
#endif
