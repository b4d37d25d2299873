#include "base/suggest.h"

#include <stddef.h>
#include <string.h>

enum { MAX_LENGTH = 63 };

static int min2(int a, int b) {
    return a < b ? a : b;
}

// Optimal string alignment distance (restricted Damerau-Levenshtein), with three rows of the table.
static int distance(const char *a, const char *b) {
    int la = (int)strlen(a), lb = (int)strlen(b);
    int rows[3][MAX_LENGTH + 1];
    for (int j = 0; j <= lb; j++) rows[0][j] = j;
    for (int i = 1; i <= la; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= lb; j++) {
            row[j] = min2(min2(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min2(row[j], above2[j - 2] + 1);
        }
    }
    return rows[la % 3][lb];
}

const char *suggest_name(const char *word, const char *const *names, int n) {
    size_t length = strlen(word);
    if (length == 0 || length > MAX_LENGTH) return NULL;
    const char *best = NULL;
    int best_distance = 0;
    for (int i = 0; i < n; i++) {
        size_t other = strlen(names[i]);
        if (other > MAX_LENGTH) continue;
        int d = distance(word, names[i]);
        if (2 * d > (int)(length > other ? length : other)) continue;
        if (!best || d < best_distance) best = names[i], best_distance = d;
    }
    return best;
}
