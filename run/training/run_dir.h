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

#include "device/device.h"
#include "run/options/config.h"
#include "run/training/plan.h"

enum { RUN_PATH_MAX = 4096 };

typedef struct {
    char path[OPTION_TEXT_MAX];
    int lock_fd;
} RunDir;

// PATH/NAME in `out`.
void run_path(char out[RUN_PATH_MAX], const char *dir, const char *name);

// Refuses a directory that holds a run (unless `overwrite`) or anything else. Creates nothing.
bool run_dir_check_new(const char *path, bool overwrite, Error *err);

// Makes the directory, locks it, removes an earlier run (where that was allowed), and writes `config` (size bytes, the
// options alone) to config.conf. `command` is what the file reproduces the run with: "./train".
bool run_dir_create(RunDir *dir, const char *path, bool overwrite, const char *command, const char *config,
                    size_t size, Error *err);

// Locks an existing run. Errors: another process is at work in it.
bool run_dir_lock(RunDir *dir, const char *path, Error *err);
void run_dir_unlock(RunDir *dir);

// The commit this program was built from.
const char *environment_commit(void);
// Writes environment.json. `data` may be NULL: none is read.
bool environment_write(const RunDir *dir, const Device *device, const RunData *data, int argc,
                       const char *const *argv, Error *err);
#endif
