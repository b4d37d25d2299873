// Batches: their order against the plain concatenation of the shards, their index, and the loader thread.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "data/loader.h"
#include "base/random.h"
#include "tests/fixtures/shard_file.h"
#include "tests/fixtures/temp_dir.h"

#include <time.h>

enum { VOCAB = 1000, MAX_SHARDS = 8, DOCUMENT = 7 };

// Shards of random tokens, and the same tokens as one array per shard and as one stream.
typedef struct {
    ShardSet set;
    uint16_t *stream; // all tokens
    int64_t sizes[MAX_SHARDS];
    int n_shards;
    char pattern[64];
} Corpus;

// With `gap` > 0 one token in `gap`, at random, is DOCUMENT; with -1 none is.
static Corpus make_documents(const char *name, const int64_t *sizes, int n_shards, int gap) {
    Corpus c = {.n_shards = n_shards};
    int64_t total = 0, at = 0;
    for (int i = 0; i < n_shards; i++) total += c.sizes[i] = sizes[i];
    c.stream = malloc((size_t)total * sizeof *c.stream);
    assert_non_null(c.stream);
    for (int64_t i = 0; i < total; i++)
        c.stream[i] = (uint16_t)(random_uniform(3, RANDOM_TEST, (uint64_t)i) * VOCAB);
    for (int64_t i = 0; i < total && gap; i++)
        if (gap > 0 && random_uniform(4, RANDOM_TEST, (uint64_t)i) < 1.0 / gap) c.stream[i] = DOCUMENT;
        else if (c.stream[i] == DOCUMENT) c.stream[i]++;
    Error err;
    char file[64];
    for (int i = 0; i < n_shards; at += sizes[i++]) {
        snprintf(file, sizeof file, "%s_%02d.bin", name, i);
        assert_true(shard_write(temp_path(file), c.stream + at, sizes[i], &err));
    }
    snprintf(c.pattern, sizeof c.pattern, "%s_*.bin", name);
    if (!shard_set_open(&c.set, temp_path(c.pattern), &err)) fail_msg("%s", err.text);
    assert_int_equal(c.set.total_tokens, total);
    return c;
}

static Corpus make_corpus(const char *name, const int64_t *sizes, int n_shards) {
    return make_documents(name, sizes, n_shards, 0);
}

// Writes one token of the stream anew and opens the shards again.
static void set_token(Corpus *c, int64_t index, uint16_t token) {
    Error err;
    const Shard *shard = shard_set_find(&c->set, index);
    c->stream[index] = token;
    assert_true(shard_write(shard->path, c->stream + shard->first, shard->n_tokens, &err));
    shard_set_close(&c->set);
    assert_true(shard_set_open(&c->set, temp_path(c->pattern), &err));
}

static void free_corpus(Corpus *c) {
    shard_set_close(&c->set);
    free(c->stream);
}

static LoaderConfig in_order(int batch_size, int micro_batch, int seq_len, ShardTail tail) {
    return (LoaderConfig){batch_size, micro_batch, seq_len, VOCAB, tail, false, 0, 0, 0};
}

// The first token of global batch `step` by walking the shards as the definition says; -1 when they are used up.
static int64_t naive_start(const Corpus *c, const LoaderConfig *config, int64_t step) {
    int64_t G = (int64_t)config->batch_size * config->seq_len, batch = 0, first = 0;
    if (config->tail == SHARD_TAIL_JOIN) return step * G % c->set.total_tokens;
    for (int i = 0; i < c->n_shards; first += c->sizes[i++])
        for (int64_t k = 0; k < (c->sizes[i] - 2) / G; k++)
            if (batch++ == step) return first + k * G;
    return -1;
}

static void check_index(const Batch *b) {
    int n = b->B * b->T;
    assert_int_equal(b->start[0], 0);
    assert_int_equal(b->start[*b->n_unique], n);
    for (int u = 0; u < *b->n_unique; u++) {
        assert_true(b->start[u] < b->start[u + 1]);
        assert_true(u == 0 || b->unique[u - 1] < b->unique[u]);
        for (int i = b->start[u]; i < b->start[u + 1]; i++) {
            assert_int_equal(b->tokens[b->order[i]], b->unique[u]);
            assert_true(i == b->start[u] || b->order[i - 1] < b->order[i]);
        }
    }
}

static void check_batch(const Batch *b, const Corpus *c, int64_t index) {
    int64_t total = c->set.total_tokens;
    for (int64_t i = 0; i < (int64_t)b->B * b->T; i++) {
        assert_int_equal(b->tokens[i], c->stream[(index + i) % total]);
        assert_int_equal(b->targets[i], c->stream[(index + i + 1) % total]);
    }
    check_index(b);
}

// The loaders of a test, with their memory and whether a batch of theirs is out.
static struct Opened {
    Loader *loader;
    void *memory;
    bool out;
} opened[2];

static struct Opened *opened_of(const Loader *loader) {
    return &opened[opened[0].loader == loader ? 0 : 1];
}

static Loader *open_loader(const ShardSet *set, const LoaderConfig *config, int64_t step, int64_t position,
                           Error *err) {
    void *memory = aligned_alloc(64, (size_t)loader_memory_bytes(config));
    assert_non_null(memory);
    Loader *loader = loader_create(set, config, memory, step, position, err);
    if (loader) *opened_of(NULL) = (struct Opened){loader, memory, false};
    else free(memory);
    return loader;
}

static void close_loader(Loader *loader) {
    loader_free(loader);
    if (!loader) return;
    free(opened_of(loader)->memory);
    *opened_of(loader) = (struct Opened){0};
}

// loader_next for one batch at a time: the one before is given back.
static bool take(Batch *batch, Loader *loader, Error *err) {
    struct Opened *o = opened_of(loader);
    if (o->out) loader_release(loader);
    o->out = loader_next(batch, loader, err);
    return o->out;
}

// Runs the loader from `step` on and compares every micro-batch with the definition.
static void check_run(const Corpus *c, const LoaderConfig *config, int64_t step, int n_steps) {
    Error err;
    Loader *loader = open_loader(&c->set, config, step, 0, &err);
    if (!loader) fail_msg("%s", err.text);
    for (int64_t s = step; s < step + n_steps; s++) {
        int64_t start = naive_start(c, config, s), index;
        assert_int_equal(loader_batch_index(&index, &c->set, config, s, &err), start >= 0);
        for (int m = 0; m < config->batch_size / config->micro_batch; m++) {
            Batch batch;
            bool ok = take(&batch, loader, &err);
            assert_int_equal(ok, start >= 0);
            if (!ok) {
                assert_non_null(strstr(err.text, "out of training data"));
                close_loader(loader);
                return;
            }
            assert_int_equal(index, start);
            assert_int_equal(batch.B, config->micro_batch);
            assert_int_equal(batch.T, config->seq_len);
            check_batch(&batch, c, start + (int64_t)m * config->micro_batch * config->seq_len);
        }
    }
    close_loader(loader);
}

static void test_order(void **state) {
    (void)state;
    static const int64_t sizes[] = {1000, 1, 337, 64, 2, 2048, 129};
    Corpus c = make_corpus("order", sizes, 7);
    static const int micro[] = {1, 2, 4, 8};
    for (int tail = SHARD_TAIL_JOIN; tail <= SHARD_TAIL_DROP; tail++) {
        for (int m = 0; m < 4; m++) { // the same tokens however a batch is cut
            LoaderConfig config = in_order(8, micro[m], 16, (ShardTail)tail);
            check_run(&c, &config, 0, 70); // more than two rounds with JOIN, past the end with DROP
            for (int64_t step = 1; step < 40; step += 3) check_run(&c, &config, step, 3);
        }
    }
    free_corpus(&c);
}

static void test_drop_count(void **state) {
    (void)state;
    // floor((N - 2) / G): a shard of G + 1 tokens, which would do for one batch, gives none.
    static const struct {
        int64_t size;
        int batches;
    } cases[] = {{1, 0}, {2, 0}, {33, 0}, {34, 1}, {65, 1}, {66, 2}};
    LoaderConfig config = in_order(2, 1, 16, SHARD_TAIL_DROP);
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "count%d", i);
        Corpus c = make_corpus(name, &cases[i].size, 1);
        Error err = {""};
        assert_int_equal(loader_batch_count(&c.set, &config), cases[i].batches);
        Loader *loader = open_loader(&c.set, &config, 0, 0, &err);
        assert_int_equal(loader != NULL, cases[i].batches > 0);
        if (!loader) assert_non_null(strstr(err.text, "too few"));
        close_loader(loader);
        free_corpus(&c);
    }
}

static void test_join_smallest(void **state) {
    (void)state;
    static const int64_t enough = 32, too_few = 31;
    LoaderConfig config = in_order(2, 2, 16, SHARD_TAIL_JOIN);
    Corpus c = make_corpus("enough", &enough, 1);
    check_run(&c, &config, 0, 4);
    check_run(&c, &config, INT64_C(1) << 60, 0); // no overflow on the way to a far step
    assert_int_equal(loader_batch_count(&c.set, &config), -1);
    int64_t index;
    Error err;
    assert_true(loader_batch_index(&index, &c.set, &config, INT64_MAX, &err) && index == 0);
    free_corpus(&c);

    c = make_corpus("too_few", &too_few, 1);
    assert_null(open_loader(&c.set, &config, 0, 0, &err));
    assert_non_null(strstr(err.text, "too few"));
    free_corpus(&c);
}

// Where the row begins that comes after a row that ends at `position`, one token at a time.
static int64_t naive_document(const Corpus *c, int64_t position) {
    while (c->stream[position % c->set.total_tokens] != DOCUMENT) position++;
    return position % c->set.total_tokens;
}

static void check_row(const Batch *b, int row, const Corpus *c, int64_t start) {
    int64_t total = c->set.total_tokens;
    assert_int_equal(b->tokens[row * b->T], DOCUMENT);
    for (int i = 0; i < b->T; i++) {
        assert_int_equal(b->tokens[row * b->T + i], c->stream[(start + i) % total]);
        assert_int_equal(b->targets[row * b->T + i], c->stream[(start + i + 1) % total]);
    }
}

// Runs the loader for some steps from `position`, which becomes the place after the first of them.
static void check_aligned(const Corpus *c, const LoaderConfig *config, int64_t step, int64_t *position,
                          int n_steps) {
    Error err;
    int64_t at = *position;
    Loader *loader = open_loader(&c->set, config, step, at, &err);
    if (!loader) fail_msg("%s", err.text);
    assert_int_equal(loader_position(loader), at);
    for (int s = 0; s < n_steps; s++) {
        for (int m = 0; m < config->batch_size / config->micro_batch; m++) {
            Batch batch;
            if (!take(&batch, loader, &err)) fail_msg("%s", err.text);
            assert_int_equal(batch.B, config->micro_batch);
            for (int r = 0; r < batch.B; r++) {
                int64_t start = naive_document(c, at);
                check_row(&batch, r, c, start);
                at = (start + config->seq_len) % c->set.total_tokens;
            }
            check_index(&batch);
            assert_int_equal(loader_position(loader), at); // of this micro-batch, however far the thread is
        }
        if (s == 0) *position = at;
    }
    close_loader(loader);
}

static LoaderConfig aligned(int batch_size, int micro_batch, int seq_len) {
    return (LoaderConfig){batch_size, micro_batch, seq_len, VOCAB, SHARD_TAIL_JOIN, true, DOCUMENT, 0, 0};
}

static void test_aligned(void **state) {
    (void)state;
    static const struct {
        int64_t sizes[4];
        int n_shards, gap, seq_len, batch_size;
    } cases[] = {{{1000, 1, 337, 64}, 4, 20, 16, 8},
                 {{2000, 129, 500, 2}, 4, 3, 16, 8},
                 {{700}, 1, 60, 64, 4},
                 {{9000, 15000, 333}, 3, 4000, 16, 2},
                 {{512, 512}, 2, 1, 64, 8},
                 {{20000, 20000, 1}, 3, 9000, 1000, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32];
        snprintf(name, sizeof name, "aligned%zu", i);
        Corpus c = make_documents(name, cases[i].sizes, cases[i].n_shards, cases[i].gap);
        for (int micro = 1; micro <= cases[i].batch_size; micro *= 2) {
            LoaderConfig config = aligned(cases[i].batch_size, micro, cases[i].seq_len);
            int64_t position = 0;
            check_aligned(&c, &config, 0, &position, 40); // several times around
            for (int step = 1; step < 40; step++) check_aligned(&c, &config, step, &position, 2);
        }
        free_corpus(&c);
    }
}

// Loaders of a part of the micro-batches each return together what one loader of all returns, and continue at the same
// position.
static void check_parts(const Corpus *c, LoaderConfig config) {
    enum { STEPS = 6, RANKS = 3 };
    Error err;
    int K = config.batch_size / config.micro_batch;
    for (int r = 0; r < RANKS; r++) {
        LoaderConfig part = config;
        part.first_micro = K * r / RANKS, part.n_micro = K * (r + 1) / RANKS - part.first_micro;
        Loader *all = open_loader(&c->set, &config, 0, 0, &err), *own = open_loader(&c->set, &part, 0, 0, &err);
        assert_true(all && own);
        for (int i = 0; i < STEPS * K; i++) {
            Batch expected, batch;
            if (!take(&expected, all, &err)) fail_msg("%s", err.text);
            bool is_own = i % K >= part.first_micro && i % K < part.first_micro + part.n_micro;
            if (!is_own) continue;
            if (!take(&batch, own, &err)) fail_msg("%s", err.text);
            size_t bytes = (size_t)batch.B * (size_t)batch.T * sizeof *batch.tokens;
            assert_memory_equal(batch.tokens, expected.tokens, bytes);
            assert_memory_equal(batch.targets, expected.targets, bytes);
        }
        assert_int_equal(loader_position(own), loader_position(all)); // both are at the end of a step
        close_loader(own);
        close_loader(all);
    }
}

static void test_parts(void **state) {
    (void)state;
    static const int64_t sizes[] = {1000, 1300, 337};
    Corpus c = make_documents("parts", sizes, 3, 20);
    check_parts(&c, in_order(12, 2, 16, SHARD_TAIL_JOIN));
    check_parts(&c, in_order(4, 1, 16, SHARD_TAIL_DROP));
    check_parts(&c, aligned(12, 2, 16));
    check_parts(&c, aligned(3, 1, 16));
    free_corpus(&c);
}

// A single document, wherever it lies: in reach of one search, far away, at the very end of the stream.
static void test_aligned_single_document(void **state) {
    (void)state;
    static const int64_t sizes[] = {12000, 18000}, places[] = {0, 1, 8191, 8192, 11999, 12000, 29990, 29999};
    Corpus c = make_documents("single", sizes, 2, -1);
    LoaderConfig config = aligned(1, 1, 16), more = aligned(2, 1, 16);
    Error err;
    assert_null(open_loader(&c.set, &config, 0, 0, &err));
    assert_non_null(strstr(err.text, "found no token 7, which begins every document"));
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int64_t position = 0;
        set_token(&c, places[i], DOCUMENT);
        check_aligned(&c, &config, 0, &position, 3);
        assert_int_equal(position, (places[i] + 16) % 30000);
        check_aligned(&c, &config, 1, &position, 2);
        assert_null(open_loader(&c.set, &more, 0, 0, &err));
        assert_non_null(strstr(err.text, "only 1 sequences of 16 tokens begin at a document"));
        set_token(&c, places[i], DOCUMENT + 1);
    }
    free_corpus(&c);
}

// A row may begin right where the one before it ends, and no sooner.
static void test_aligned_neighbours(void **state) {
    (void)state;
    static const int64_t size = 200;
    Corpus c = make_documents("neighbours", &size, 1, -1);
    LoaderConfig config = aligned(4, 4, 16);
    static const int documents[] = {5, 20, 21, 36, 38, 54};
    static const int rows[] = {5, 21, 38, 54};
    Error err;
    Batch batch;
    for (int i = 0; i < 6; i++) set_token(&c, documents[i], DOCUMENT);
    Loader *loader = open_loader(&c.set, &config, 0, 0, &err);
    assert_non_null(loader);
    for (int i = 0; i < 2; i++) {
        assert_true(take(&batch, loader, &err));
        for (int r = 0; r < 4; r++) check_row(&batch, r, &c, rows[r]);
        assert_int_equal(loader_position(loader), 70);
    }
    close_loader(loader);
    LoaderConfig more = aligned(5, 5, 16);
    assert_null(open_loader(&c.set, &more, 0, 0, &err));
    assert_non_null(strstr(err.text, "4 sequences"));
    set_token(&c, 40, VOCAB); // in the third row
    loader = open_loader(&c.set, &config, 0, 0, &err);
    assert_non_null(loader);
    assert_false(take(&batch, loader, &err));
    assert_non_null(strstr(err.text, "token 40 is 1000"));
    close_loader(loader);
    free_corpus(&c);
}

static void test_bad_token(void **state) {
    (void)state;
    static const int64_t sizes[] = {100, 100};
    Corpus c = make_corpus("bad", sizes, 2);
    set_token(&c, 100 + 37, VOCAB); // token 37 of the second shard
    Error err;
    LoaderConfig config = in_order(2, 1, 16, SHARD_TAIL_JOIN);
    Loader *loader = open_loader(&c.set, &config, 0, 0, &err);
    assert_non_null(loader);
    Batch batch;
    // Micro-batch k is tokens 16k .. 16k + 16; 137 is first met in number 8. Those before it are good.
    for (int k = 0; k < 8; k++) {
        assert_true(take(&batch, loader, &err));
        check_batch(&batch, &c, 16 * k);
    }
    for (int k = 0; k < 2; k++) {
        err.text[0] = 0;
        assert_false(take(&batch, loader, &err));
        assert_non_null(strstr(err.text, "bad_01.bin: token 37 is 1000"));
    }
    close_loader(loader);
    free_corpus(&c);
}

static void test_shard_lost_while_running(void **state) {
    (void)state;
    static const int64_t size = 1000;
    Corpus c = make_corpus("lost", &size, 1);
    LoaderConfig config = in_order(1, 1, 16, SHARD_TAIL_JOIN);
    Error err = {""};
    Loader *loader = open_loader(&c.set, &config, 0, 0, &err);
    assert_non_null(loader);
    Batch batch;
    assert_true(take(&batch, loader, &err));
    assert_int_equal(truncate(c.set.shards[0].path, 1500), 0);
    int more = 0;
    while (take(&batch, loader, &err)) more++;
    assert_true(more <= LOADER_SLOTS); // what was read ahead
    assert_non_null(strstr(err.text, "changed while it was in use"));
    close_loader(loader);
    free_corpus(&c);
}

// Another file of the same size is refused, the same one copied over is read on.
static void test_shard_replaced_while_running(void **state) {
    (void)state;
    static const int64_t size = 1000;
    Corpus c = make_corpus("replaced", &size, 1);
    const Shard *shard = &c.set.shards[0];
    uint32_t tokens[10];
    Error err = {""};
    assert_true(shard_write(shard->path, c.stream, size, &err));
    assert_true(shard_set_read(tokens, &c.set, 500, 10, &err));
    c.stream[505] ^= 1;
    assert_true(shard_write(shard->path, c.stream, size, &err));
    assert_false(shard_set_read(tokens, &c.set, 500, 10, &err));
    assert_non_null(strstr(err.text, "changed while it was in use"));
    assert_non_null(strstr(err.text, "replaced_00.bin"));
    c.stream[505] ^= 1;
    assert_true(shard_write(shard->path, c.stream, size, &err));
    assert_true(shard_set_read(tokens, &c.set, 500, 10, &err));
    free_corpus(&c);
}

static void test_read_at(void **state) {
    (void)state;
    static const int64_t sizes[] = {100, 57};
    Corpus c = make_corpus("read", sizes, 2);
    static const int64_t indices[] = {0, 1, 50, 99, 100, 108, 109, 150, 156};
    void *memory = aligned_alloc(64, (size_t)batch_bytes(3, 16));
    assert_non_null(memory);
    Batch batch;
    batch_layout(&batch, memory, 3, 16);
    Error err;
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) {
        assert_true(loader_read_at(&batch, &c.set, indices[i], VOCAB, &err));
        check_batch(&batch, &c, indices[i]);
    }
    assert_false(loader_read_at(&batch, &c.set, 0, 10, &err));
    assert_non_null(strstr(err.text, "read_00.bin"));
    free(memory);
    free_corpus(&c);
}

static void test_batch_layout(void **state) {
    (void)state;
    static const int shapes[][2] = {{1, 1}, {1, 16}, {3, 5}, {4, 64}};
    for (int s = 0; s < 4; s++) {
        int B = shapes[s][0], T = shapes[s][1], n = B * T;
        int32_t *memory = aligned_alloc(64, (size_t)batch_bytes(B, T)), scratch[8];
        assert_non_null(memory);
        Batch b;
        batch_layout(&b, memory, B, T);
        // Arrays overlap nowhere and end within the allocation, also with n distinct tokens.
        for (int i = 0; i < n; i++) b.tokens[i] = 1, b.targets[i] = 2, b.order[i] = 3, b.unique[i] = 5;
        for (int i = 0; i <= n; i++) b.start[i] = 4;
        for (int i = 0; i < n; i++)
            assert_true(b.tokens[i] == 1 && b.targets[i] == 2 && b.order[i] == 3 && b.unique[i] == 5);
        for (int i = 0; i <= n; i++) assert_int_equal(b.start[i], 4);
        for (int i = 0; i < n; i++) b.tokens[i] = (n - i) % 7;
        batch_index(&b, scratch, 7);
        check_index(&b);
        free(memory);
    }
}

// The loader is stopped at every stage of its work, again and again (ThreadSanitizer can watch), while other threads
// read the same set.
static void test_stop_at_any_moment(void **state) {
    (void)state;
    static const int64_t sizes[] = {3000, 500};
    Corpus c = make_corpus("stop", sizes, 2);
    LoaderConfig config = in_order(4, 2, 32, SHARD_TAIL_JOIN);
    Error err;
    Batch batch, other;
    for (int round = 0; round < 300; round++) {
        Loader *a = open_loader(&c.set, &config, round, 0, &err), *b = open_loader(&c.set, &config, 0, 0, &err);
        assert_true(a && b);
        for (int k = 0; k < round % 7; k++) {
            assert_true(take(&batch, a, &err));
            assert_true(k % 2 == 0 || take(&other, b, &err));
            check_batch(&batch, &c, (int64_t)round * 128 + k * 64); // not touched by what came after
        }
        close_loader(a);
        close_loader(b);
    }
    close_loader(NULL);
    free_corpus(&c);
}

// What is out stays as it is while the thread reads on into the other slots; what comes next follows in order.
static void test_batches_that_are_out_stay(void **state) {
    (void)state;
    static const int64_t size = 3000;
    Corpus c = make_corpus("out", &size, 1);
    LoaderConfig config = in_order(4, 2, 16, SHARD_TAIL_JOIN);
    Error err;
    for (int most = 1; most <= LOADER_SLOTS; most++) {
        Batch out[LOADER_SLOTS];
        Loader *loader = open_loader(&c.set, &config, 0, 0, &err);
        assert_non_null(loader);
        for (int k = 0; k < 50; k++) {
            if (k >= most) loader_release(loader);
            assert_true(loader_next(&out[k % most], loader, &err));
            if (k % 7 == 0) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); // for the thread to catch up
            for (int i = k < most ? 0 : k - most + 1; i <= k; i++) check_batch(&out[i % most], &c, 32 * i);
        }
        close_loader(loader);
    }
    free_corpus(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_batches_that_are_out_stay),
        cmocka_unit_test(test_drop_count),
        cmocka_unit_test(test_join_smallest),
        cmocka_unit_test(test_aligned),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_aligned_single_document),
        cmocka_unit_test(test_aligned_neighbours),
        cmocka_unit_test(test_bad_token),
        cmocka_unit_test(test_shard_lost_while_running),
        cmocka_unit_test(test_shard_replaced_while_running),
        cmocka_unit_test(test_read_at),
        cmocka_unit_test(test_batch_layout),
        cmocka_unit_test(test_stop_at_any_moment),
    };
    return cmocka_run_group_tests(tests, temp_dir_create, temp_dir_remove);
}
