// base/suggest.h - the name that was probably meant: for errors about unknown options, optimizers and methods.
#ifndef POLAR_BASE_SUGGEST_H
#define POLAR_BASE_SUGGEST_H

// The one of `n` names with the smallest edit distance to `word` (insert, delete, replace, swap of neighbours; the
// first of equals), NULL when none is near: a distance of more than half the longer word's length.
const char *suggest_name(const char *word, const char *const *names, int n);
#endif
