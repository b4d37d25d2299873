// device/nearest.h - the name that was probably meant: for errors about unknown options, optimizers and methods.
#ifndef POLAR_DEVICE_NEAREST_H
#define POLAR_DEVICE_NEAREST_H

#ifdef __cplusplus
extern "C" {
#endif

// The one of `n` names with the smallest edit distance to `word` (insert, delete, replace, swap of neighbours; the
// first of equals), NULL when none is near: a distance of more than half the longer word's length.
const char *nearest_name(const char *word, const char *const *names, int n);

#ifdef __cplusplus
}
#endif
#endif
