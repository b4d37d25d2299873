#include "run/training/utf8_stream.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

// Returns true if more bytes can complete a character: all 80 or all BF does, if anything.
static bool may_become_character(const char *bytes, int n) {
    for (int rest = 0x80; rest <= 0xBF; rest += 0x3F) {
        char full[4];
        memset(full, rest, sizeof full);
        memcpy(full, bytes, (size_t)n);
        if (utf8_length(full, sizeof full) > n) return true;
    }
    return false;
}

static void take(Utf8Stream *w, int n) {
    w->n_pending -= n;
    memmove(w->pending, w->pending + n, (size_t)w->n_pending);
}

static void write_pending(Utf8Stream *w, bool more_comes) {
    while (w->n_pending > 0) {
        int n = w->pending[0] ? utf8_length(w->pending, (size_t)w->n_pending) : 0;
        if (n == 0 && more_comes && may_become_character(w->pending, w->n_pending)) return;
        if (n > 0) fwrite(w->pending, 1, (size_t)n, w->out);
        else fputs("\xEF\xBF\xBD", w->out);
        take(w, n > 0 ? n : 1);
    }
}

void utf8_stream_write(Utf8Stream *w, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        w->pending[w->n_pending++] = bytes[i];
        write_pending(w, true);
    }
}

void utf8_stream_flush(Utf8Stream *w) {
    write_pending(w, false);
}
