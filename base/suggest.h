// base/suggest.h - "did you mean" suggestions for unknown options, optimizers and methods.
#ifndef POLAR_BASE_SUGGEST_H
#define POLAR_BASE_SUGGEST_H

// Returns the one of `n` names with the smallest edit distance to `word` (insertion, deletion, substitution,
// transposition; the first of equals), or NULL if that distance is more than half the length of the longer word.
const char *suggest_name(const char *word, const char *const *names, int n);
#endif
