// run/training/run_dir.h - a run's directory: created once, used by one process at a time.
//
//   config.conf       the effective configuration, written first: with it alone a run can start over
//   environment.json  where and with what it ran
//   metrics.jsonl     one JSON object a line
//   diagnostics.jsonl --diagnose: one JSON object a line and matrix
//   log.txt           what was printed
//   checkpoints/      step_00000100/{model.safetensors,optimizer.safetensors,state.json}
//   lock              held while a process works here
#ifndef POLAR_RUN_TRAINING_RUN_DIR_H
#define POLAR_RUN_TRAINING_RUN_DIR_H

#include "data/datasets.h"
#include "device/device.h"
#include "run/options/config.h"

typedef struct {
    char path[OPTION_TEXT_MAX];
    int lock_fd;
} RunDir;

// Refuses a directory that holds a run (unless `overwrite`) or anything else. Creates nothing.
bool run_dir_check_new(const char *path, bool overwrite, Error *err);

// Makes the directory and locks it. Refuses as run_dir_check_new does: another process may have been faster. An earlier
// run stands there until its checkpoints are removed, which is the caller's part and the first, and run_dir_begin is
// called, so that what a crash leaves is a run. Also after an error the caller unlocks.
bool run_dir_create(RunDir *dir, const char *path, bool overwrite, Error *err);

// Removes the files of an earlier run and writes `config` (size bytes, the options alone) to config.conf. `command` is
// what the file reproduces the run with: "./train".
bool run_dir_begin(const RunDir *dir, const char *command, const char *config, size_t size, Error *err);

// Locks an existing run. Errors: another process is at work in it.
bool run_dir_lock(RunDir *dir, const char *path, Error *err);
void run_dir_unlock(RunDir *dir);

// The commit this program was built from.
const char *provenance_commit(void);
// Writes environment.json. `data` may be NULL: none is read.
bool provenance_write(const RunDir *dir, const Device *device, const Datasets *data, int argc,
                      const char *const *argv, Error *err);
#endif
