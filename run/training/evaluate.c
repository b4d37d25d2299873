#include "run/training/evaluate.h"

#include "data/loader.h"
#include "base/signals.h"

#include <math.h>
#include <stdlib.h>

static const double LN2 = 0.69314718055994530942;

bool forward_create(Forward *f, Model *model, Stream *stream, Error *err) {
    size_t bytes = (size_t)batch_bytes(model->shape.B, model->shape.T);
    *f = (Forward){.model = model,
                   .stream = stream,
                   .host = device_alloc_host(model->device, bytes),
                   .memory = device_alloc(model->device, bytes)};
    if (f->host && f->memory) return true;
    forward_free(f);
    return error_set(err, "out of memory for batches of %d x %d tokens", model->shape.B, model->shape.T);
}

void forward_free(Forward *f) {
    if (f->host) device_free_host(f->model->device, f->host);
    if (f->memory) device_free(f->model->device, f->memory);
    *f = (Forward){0};
}

void forward_losses(double *losses, const Forward *f, const Batch *host) {
    Batch batch;
    int64_t n = (int64_t)host->B * host->T;
    batch_layout(&batch, f->memory, host->B, host->T);
    device_copy(f->stream, batch.tokens, host->tokens, (size_t)n * sizeof *batch.tokens);
    device_copy(f->stream, batch.targets, host->targets, (size_t)n * sizeof *batch.targets);
    model_forward_loss(f->model, f->stream, &batch, NULL);
    model_read_losses(losses, f->model, f->stream, n);
}

// Sums over the sequences so far: losses S, lengths L, and their products for the variance of a ratio of sums.
typedef struct {
    double s, l, ss, sl, ll;
    int64_t n;
} Sums;

static void add_sequence(Sums *sums, double loss, int length) {
    double s = loss, l = length;
    sums->s += s, sums->l += l;
    sums->ss += s * s, sums->sl += s * l, sums->ll += l * l;
    sums->n++;
}

// Tokens of a sequence are not independent: sequences, not tokens, are the sampling unit. The variance of the ratio
// sum S / sum L is n / (n - 1) sum (S - ratio L)^2 / (sum L)^2 (Cochran 1977, eq. 6.13).
static double standard_error(const Sums *sums) {
    double ratio = sums->s / sums->l, n = (double)sums->n;
    double squares = sums->ss - 2 * ratio * sums->sl + ratio * ratio * sums->ll;
    if (sums->n < 2) return NAN;
    return sqrt(n / (n - 1) * fmax(squares, 0)) / sums->l;
}

bool evaluate_loss(ValidationResult *result, bool *complete, const Forward *f, const Validation *v, Meter *meter,
                   Error *err) {
    const int T = v->seq_len;
    const int64_t sequences_all = (v->tokens + T - 1) / T;
    Sums sums = {0};
    bool ok = true;
    double *losses = malloc((size_t)v->batch * (size_t)T * sizeof *losses);
    double *sequence_losses = calloc((size_t)sequences_all, sizeof *sequence_losses); // sums of the losses of each
    ASSERT(losses && sequence_losses);
    *complete = true;
    *result = (ValidationResult){0};
    int64_t turn = 0; // batches are dealt to the ranks in turn
    for (int64_t at = 0; at < v->tokens && ok && *complete; turn++) {
        // Full sequences first, then a shorter one for the rest.
        int64_t left = v->tokens - at, sequences = left / T;
        int B = sequences > v->batch ? v->batch
                : sequences > 0      ? (int)sequences
                                     : 1,
            length = sequences > 0 ? T : (int)left;
        at += (int64_t)B * length;
        if (turn % comm_size(f->comm) != comm_rank(f->comm)) continue;
        Batch host;
        batch_layout(&host, f->host, B, length);
        int64_t begin = at - (int64_t)B * length;
        ok = loader_read_at(&host, v->set, begin, f->model->config.vocab_size, err);
        if (!ok) break;
        for (int i = 0; i < B * length; i++) result->bytes += vocab_token_bytes(v->vocab, host.targets[i]);
        forward_losses(losses, f, &host);
        for (int b = 0; b < B; b++)
            for (int t = 0; t < length; t++) sequence_losses[begin / T + b] += losses[(int64_t)b * length + t];
        if (meter) meter_show(meter, (double)at / (double)v->tokens);
        // Several ranks would not stop at the same batch.
        if (comm_size(f->comm) == 1 && signals_received()) *complete = at >= v->tokens;
    }
    ok = comm_all_ok(f->comm, ok, err) && comm_add(f->comm, sequence_losses, sequences_all, err);
    double bytes = (double)result->bytes;
    ok = ok && comm_add(f->comm, &bytes, 1, err);
    result->bytes = (int64_t)bytes;
    for (int64_t i = 0; i < sequences_all && ok && *complete; i++)
        add_sequence(&sums, sequence_losses[i], (int)(i < v->tokens / T ? T : v->tokens % T));
    if (ok && *complete) {
        result->loss = sums.s / sums.l;
        result->standard_error = standard_error(&sums);
        result->bits_per_byte = result->bytes ? sums.s / LN2 / (double)result->bytes : NAN;
    }
    free(losses), free(sequence_losses);
    return ok;
}
