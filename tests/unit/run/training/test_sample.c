// Which token is drawn, and how tokens become text.
#include "run/training/sample_token.h"

#include "base/random.h"
#include "run/training/utf8_stream.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 700 };

// The probabilities by their definition: sort by selection, cut, normalize. order[i] is the i-th likeliest token.
typedef struct {
    int order[MOST], kept;
    double probability[MOST]; // by place in order
} Reference;

static Reference reference(const float *logits, int V, const DrawConfig *c) {
    static bool used[MOST];
    Reference r = {.kept = c->top_k > 0 && c->top_k < V ? c->top_k : V};
    double sum = 0, so_far = 0;
    memset(used, 0, sizeof used);
    for (int i = 0; i < V; i++) {
        int best = -1;
        for (int v = 0; v < V; v++)
            if (!used[v] && (best < 0 || logits[v] > logits[best])) best = v;
        used[best] = true;
        r.order[i] = best;
    }
    for (int i = 0; i < r.kept; i++)
        sum += r.probability[i] = exp(((double)logits[r.order[i]] - logits[r.order[0]]) / c->temperature);
    for (int i = 0; i < r.kept; i++) {
        so_far += r.probability[i] / sum;
        if (so_far >= c->top_p && c->top_p < 1) r.kept = i + 1;
    }
    sum = 0;
    for (int i = 0; i < r.kept; i++) sum += r.probability[i];
    for (int i = 0; i < r.kept; i++) r.probability[i] /= sum;
    return r;
}

static void make_logits(float *logits, int V, uint64_t seed, bool ties) {
    for (int i = 0; i < V; i++) {
        double x = 4 * random_normal(seed, RANDOM_TEST, (uint64_t)i);
        logits[i] = (float)(ties ? floor(x) : x);
    }
}

// Where the tokens are sorted, u falls into the place that the running sum of the reference says, but for u within
// rounding of a border; where they are not, into that of the running sum in order of tokens, backwards.
static void check_draws(const float *logits, int V, const DrawConfig *c) {
    static Reference r;
    static Candidate room[MOST];
    r = reference(logits, V, c);
    bool sorted = r.kept < V || c->top_p < 1;
    double by_token[MOST] = {0};
    for (int i = 0; i < r.kept; i++) by_token[r.order[i]] = r.probability[i];
    double before = 0;
    for (int i = 0; i < V; i++) {
        int token = sorted ? r.order[i < r.kept ? i : 0] : V - 1 - i;
        double p = sorted && i >= r.kept ? 0 : by_token[token];
        if (p < 1e-9) {
            before += p;
            continue;
        }
        for (int k = 1; k < 4; k++) {
            int drawn = draw_token(room, logits, V, c, before + p * k / 4);
            if (drawn != token) fail_msg("V %d, k %d, p %g: %d instead of %d", V, c->top_k, c->top_p, drawn, token);
        }
        before += p;
    }
    // The ends of the range are tokens of the set too.
    assert_true(by_token[draw_token(room, logits, V, c, 0)] > 0);
    assert_true(by_token[draw_token(room, logits, V, c, 1 - 0x1p-53)] > 0);
}

static void test_against_reference(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 3, 10, 257, MOST}, ks[] = {0, 1, 2, 9, 100, 10000};
    static const double ps[] = {1, 0.999, 0.9, 0.5, 0.1, 1e-12, 0}, temperatures[] = {1, 0.3, 7};
    float logits[MOST];
    uint64_t seed = 0;
    for (size_t a = 0; a < sizeof sizes / sizeof *sizes; a++)
        for (size_t b = 0; b < sizeof ks / sizeof *ks; b++)
            for (size_t d = 0; d < sizeof ps / sizeof *ps; d++)
                for (int ties = 0; ties < 2; ties++) {
                    DrawConfig c = {temperatures[seed % 3], ks[b], ps[d]};
                    make_logits(logits, sizes[a], seed++, ties);
                    check_draws(logits, sizes[a], &c);
                }
}

static void test_temperature_zero(void **state) {
    (void)state;
    float logits[] = {0, 3, -1, 3, 2};
    Candidate room[5];
    for (int i = 0; i < 10; i++)
        assert_int_equal(draw_token(room, logits, 5, &(DrawConfig){.temperature = 0, .top_p = 1}, i / 10.0), 1);
    // What a broken network gives is a token all the same.
    for (int i = 0; i < 5; i++) logits[i] = NAN;
    for (int k = 0; k < 3; k++) {
        int token = draw_token(room, logits, 5, &(DrawConfig){1, k, k == 2 ? 0.5 : 1}, 0.5);
        assert_in_range(token, 0, 4);
    }
}

// n draws with probability p are p n in the mean with deviation sqrt(n p (1 - p)); five deviations, for seven
// tokens and a fixed seed.
static void test_distribution(void **state) {
    (void)state;
    enum { V = 7, N = 200000 };
    float logits[V];
    Candidate room[V];
    int counts[V] = {0};
    const DrawConfig c = {.temperature = 1.5, .top_p = 1};
    make_logits(logits, V, 11, false);
    for (int i = 0; i < V; i++) logits[i] /= 3;
    for (int i = 0; i < N; i++)
        counts[draw_token(room, logits, V, &c, random_uniform(5, RANDOM_SAMPLE, (uint64_t)i))]++;
    Reference r = reference(logits, V, &c);
    for (int i = 0; i < V; i++) {
        double p = r.probability[i], off = counts[r.order[i]] - p * N;
        if (!(fabs(off) <= 5 * sqrt(N * p * (1 - p))))
            fail_msg("token %d: %d of %d", r.order[i], counts[r.order[i]], N);
    }
}

// Writes the bytes in pieces of `piece`; what is there after each call, with a bar between.
static void check_text(const char *bytes, size_t piece, const char *expected) {
    char *text;
    size_t size, n = strlen(bytes);
    Utf8Stream w = {.out = open_memstream(&text, &size)};
    assert_non_null(w.out);
    for (size_t i = 0; i < n; i += piece) {
        utf8_stream_write(&w, bytes + i, n - i < piece ? n - i : piece);
        putc('|', w.out);
    }
    utf8_stream_flush(&w);
    fclose(w.out);
    assert_string_equal(text, expected);
    free(text);
}

#define BAD "\xEF\xBF\xBD"
static void test_characters(void **state) {
    (void)state;
    check_text("ab", 1, "a|b|");
    check_text("a\xC3\xA4o", 1, "a||\xC3\xA4|o|");
    check_text("\xE2\x82\xAC\xF0\x9F\x98\x80", 1, "||\xE2\x82\xAC||||\xF0\x9F\x98\x80|");
    check_text("\xE2\x82\xAC\xF0\x9F\x98\x80", 2, "|\xE2\x82\xAC||\xF0\x9F\x98\x80|");
    check_text("\xE2\x82\xAC\xF0\x9F\x98\x80", 7, "\xE2\x82\xAC\xF0\x9F\x98\x80|");
    check_text("\xE2\x82x", 1, "||" BAD BAD "x|"); // broken off by another character
    check_text("\xE2\x82", 1, "||" BAD BAD);       // and by the end
    check_text("\x80\xFF", 1, BAD "|" BAD "|");    // never a beginning
    check_text("\xE0\x80\xED\xA0\xF4\x90", 1,
               "|" BAD BAD "||" BAD BAD "||" BAD BAD "|"); // overlong, surrogate, too large
    check_text("\xF0\x9F\xF0\x9F\x98\x80", 3, "" BAD BAD "|\xF0\x9F\x98\x80|");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_reference),
                                       cmocka_unit_test(test_temperature_zero), cmocka_unit_test(test_distribution),
                                       cmocka_unit_test(test_characters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
