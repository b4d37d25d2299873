#include "base/path.h"

#include "base/error.h"

#include <unistd.h>
#include <string.h>
#include <stdlib.h>
#include <stdio.h>

void path_join(char out[PATH_BYTES], const char *dir, const char *name) {
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    ASSERT(n > 0 && n < PATH_BYTES);
}

void path_split_step(char path[PATH_BYTES], int64_t *step, const char *text) {
    const char *at = strrchr(text, '@');
    size_t digits = at ? strspn(at + 1, "0123456789") : 0;
    *step = -1;
    snprintf(path, PATH_BYTES, "%s", text);
    if (digits == 0 || digits > 18 || at[1 + digits] || at == text || access(text, F_OK) == 0) return;
    *step = strtoll(at + 1, NULL, 10);
    if ((size_t)(at - text) < PATH_BYTES) path[at - text] = 0;
}
