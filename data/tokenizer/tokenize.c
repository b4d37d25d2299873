// The worker threads of `train tokenize`. Each takes the next unit of text, encodes it, and appends its tokens to the
// shards after all previous units have been appended.
#include "data/tokenizer/tokenize.h"

#include "data/tokenizer/json_line.h"
#include "data/tokenizer/sink.h"
#include "data/tokenizer/source.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// That many leading documents without a text mean a wrong --field.
enum { MANY_EMPTY = 1000 };

typedef struct {
    const TokenizeConfig *config;
    TokenizeResult *result;
    Source source; // this and the next two are guarded by read_lock
    int64_t n_read;
    bool at_end;
    Sink sink;    // this and the next three are guarded by turn_lock, as is `result`
    int64_t turn; // index of the unit to be appended next
    bool failed;
    Error *err;
    pthread_mutex_t read_lock, turn_lock;
    pthread_cond_t turn_changed;
} Job;

// The state of one thread.
typedef struct {
    Unit unit;
    uint16_t *tokens;
    int64_t n, capacity;
    int64_t documents, empty_documents, bad_lines; // of the unit
    VocabEncoder *encoder;
} Worker;

static bool is_blank(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\r\n", text[i]) || !text[i]) return false;
    return true;
}

static void encode_document(Worker *w, const Job *job, const char *text, size_t size, bool begins) {
    if (begins) {
        w->tokens[w->n++] = (uint16_t)vocab_end_of_text(job->config->vocab);
        w->documents++;
    }
    w->n += vocab_encode(w->tokens + w->n, w->encoder, text, size);
}

static bool encode_line(Worker *w, const Job *job, char *line, size_t size, Error *err) {
    const TokenizeConfig *c = job->config;
    char *text;
    size_t text_size;
    switch (json_line_text(&text, &text_size, line, size, c->field, err)) {
    case JSON_LINE_TEXT:
        encode_document(w, job, text, text_size, true);
        return true;
    case JSON_LINE_EMPTY:
        w->empty_documents++;
        return c->on_bad_document != BAD_DOCUMENT_STOP ||
               error_set(err, "\"%s\" is missing, null or empty; --field names the field with the text", c->field);
    case JSON_LINE_BAD:
        break;
    }
    w->bad_lines++;
    if (c->on_bad_document == BAD_DOCUMENT_SKIP) return true;
    Error why = *err;
    return error_set(err, "%s; --on-bad-document skip skips such lines", why.text);
}

static bool encode_lines(Worker *w, const Job *job, Error *err) {
    const Unit *u = &w->unit;
    int64_t number = u->line;
    for (size_t at = 0, end; at < u->size; at = end + 1, number++) {
        const char *newline = memchr(u->text + at, '\n', u->size - at);
        end = newline ? (size_t)(newline - u->text) : u->size;
        if (is_blank(u->text + at, end - at)) continue;
        if (!encode_line(w, job, u->text + at, end - at, err))
            return error_prefix(err, "%s, line %lld", u->path, (long long)number);
    }
    return true;
}

static bool encode_unit(Worker *w, const Job *job, Error *err) {
    // At most 3 tokens per byte, see vocab_encode. A line of JSON has more bytes than the text in it and the token
    // before it.
    int64_t max_tokens = 3 * (int64_t)w->unit.size + 1;
    if (max_tokens > w->capacity) {
        w->tokens = realloc(w->tokens, (size_t)max_tokens * sizeof *w->tokens);
        ASSERT(w->tokens);
        w->capacity = max_tokens;
    }
    w->n = w->documents = w->empty_documents = w->bad_lines = 0;
    if (w->unit.is_json) return encode_lines(w, job, err);
    encode_document(w, job, w->unit.text, w->unit.size, w->unit.begins);
    return true;
}

// Reads the next unit. Returns false if there is none, or the job has failed. A read error is returned in *ok and
// counts as the unit's error.
static bool take_unit(int64_t *number, bool *ok, Worker *w, Job *job, Error *err) {
    bool end = true;
    pthread_mutex_lock(&job->read_lock);
    if (!job->at_end) {
        *ok = source_next(&w->unit, &end, &job->source, err);
        job->at_end = end || !*ok;
        if (!*ok) end = false;
        if (!end) *number = job->n_read++;
    }
    pthread_mutex_unlock(&job->read_lock);
    return !end;
}

// Waits for the unit's turn and appends its tokens, unless an earlier unit failed.
static bool add_unit(Worker *w, Job *job, int64_t number, bool ok, Error *err) {
    const TokenizeConfig *c = job->config;
    pthread_mutex_lock(&job->turn_lock);
    while (job->turn != number) pthread_cond_wait(&job->turn_changed, &job->turn_lock);
    if (!job->failed) {
        TokenizeResult *r = job->result;
        r->bytes += (int64_t)w->unit.size;
        r->file_bytes = w->unit.file_bytes;
        r->documents += w->documents;
        r->empty_documents += w->empty_documents;
        r->bad_lines += w->bad_lines;
        if (ok && c->stop && c->stop()) ok = error_set(err, "stopped by a signal; no shards were written");
        if (ok && r->documents == 0 && r->empty_documents >= MANY_EMPTY)
            ok = error_set(
                err,
                "%s: none of its first %lld objects has a text in \"%s\"; --field names the field with the text",
                w->unit.path, (long long)r->empty_documents, c->field);
        ok = ok && sink_add(&job->sink, w->tokens, w->n, w->unit.to_val, err);
        job->failed = !ok;
        if (!ok) *job->err = *err;
        if (ok && c->progress) c->progress(r);
    }
    ok = !job->failed;
    job->turn++;
    pthread_cond_broadcast(&job->turn_changed);
    pthread_mutex_unlock(&job->turn_lock);
    return ok;
}

static void *work(void *context) {
    Job *job = context;
    Worker w = {.encoder = vocab_encoder_create(job->config->vocab)};
    bool ok = true;
    int64_t number = 0;
    Error err;
    while (take_unit(&number, &ok, &w, job, &err)) {
        ok = ok && encode_unit(&w, job, &err);
        if (add_unit(&w, job, number, ok, &err)) continue;
        pthread_mutex_lock(&job->read_lock);
        job->at_end = true;
        pthread_mutex_unlock(&job->read_lock);
    }
    vocab_encoder_free(w.encoder);
    free(w.unit.text);
    free(w.tokens);
    return NULL;
}

// The calling thread is one of the workers; it is not an error if fewer threads can be started than requested.
static void run_threads(Job *job) {
    int n = job->config->threads, started = 0;
    pthread_t *threads = calloc((size_t)n, sizeof *threads);
    ASSERT(threads);
    while (started < n - 1 && pthread_create(&threads[started], NULL, work, job) == 0) started++;
    work(job);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    free(threads);
}

static bool check_config(const TokenizeConfig *c, Error *err) {
    ASSERT(c->threads > 0);
    if (c->n_files < 1) return error_set(err, "no text files given");
    if (!*c->name || strchr(c->name, '/'))
        return error_set(err, "bad --name \"%s\": it must be a file name without '/'", c->name);
    if (!(c->val_fraction >= 0 && c->val_fraction < 1))
        return error_set(err, "bad --val-fraction %g: it must be at least 0 and less than 1", c->val_fraction);
    if (c->shard_tokens < 1 || c->shard_tokens > INT32_MAX)
        return error_set(err, "bad --shard-tokens %lld: a shard holds 1 to %d tokens", (long long)c->shard_tokens,
                         INT32_MAX);
    return true;
}

bool tokenize_files(TokenizeResult *result, const TokenizeConfig *config, Error *err) {
    *result = (TokenizeResult){0};
    Job job = {.config = config,
               .result = result,
               .err = err,
               .read_lock = PTHREAD_MUTEX_INITIALIZER,
               .turn_lock = PTHREAD_MUTEX_INITIALIZER,
               .turn_changed = PTHREAD_COND_INITIALIZER};
    if (!check_config(config, err) || !source_open(&job.source, result, config, err) ||
        !sink_open(&job.sink, result, config, err))
        return false;
    run_threads(&job);
    source_close(&job.source);
    return sink_close(&job.sink, !job.failed, err);
}
