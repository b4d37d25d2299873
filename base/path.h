// base/path.h - names of files in a directory.
#ifndef POLAR_BASE_PATH_H
#define POLAR_BASE_PATH_H

enum { PATH_BYTES = 4096 };

// DIR/NAME in `out`.
void path_join(char out[PATH_BYTES], const char *dir, const char *name);
#endif
