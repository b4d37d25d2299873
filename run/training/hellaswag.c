#include "run/training/hellaswag.h"

#include "base/signals.h"

#include <math.h>
#include <stdlib.h>

bool hellaswag_check(const Hellaswag *set, const char *path, const ModelConfig *config, int64_t positions,
                     Error *err) {
    int needed = set->longest - 1; // the last token is only predicted
    if (set->max_token >= config->vocab_size)
        return error_set(err,
                         "%s has the token %d, but the model's vocabulary has %d: the file belongs to another "
                         "vocabulary",
                         path, set->max_token, config->vocab_size);
    if (needed > config->context)
        return error_set(err,
                         "%s has an example of %d tokens, longer than the model's context of %d; "
                         "truncating it would change the benchmark",
                         path, needed + 1, config->context);
    if (needed > positions)
        return error_set(err, "%s has an example of %d tokens, more than a batch of %lld; take a larger batch",
                         path, needed + 1, (long long)positions);
    return true;
}

// A context with one of its endings.
typedef struct {
    int example, ending, length; // input tokens: all but the last
} Row;

// The longest first, so that the rows of a batch have similar lengths and the estimates of memory and time hold.
static int longest_first(const void *a, const void *b) {
    const Row *x = a, *y = b;
    if (x->length != y->length) return y->length - x->length;
    return x->example != y->example ? x->example - y->example : x->ending - y->ending;
}

static Row *make_rows(const Hellaswag *set) {
    int n = HELLASWAG_ENDINGS * set->n_examples;
    Row *rows = malloc((size_t)n * sizeof *rows);
    ASSERT(rows);
    for (int i = 0; i < n; i++) {
        int example = i / HELLASWAG_ENDINGS, ending = i % HELLASWAG_ENDINGS;
        const HellaswagExample *e = &set->examples[example];
        rows[i] = (Row){example, ending, e->n_context + e->n_ending[ending] - 1};
    }
    qsort(rows, (size_t)n, sizeof *rows, longest_first);
    return rows;
}

// Fills row b of a batch: tokens, targets only for the ending, and padding.
static void fill_row(Batch *batch, int b, const Hellaswag *set, const Row *row) {
    const HellaswagExample *e = &set->examples[row->example];
    const uint16_t *ending = e->endings[row->ending];
    int32_t *tokens = batch->tokens + (int64_t)b * batch->T, *targets = batch->targets + (int64_t)b * batch->T;
    for (int t = 0; t < batch->T; t++) {
        tokens[t] = t < e->n_context ? e->context[t] : t < row->length ? ending[t - e->n_context] : 0;
        targets[t] = t >= e->n_context - 1 && t < row->length ? ending[t - e->n_context + 1] : -1;
    }
}

static void score_rows(double *scores, double *losses, const Forward *f, const Hellaswag *set, const Row *rows,
                       int B) {
    Batch host;
    batch_layout(&host, f->host, B, rows[0].length);
    for (int b = 0; b < B; b++) fill_row(&host, b, set, &rows[b]);
    forward_losses(losses, f, &host);
    for (int b = 0; b < B; b++) {
        double *score = &scores[rows[b].example * HELLASWAG_ENDINGS + rows[b].ending];
        *score = 0;
        for (int t = 0; t < rows[b].length; t++) *score += losses[(int64_t)b * host.T + t];
    }
}

// Sums the negative log-likelihoods of all endings (n_examples, 4). Returns false if a signal ended it early.
static bool score_all(double *scores, const Forward *f, const Hellaswag *set, Meter *meter) {
    int64_t positions = (int64_t)f->model->shape.B * f->model->shape.T, done = 0, all = 0;
    int n = HELLASWAG_ENDINGS * set->n_examples, at = 0;
    Row *rows = make_rows(set);
    double *losses = malloc((size_t)positions * sizeof *losses);
    ASSERT(losses);
    for (int i = 0; i < n; i++) all += rows[i].length;
    // Batches are dealt to the ranks in turn; several ranks would not stop at the same one.
    for (int turn = 0; at < n && (comm_size(f->comm) > 1 || !signals_received()); turn++) {
        int64_t B = positions / rows[at].length;
        if (B > n - at) B = n - at;
        if (turn % comm_size(f->comm) == comm_rank(f->comm)) score_rows(scores, losses, f, set, rows + at, (int)B);
        for (int i = 0; i < B; i++) done += rows[at + i].length;
        at += (int)B;
        if (meter) meter_show(meter, (double)done / (double)all);
    }
    Error err; // a rank is gone, and this one is about to be ended
    bool ok = comm_add(f->comm, scores, n, &err);
    free(losses);
    free(rows);
    return ok && at == n;
}

HellaswagResult hellaswag_evaluate(bool *complete, const Forward *f, const Hellaswag *set, Meter *meter) {
    double *scores = calloc((size_t)set->n_examples * HELLASWAG_ENDINGS, sizeof *scores);
    ASSERT(scores);
    bool not_finite = false;
    int right = 0, right_norm = 0, n = set->n_examples;
    *complete = score_all(scores, f, set, meter);
    for (int i = 0; i < n && *complete; i++) {
        const HellaswagExample *e = &set->examples[i];
        const double *s = scores + i * HELLASWAG_ENDINGS;
        for (int k = 0; k < HELLASWAG_ENDINGS; k++) not_finite |= !isfinite(s[k]);
        int best = 0, best_norm = 0;
        for (int k = 1; k < HELLASWAG_ENDINGS; k++) {
            if (s[k] < s[best]) best = k;
            if (s[k] / e->n_ending[k] < s[best_norm] / e->n_ending[best_norm]) best_norm = k;
        }
        right += best == e->label;
        right_norm += best_norm == e->label;
    }
    free(scores);
    double acc_norm = (double)right_norm / n;
    return (HellaswagResult){.examples = n,
                             .acc_norm = acc_norm,
                             .acc = (double)right / n,
                             .not_finite = not_finite,
                             .standard_error = sqrt(acc_norm * (1 - acc_norm) / n)};
}
