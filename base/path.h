// base/path.h - path names.
#ifndef POLAR_BASE_PATH_H
#define POLAR_BASE_PATH_H

#include <stdint.h>

enum { PATH_BYTES = 4096 };

// Writes DIR/NAME to `out`; asserts that it fits.
void path_join(char out[PATH_BYTES], const char *dir, const char *name);

// Splits PATH@STEP, which names a checkpoint of a run, into the two; *step is -1 if there is none. A path that exists
// is taken as it is.
void path_split_step(char path[PATH_BYTES], int64_t *step, const char *text);
#endif
