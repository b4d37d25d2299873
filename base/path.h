// base/path.h - path names.
#ifndef POLAR_BASE_PATH_H
#define POLAR_BASE_PATH_H

enum { PATH_BYTES = 4096 };

// Writes DIR/NAME to `out`; asserts that it fits.
void path_join(char out[PATH_BYTES], const char *dir, const char *name);
#endif
