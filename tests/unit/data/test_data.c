// CRC-32C and token shards.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "data/shard.h"
#include "tests/fixtures/shard_file.h"
#include "tests/fixtures/temp_dir.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void test_crc32c(void **state) {
    (void)state;
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    unsigned char bytes[1000];
    memset(bytes, 0, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x8A9136AA); // RFC 3720, B.4
    memset(bytes, 0xFF, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46DD794E);

    // Against the definition, bit by bit, at every alignment and cut in two at every place.
    for (int i = 0; i < 1000; i++) bytes[i] = (unsigned char)(i * i * 31 + i);
    for (size_t from = 0; from < 9; from++) {
        for (size_t size = 0; size < 100; size++) {
            uint32_t expected = ~0u;
            for (size_t i = 0; i < size; i++) {
                expected ^= bytes[from + i];
                for (int bit = 0; bit < 8; bit++) expected = expected >> 1 ^ (expected & 1 ? 0x82F63B78u : 0);
            }
            size_t cut = size * from / 9;
            uint32_t crc = crc32c(crc32c(0, bytes + from, cut), bytes + from + cut, size - cut);
            assert_int_equal(crc, (uint32_t)~expected);
        }
    }
}

static void write_tokens(const char *name, int first, int64_t n) {
    uint16_t *tokens = malloc((size_t)n * sizeof *tokens);
    assert_non_null(tokens);
    for (int64_t i = 0; i < n; i++) tokens[i] = (uint16_t)(first + i);
    Error err;
    if (!shard_write(temp_path(name), tokens, n, &err)) fail_msg("%s", err.text);
    free(tokens);
}

static void open_set(ShardSet *set, const char *pattern) {
    Error err;
    if (!shard_set_open(set, temp_path(pattern), &err)) fail_msg("%s", err.text);
}

static void test_shard_layout(void **state) {
    (void)state;
    write_tokens("layout.bin", 0x0102, 3);
    size_t size;
    unsigned char *bytes = temp_read(temp_path("layout.bin"), &size);
    assert_int_equal(size, 1030);
    static const unsigned char start[16] = {0x88, 0xD8, 0x34, 0x01, 1, 0, 0, 0, 3}; // 20240520 = 0x0134D888
    assert_memory_equal(bytes, start, 16);
    static const unsigned char tokens[6] = {0x02, 0x01, 0x03, 0x01, 0x04, 0x01};
    assert_memory_equal(bytes + 1024, tokens, 6);
    free(bytes);
}

static void test_shard_stream(void **state) {
    (void)state;
    // In name order 7, 1, 5000 tokens that count 0, 1, 2, ...
    write_tokens("stream_10.bin", 8, 5000);
    write_tokens("stream_00.bin", 0, 7);
    write_tokens("stream_01.bin", 7, 1);
    assert_int_equal(symlink("stream_00.bin", temp_path("link_stream.bin")), 0);
    ShardSet set;
    open_set(&set, "stream_*.bin");
    assert_int_equal(set.n_shards, 3);
    assert_int_equal(set.total_tokens, 5008);
    assert_int_equal(set.shards[2].first, 8);
    static uint32_t tokens[12000];
    Error err;
    static const int64_t starts[] = {0, 1, 6, 7, 8, 9, 5000, 5007, 5008, 5009, 7 * 5008LL + 3, (1LL << 60) + 5};
    static const int64_t lengths[] = {0, 1, 2, 8, 5007, 5008, 11000};
    for (size_t s = 0; s < sizeof starts / sizeof *starts; s++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            assert_true(shard_set_read(tokens, &set, starts[s], lengths[l], &err));
            for (int64_t i = 0; i < lengths[l]; i++) assert_int_equal(tokens[i], (starts[s] + i) % 5008);
        }
    }
    for (int64_t i = 0; i < 2 * 5008; i++) {
        const Shard *shard = shard_set_find(&set, i);
        assert_true(i % 5008 >= shard->first && i % 5008 < shard->first + shard->n_tokens);
    }
    shard_set_close(&set);
    open_set(&set, "link_stream.bin");
    assert_int_equal(set.total_tokens, 7);
    shard_set_close(&set);
}

static void test_plain_name_with_brackets(void **state) {
    (void)state;
    write_tokens("odd[1]*.bin", 3, 4);
    ShardSet set;
    open_set(&set, "odd[1]*.bin");
    assert_int_equal(set.n_shards, 1);
    shard_set_close(&set);
}

static void test_more_shards_than_files(void **state) {
    (void)state;
    struct rlimit old, few;
    getrlimit(RLIMIT_NOFILE, &old);
    few = (struct rlimit){32, old.rlim_max};
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "many_%03d.bin", i);
        write_tokens(name, i * 3, 3);
    }
    setrlimit(RLIMIT_NOFILE, &few);
    ShardSet set;
    open_set(&set, "many_*.bin");
    uint32_t tokens[300];
    Error err;
    assert_true(shard_set_read(tokens, &set, 0, 300, &err));
    for (int i = 0; i < 300; i++) assert_int_equal(tokens[i], i);
    shard_set_close(&set);
    setrlimit(RLIMIT_NOFILE, &old);
}

// A stream of a 16-bit and a 32-bit shard, of numbers that need all 32 bits.
static void test_wide_shards(void **state) {
    (void)state;
    enum { WIDE = 50 };
    int32_t file[SHARD_HEADER_BYTES / 4 + WIDE] = {SHARD_WIDE_MAGIC, SHARD_WIDE_VERSION, WIDE};
    for (int i = 0; i < WIDE; i++) file[SHARD_HEADER_BYTES / 4 + i] = 100000 * (i + 1);
    write_tokens("mixed_0.bin", 7, 20);
    temp_file("mixed_1.bin", file, sizeof file);
    ShardSet set;
    open_set(&set, "mixed_*.bin");
    assert_int_equal(set.total_tokens, 70);
    uint32_t tokens[100];
    Error err;
    assert_true(shard_set_read(tokens, &set, 60, 100, &err)); // ends of both, around the end of the stream
    for (int i = 0; i < 100; i++) {
        int at = (60 + i) % 70;
        assert_int_equal(tokens[i], at < 20 ? 7 + at : 100000 * (at - 19));
    }
    shard_set_close(&set);
}

static uint32_t fingerprint_of(const char *name) {
    ShardSet set;
    open_set(&set, name);
    uint32_t fingerprint = set.shards[0].fingerprint;
    shard_set_close(&set);
    return fingerprint;
}

static void flip_byte(const char *name, long offset) {
    FILE *f = fopen(temp_path(name), "r+b");
    assert_non_null(f);
    fseek(f, offset, SEEK_SET);
    int c = fgetc(f);
    fseek(f, offset, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

static void test_fingerprint(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2047, 2048, 3000, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t n = sizes[i];
        write_tokens("print_a.bin", 1, n);
        write_tokens("print_b.bin", 1, n);
        uint32_t fingerprint = fingerprint_of("print_a.bin");
        assert_int_equal(fingerprint_of("print_b.bin"), fingerprint);
        long ends[] = {1024, 1024 + 2 * (long)n - 1, 1020}; // first and last token; the header's unused part
        for (int k = 0; k < 3; k++) {
            flip_byte("print_b.bin", ends[k]);
            assert_int_not_equal(fingerprint_of("print_b.bin"), fingerprint);
            flip_byte("print_b.bin", ends[k]);
        }
        write_tokens("print_b.bin", 2, n);
        assert_int_not_equal(fingerprint_of("print_b.bin"), fingerprint);
    }
}

static void expect_open_error(const char *name, const char *what) {
    ShardSet set;
    Error err = {""};
    const char *path = temp_path(name);
    if (shard_set_open(&set, path, &err)) fail_msg("%s was accepted", name);
    if (!strstr(err.text, what) || !strstr(err.text, path) || strchr(err.text, '\n'))
        fail_msg("%s: expected \"%s\" and the path in \"%s\"", name, what, err.text);
    assert_null(set.shards);
}

static void test_bad_shards(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int32_t header[3];
        size_t size; // of the file
        const char *what;
    } cases[] = {
        {"empty.bin", {0}, 0, "is empty"},
        {"short.bin", {20240520, 1, 3}, 1000, "less than the header"},
        {"tiny.bin", {20240520}, 4, "less than the header"},
        {"version.bin", {20240520, 7, 3}, 1030, "version 7"},
        {"none.bin", {20240520, 1, 0}, 1024, "no tokens"},
        {"negative.bin", {20240520, 1, -3}, 1030, "no tokens"},
        {"minimum.bin", {20240520, 1, INT32_MIN}, 1030, "no tokens"},
        {"cut.bin", {20240520, 1, 4}, 1030, "1030 bytes where its header's 4 tokens need 1032"},
        {"long.bin", {20240520, 1, 2}, 1030, "need 1028"},
        {"odd.bin", {20240520, 1, 3}, 1031, "need 1030"},
        {"huge.bin", {20240520, 1, INT32_MAX}, 1030, "need 4294968318"},
        {"wide.bin", {20240801, 7, 3}, 1030, "need 1036"},
        {"wide_version.bin", {20240801, 1, 3}, 1036, "version 1; only version 7"},
        {"magic.bin", {-2, -2, -2}, 1030, "instead of the magic number 20240520"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char bytes[2048] = {0};
        memcpy(bytes, cases[i].header, sizeof cases[i].header);
        temp_file(cases[i].name, bytes, cases[i].size);
        expect_open_error(cases[i].name, cases[i].what);
    }
    static const char page[] = "<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n";
    temp_file("page.bin", page, sizeof page - 1);
    expect_open_error("page.bin", "is text");
    expect_open_error("absent.bin", "no file matches");
    expect_open_error("absent_*.bin", "no file matches");
    assert_int_equal(mkdir(temp_path("folder.bin"), 0777), 0);
    expect_open_error("folder.bin", "not a regular file");
    assert_int_equal(mkfifo(temp_path("pipe.bin"), 0666), 0);
    expect_open_error("pipe.bin", "not a regular file");
}

static void test_shard_replaced_while_open(void **state) {
    (void)state;
    write_tokens("replaced.bin", 0, 100);
    ShardSet set;
    open_set(&set, "replaced.bin");
    write_tokens("replaced.bin", 0, 50);
    uint32_t tokens[100];
    Error err;
    assert_false(shard_set_read(tokens, &set, 0, 10, &err));
    assert_non_null(strstr(err.text, "changed while it was in use"));
    unlink(temp_path("replaced.bin"));
    assert_false(shard_set_read(tokens, &set, 0, 10, &err));
    assert_non_null(strstr(err.text, "cannot open"));
    shard_set_close(&set);
}

static void test_shard_write_errors(void **state) {
    (void)state;
    uint16_t token = 1;
    Error err;
    assert_false(shard_write(temp_path("no/such/folder.bin"), &token, 1, &err));
    assert_non_null(strstr(err.text, "no/such/folder.bin"));
    // A file size limit stands in for a full disk: nothing may be left behind.
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    struct rlimit limit = {1024, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    bool ok = shard_write(temp_path("full.bin"), &token, 1, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_false(ok);
    assert_non_null(strstr(err.text, "full.bin"));
    ShardSet set;
    assert_false(shard_set_open(&set, temp_path("full.bin*"), &err));
}

static void test_real_shards(void **state) {
    (void)state;
    const char *data = getenv("TEST_DATA");
    if (!data) {
        print_message("skipped test_real_shards: TEST_DATA is not set\n");
        skip();
    }
    static const struct {
        const char *name;
        int n_shards;
        int64_t tokens;
        uint16_t first;
    } cases[] = {
        {"fineweb_edu_sample/fineweb_train_*.bin", 2, 98944 + 98945, 50256},
        {"fineweb_edu_sample/fineweb_val_*.bin", 1, 20000, 5047},
        {"fineweb_edu_sample/*.bin", 3, 217889, 50256},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[4096];
        ShardSet set;
        Error err;
        uint32_t first;
        snprintf(path, sizeof path, "%s/%s", data, cases[i].name);
        if (!shard_set_open(&set, path, &err)) fail_msg("%s", err.text);
        assert_int_equal(set.n_shards, cases[i].n_shards);
        assert_int_equal(set.total_tokens, cases[i].tokens);
        assert_true(shard_set_read(&first, &set, 0, 1, &err));
        assert_int_equal(first, cases[i].first);
        shard_set_close(&set);
    }
    char path[4096];
    ShardSet set;
    Error err;
    snprintf(path, sizeof path, "%s/shakespeare_train.nanogpt.bin", data);
    assert_false(shard_set_open(&set, path, &err));
    assert_non_null(strstr(err.text, "headerless nanoGPT"));
    snprintf(path, sizeof path, "%s/tinyshakespeare.txt", data);
    assert_false(shard_set_open(&set, path, &err));
    assert_non_null(strstr(err.text, "is text"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_shard_layout),
        cmocka_unit_test(test_shard_stream),
        cmocka_unit_test(test_plain_name_with_brackets),
        cmocka_unit_test(test_more_shards_than_files),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_bad_shards),
        cmocka_unit_test(test_shard_replaced_while_open),
        cmocka_unit_test(test_wide_shards),
        cmocka_unit_test(test_shard_write_errors),
        cmocka_unit_test(test_real_shards),
    };
    return cmocka_run_group_tests(tests, temp_dir_create, temp_dir_remove);
}
