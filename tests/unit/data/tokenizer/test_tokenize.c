// Texts into shards: what goes where, JSON lines, any number of threads, what is refused.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "data/shard.h"
#include "data/tokenizer/tokenize.h"
#include "tests/fixtures/temp_dir.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

static Vocab *bytes;

static int open_bytes(void **state) {
    Error err;
    bytes = vocab_open("bytes", &err);
    return bytes ? temp_dir_create(state) : -1;
}

static int close_bytes(void **state) {
    vocab_close(bytes);
    return temp_dir_remove(state);
}

static TokenizeConfig config_for(const char *const *files, int n_files, const char *out) {
    return (TokenizeConfig){.vocab = bytes,
                            .out_dir = out,
                            .name = "t",
                            .files = files,
                            .n_files = n_files,
                            .field = "text",
                            .shard_tokens = 1000000,
                            .val_tokens = -1,
                            .threads = 2};
}

static TokenizeResult make(const TokenizeConfig *config) {
    TokenizeResult result;
    Error err;
    if (!tokenize_files(&result, config, &err)) fail_msg("%s", err.text);
    return result;
}

static void refused(const TokenizeConfig *config, const char *what) {
    TokenizeResult result;
    Error err = {""};
    assert_false(tokenize_files(&result, config, &err));
    if (!strstr(err.text, what) || strchr(err.text, '\n')) fail_msg("expected \"%s\" in \"%s\"", what, err.text);
}

// All tokens of the shards that match, to be freed.
static uint32_t *read_set(int64_t *n, int *n_shards, const char *pattern) {
    ShardSet set;
    Error err;
    if (!shard_set_open(&set, temp_path(pattern), &err)) fail_msg("%s", err.text);
    uint32_t *tokens = malloc((size_t)set.total_tokens * sizeof *tokens);
    assert_true(shard_set_read(tokens, &set, 0, set.total_tokens, &err));
    *n = set.total_tokens;
    *n_shards = set.n_shards;
    shard_set_close(&set);
    return tokens;
}

// The set's tokens are these: a '|' for the end of text, else bytes.
static void expect_set(const char *pattern, const char *text, int n_shards) {
    int64_t n;
    int shards;
    uint32_t *tokens = read_set(&n, &shards, pattern);
    assert_int_equal(shards, n_shards);
    assert_int_equal(n, strlen(text));
    for (int64_t i = 0; i < n; i++) assert_int_equal(tokens[i], text[i] == '|' ? 256 : (unsigned char)text[i]);
    free(tokens);
}

static int files_in(const char *folder) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n = 0;
    while (readdir(dir)) n++;
    closedir(dir);
    return n - 2; // without . and ..
}

static void test_texts(void **state) {
    (void)state;
    char one[512], two[512], out[512];
    strcpy(one, temp_file("one.txt", "0123456789", 10));
    strcpy(two, temp_file("two.txt", "abcdefghi\xFF\n", 11));
    strcpy(out, temp_path("made/here"));
    const char *files[] = {one, two};
    TokenizeConfig config = config_for(files, 2, out);
    config.shard_tokens = 6;
    config.val_fraction = 0.2;
    TokenizeResult r = make(&config);
    // 10 -> 8 + 2, 11 -> 9 + 2, an end of text before each of the four parts.
    assert_int_equal(r.bytes, 21);
    assert_int_equal(r.total_bytes, 21);
    assert_int_equal(r.train_tokens, 19);
    assert_int_equal(r.val_tokens, 6);
    assert_int_equal(r.n_shards, 5);
    expect_set("made/here/t_train_00000[1-4].bin", "|01234567|abcdefghi", 4);
    expect_set("made/here/t_train_000004.bin", "i", 1);
    expect_set("made/here/t_val_000000.bin", "|89|\xFF\n", 1);

    // Not over what exists; with `overwrite` nothing of the old set stays.
    refused(&config, "already exists");
    config.overwrite = true;
    config.shard_tokens = 1000;
    config.val_fraction = 0;
    r = make(&config);
    assert_int_equal(r.n_shards, 1);
    expect_set("made/here/*", "|0123456789|abcdefghi\xFF\n", 1);
}

static void test_characters_stay_whole(void **state) {
    (void)state;
    char text[512], out[512];
    strcpy(text, temp_file("accents.txt", "ab\xE4\xB8\xAD\xE6\x96\x87", 8));
    strcpy(out, temp_path("accents"));
    const char *files[] = {text};
    TokenizeConfig config = config_for(files, 1, out);
    config.val_fraction = 0.2; // one byte, of a character of three
    make(&config);
    expect_set("accents/t_train_*.bin", "|ab\xE4\xB8\xAD", 1);
    expect_set("accents/t_val_*.bin", "|\xE6\x96\x87", 1);
}

static void test_json_lines(void **state) {
    (void)state;
    static const char lines[] = "{\"text\":\"one\",\"n\":[1,{}]}\n"
                                "\n"
                                "{\"id\":\"x\",\"text\":\"t\\u00e9\\n\\u0000\",\"body\":\"a\"}\r\n"
                                "  {\"text\" : \"\"}  \n"
                                "{\"text\":\"last\"}"; // without a line end
    char json[512], plain[512], out[512];
    strcpy(json, temp_file("lines.jsonl", lines, sizeof lines - 1));
    strcpy(plain, temp_file("plain.txt", "{}", 2));
    strcpy(out, temp_path("json"));
    const char *files[] = {json, plain};
    TokenizeConfig config = config_for(files, 2, out);
    refused(&config, "--val-tokens");
    config.val_tokens = 0;
    make(&config);
    int64_t n;
    int shards;
    static const uint32_t want[] = {256, 'o', 'n', 'e', 256, 't', 0xC3, 0xA9, '\n',
                                    0,   256, 'l', 'a', 's', 't', 256,  '{',  '}'};
    uint32_t *tokens = read_set(&n, &shards, "json/*");
    assert_int_equal(n, sizeof want / sizeof *want);
    assert_memory_equal(tokens, want, sizeof want);
    free(tokens);

    config.overwrite = true;
    config.val_tokens = 5; // the first document has 4, so the second goes there too
    TokenizeResult r = make(&config);
    assert_int_equal(r.val_tokens, 10);
    assert_int_equal(r.documents, 4);
    assert_int_equal(r.empty_documents, 1);
    expect_set("json/t_train_*.bin", "|last|{}", 1);
    config.val_tokens = 1000;
    refused(&config, "all of the text went to validation");
    assert_int_equal(files_in(out), 0);
    config.val_tokens = 0;
    config.format = FORMAT_TEXT;
    config.n_files = 1;
    assert_int_equal(make(&config).train_tokens, sizeof lines);
}

static void test_bad_json_lines(void **state) {
    (void)state;
    static const struct {
        const char *line, *what;
    } cases[] = {
        {"{\"text\":\"x\"", "bad.jsonl, line 3"},
        {"{\"text\":5}", "bad.jsonl, line 3: \"text\" is a number, not a string"},
        {"{\"text\":[\"x\"]}", "\"text\" is an array, not a string"},
        {"{\"txt\":\"x\"}", "\"text\" is missing, null or empty"},
        {"{\"text\":null}", "\"text\" is missing, null or empty"},
        {"[\"text\"]", "line 3: bad JSON at byte 0: expected an object"},
        {"\"text\"", "expected an object"},
        {"{\"text\":\"x\"}{}", "line 3"},
    };
    char out[512];
    strcpy(out, temp_path("bad"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256], path[512];
        int n = snprintf(text, sizeof text, "{\"text\":\"fine\"}\n\n%s\n{\"text\":\"x\"}\nworse\n", cases[i].line);
        strcpy(path, temp_file("bad.jsonl", text, (size_t)n));
        const char *files[] = {path};
        TokenizeConfig config = config_for(files, 1, out);
        config.val_tokens = 0;
        config.shard_tokens = 2;
        config.on_bad_document = BAD_DOCUMENT_STOP;
        refused(&config, cases[i].what);
        assert_int_equal(files_in(out), 0);
        config.on_bad_document = BAD_DOCUMENT_SKIP; // "worse" is a bad line as well
        config.shard_tokens = 1000;
        TokenizeResult r = make(&config);
        assert_int_equal(r.documents, 2);
        assert_int_equal(r.empty_documents + r.bad_lines, 2);
        expect_set("bad/t_train_*.bin", "|fine|x", 1);
        config.on_bad_document = BAD_DOCUMENT_SKIP_EMPTY;
        config.overwrite = true;
        refused(&config, r.empty_documents ? "line 5: bad JSON" : "line 3");
        assert_int_equal(files_in(out), 0);
    }
}

// Several megabytes, so that texts come in several units, with lines longer than one of these.
static void test_threads_and_units(void **state) {
    (void)state;
    enum { SIZE = 5 << 20 };
    char *text = malloc(SIZE), vocab_file[512], paths[3][512];
    // A vocabulary whose tokens would show every wrong cut: pairs of letters, blanks and letters, digits, line ends.
    FILE *f = fopen(temp_path("pairs.tiktoken"), "w");
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int rank = 0;
    for (int b = 0; b < 256; b++) fprintf(f, "%c%c== %d\n", digits[b >> 2], digits[b << 4 & 63], rank++);
    for (int a = 0; a < 256; a++)
        for (int b = a % 3; b < 256; b += 3)
            fprintf(f, "%c%c%c= %d\n", digits[a >> 2], digits[(a << 4 & 63) | b >> 4], digits[b << 2 & 63], rank++);
    fclose(f);
    strcpy(vocab_file, temp_path("pairs.tiktoken"));
    uint32_t x = 1;
    for (int i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = "abcdefgh  \n\t.'1\xC3"[x >> 28];
    }
    memset(text + (1 << 20) - 1000, 'z', 3 << 19); // a word of a megabyte and a half
    strcpy(paths[0], temp_file("large.txt", text, SIZE));
    strcpy(paths[1], temp_file("small.txt", "small", 5));
    f = fopen(temp_path("large.jsonl"), "w");
    for (int at = 0, n; at < SIZE - 1; at += n) {
        n = at == 0 ? 3 << 20 : 1 + at % 5000;
        if (n > SIZE - 1 - at) n = SIZE - 1 - at;
        fprintf(f, "{\"n\":%d,\"text\":\"", n);
        for (int i = at; i < at + n; i++) {
            if (text[i] == '\n' || text[i] == '\t') fputs(text[i] == '\n' ? "\\n" : "\\t", f);
            else if ((unsigned char)text[i] == 0xC3) fputs("\\u00e9", f);
            else fputc(text[i], f);
        }
        fputs("\"}\n", f);
    }
    fclose(f);
    strcpy(paths[2], temp_path("large.jsonl"));

    Error err;
    Vocab *vocab = vocab_open(vocab_file, &err);
    if (!vocab) fail_msg("%s", err.text);
    const char *files[] = {paths[0], paths[1], paths[2]};
    uint32_t *first = NULL;
    int64_t n_first = 0;
    for (int threads = 1; threads <= 7; threads += 3) {
        char out[512];
        snprintf(out, sizeof out, "%s/threads%d", temp_dir, threads);
        TokenizeConfig config = config_for(files, 3, out);
        config.vocab = vocab;
        config.val_tokens = 0;
        config.threads = threads;
        char pattern[64];
        int64_t n;
        int shards;
        make(&config);
        snprintf(pattern, sizeof pattern, "threads%d/t_train_*.bin", threads);
        uint32_t *tokens = read_set(&n, &shards, pattern);
        assert_int_equal(shards, (n + 999999) / 1000000);
        if (!first) {
            first = tokens;
            n_first = n;
            continue;
        }
        assert_int_equal(n, n_first);
        assert_memory_equal(tokens, first, (size_t)n * sizeof *tokens);
        free(tokens);
    }
    // The large text in one go.
    VocabEncoder *encoder = vocab_encoder_create(vocab);
    uint16_t *tokens = malloc(3 * (size_t)SIZE * sizeof *tokens);
    int64_t n = vocab_encode(tokens, encoder, text, SIZE);
    assert_int_equal(first[0], vocab_end_of_text(vocab));
    for (int64_t i = 0; i < n; i++) assert_int_equal(first[1 + i], tokens[i]);
    assert_int_equal(first[1 + n], vocab_end_of_text(vocab));
    vocab_encoder_free(encoder);
    free(tokens);
    free(first);
    free(text);
    vocab_close(vocab);
}

static void test_refuses(void **state) {
    (void)state;
    char text[512], empty[512], absent[512], out[512];
    strcpy(text, temp_file("good.txt", "text", 4));
    strcpy(empty, temp_file("empty.txt", "", 0));
    strcpy(absent, temp_path("absent.txt"));
    strcpy(out, temp_path("refused"));
    const char *good[] = {text}, *with_empty[] = {text, empty}, *with_absent[] = {text, absent},
               *standard[] = {"-"};
    const TokenizeConfig base = config_for(good, 1, out);
    struct {
        TokenizeConfig config;
        const char *what;
    } cases[8] = {
        {base, "no text files"},  {base, "--name"},    {base, "--val-fraction"}, {base, "--val-fraction"},
        {base, "--shard-tokens"}, {base, "empty.txt"}, {base, "absent.txt"},     {base, "standard input"},
    };
    cases[0].config.n_files = 0;
    cases[1].config.name = "a/b";
    cases[2].config.val_fraction = 1;
    cases[3].config.val_fraction = NAN;
    cases[4].config.shard_tokens = 0;
    cases[5].config.files = with_empty;
    cases[6].config.files = with_absent;
    cases[5].config.n_files = cases[6].config.n_files = 2;
    cases[7].config.files = standard;
    for (int i = 0; i < 8; i++) {
        refused(&cases[i].config, cases[i].what);
        assert_int_not_equal(access(out, F_OK), 0); // nothing was written
    }
}

static int stop_now(void) {
    return SIGINT;
}

static void test_nothing_is_left(void **state) {
    (void)state;
    char text[512], out[512];
    static char data[20000];
    memset(data, 'a', sizeof data);
    strcpy(text, temp_file("data.txt", data, sizeof data));
    strcpy(out, temp_path("left"));
    const char *files[] = {text};
    TokenizeConfig config = config_for(files, 1, out);
    config.stop = stop_now;
    refused(&config, "stopped by a signal");
    assert_int_equal(files_in(out), 0);
    // A file size limit stands in for a full disk.
    config.stop = NULL;
    config.shard_tokens = 4000; // some shards fit, the last does not
    config.val_fraction = 0.5;
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    struct rlimit limit = {10000, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    refused(&config, "t_val_000000.bin");
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(files_in(out), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_characters_stay_whole),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_bad_json_lines),
        cmocka_unit_test(test_threads_and_units),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, open_bytes, close_bytes);
}
