// run/training/run_dir.h - the directory of a run: created once, used by one process at a time.
//
//   config.conf       the effective configuration, written first: enough to restart the run
//   environment.json  provenance: command, machine, program, data
//   metrics.jsonl     one JSON object per line
//   diagnostics.jsonl --diagnose: one JSON object per matrix and line
//   log.txt           everything printed
//   checkpoints/      step_00000100/{model.safetensors,optimizer.safetensors,state.json}
//   lock              locked while a process uses the directory
#ifndef POLAR_RUN_TRAINING_RUN_DIR_H
#define POLAR_RUN_TRAINING_RUN_DIR_H

#include "data/datasets.h"
#include "device/device.h"
#include "run/options/config.h"

typedef struct {
    char path[OPTION_TEXT_MAX];
    int lock_fd;
} RunDir;

// Checks that --out is new, empty or (with `overwrite`) a run. Creates nothing.
bool run_dir_check_new(const char *path, bool overwrite, Error *err);

// Creates the directory and locks it. Checks again as run_dir_check_new does, since another process may have been
// faster. An earlier run remains until the caller removes its checkpoints and then calls run_dir_begin, so that a
// crash leaves a valid run. The caller unlocks, also after an error.
bool run_dir_create(RunDir *dir, const char *path, bool overwrite, Error *err);

// Removes the files of an earlier run and writes `config` (size bytes of options) to config.conf. `command` is the
// command that reproduces the run from this file: "./train".
bool run_dir_begin(const RunDir *dir, const char *command, const char *config, size_t size, Error *err);

// Replaces the configuration of an existing run, atomically.
bool run_dir_set_config(const char *path, const char *command, const char *config, size_t size, Error *err);

// Locks an existing run. Errors: another process is using it.
bool run_dir_lock(RunDir *dir, const char *path, Error *err);
void run_dir_unlock(RunDir *dir);

// The git commit that this program was built from.
const char *provenance_commit(void);
// Writes environment.json. `data` may be NULL.
bool provenance_write(const RunDir *dir, const Device *device, const Datasets *data, int argc,
                      const char *const *argv, Error *err);
#endif
