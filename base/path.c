#include "base/path.h"

#include "base/error.h"

#include <stdio.h>

void path_join(char out[PATH_BYTES], const char *dir, const char *name) {
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    ASSERT(n > 0 && n < PATH_BYTES);
}
