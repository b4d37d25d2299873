// Vocabularies: GPT-2's splitting and merging against a slow and plain version of them, `.tiktoken` files good and bad,
// and the real vocabulary's golden vectors.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "data/tokenizer/bpe.h"
#include "base/file.h"
#include "data/tokenizer/split.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/vocab.h"
#include "base/random.h"
#include "tests/fixtures/temp_dir.h"

#include <sys/stat.h>

static uint64_t draws;

// The next random number below n.
static int below(int n) {
    return (int)(random_uniform(7, RANDOM_TEST, draws++) * n);
}

static Vocab *open_vocab(const char *name) {
    Error err;
    Vocab *vocab = vocab_open(name, &err);
    if (!vocab) fail_msg("%s", err.text);
    return vocab;
}

static void test_builtin(void **state) {
    (void)state;
    Vocab *none = open_vocab("none"), *bytes = open_vocab("bytes");
    assert_true(vocab_is_none(none) && !vocab_is_none(bytes));
    assert_int_equal(vocab_size(none), 0);
    assert_int_equal(vocab_end_of_text(none), -1);
    assert_int_equal(vocab_token_bytes(none, 65), 0);
    assert_int_equal(vocab_size(bytes), 257);
    assert_int_equal(vocab_end_of_text(bytes), 256);
    VocabEncoder *encoder = vocab_encoder_create(bytes);
    char text[256];
    uint16_t tokens[3 * 256];
    for (int i = 0; i < 256; i++) text[i] = (char)i;
    assert_int_equal(vocab_encode(tokens, encoder, text, 256), 256);
    for (int i = 0; i < 256; i++) {
        int length;
        const char *out = vocab_decode(&length, bytes, i);
        assert_int_equal(tokens[i], i);
        assert_int_equal(length, 1);
        assert_int_equal((unsigned char)out[0], i);
    }
    assert_int_equal(vocab_token_bytes(bytes, 256), 0);
    assert_int_equal(vocab_token_bytes(bytes, -1), 0);
    vocab_encoder_free(encoder);
    vocab_close(bytes);
    vocab_close(none);
}

// A vocabulary made here: the single bytes, number 255 - b, and what is merged from them.
enum { MOST_TOKENS = 1000 };
static struct {
    char bytes[MOST_TOKENS][64];
    int length[MOST_TOKENS];
    int n;
} made;

static int made_find(const char *bytes, int length) {
    for (int i = 0; i < made.n; i++)
        if (made.length[i] == length && memcmp(made.bytes[i], bytes, (size_t)length) == 0) return i;
    return -1;
}

static void made_add(const char *bytes, int length) {
    if (length > 64 || made_find(bytes, length) >= 0) return;
    assert_true(made.n < MOST_TOKENS);
    memcpy(made.bytes[made.n], bytes, (size_t)length);
    made.length[made.n++] = length;
}

static int base64(char *out, const unsigned char *bytes, int n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int length = 0;
    for (int i = 0; i < n; i += 3) {
        unsigned bits =
            (unsigned)bytes[i] << 16 | (i + 1 < n ? bytes[i + 1] << 8 : 0) | (i + 2 < n ? bytes[i + 2] : 0);
        for (int k = 0; k < 4; k++) out[length++] = i + k > n ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
    return length;
}

// The file of the made vocabulary, its lines in any order.
static const char *made_file(const char *name) {
    static char text[MOST_TOKENS * 110];
    int size = 0;
    for (int k = 0; k < made.n; k++) {
        int i = (k * 7 + 3) % made.n; // 7 is no divisor of the sizes used
        size += base64(text + size, (const unsigned char *)made.bytes[i], made.length[i]);
        size += sprintf(text + size, " %d\n", i);
    }
    return temp_file(name, text, (size_t)size);
}

static void made_start(void) {
    made.n = 0;
    for (int b = 255; b >= 0; b--) {
        char byte = (char)b;
        made_add(&byte, 1);
    }
}

// Random tokens of few letters, so that many merges compete; most, but not all, are pairs of earlier ones.
static Vocab *made_vocab(int n) {
    made_start();
    while (made.n < n) {
        char bytes[128];
        int parts = 2 + (below(8) == 0), length = 0;
        for (int p = 0; p < parts; p++) {
            int i = below(3) ? 256 + below(made.n - 256 + 1) : made.n;
            char letter = "abc 's\n\xC3\xA9"[below(9)];
            if (i >= made.n) bytes[length++] = letter;
            else if (length + made.length[i] <= 64) {
                memcpy(bytes + length, made.bytes[i], (size_t)made.length[i]);
                length += made.length[i];
            }
        }
        made_add(bytes, length);
    }
    while (made.n % 7 == 0) made.n--;
    Vocab *vocab = open_vocab(made_file("made.tiktoken"));
    assert_int_equal(vocab_size(vocab), made.n + 1);
    assert_int_equal(vocab_end_of_text(vocab), made.n);
    return vocab;
}

// The definition, with nothing done to make it fast.
static int64_t merge_plainly(uint16_t *tokens, const char *piece, int n) {
    int whole = made_find(piece, n);
    if (whole >= 0) {
        tokens[0] = (uint16_t)whole;
        return 1;
    }
    int *ends = malloc((size_t)n * sizeof *ends), parts = n;
    for (int i = 0; i < n; i++) ends[i] = i + 1;
    for (;;) {
        int best = -1, best_rank = made.n;
        for (int i = 0; i + 1 < parts; i++) {
            int start = i ? ends[i - 1] : 0, rank = made_find(piece + start, ends[i + 1] - start);
            if (rank >= 0 && rank < best_rank) best = i, best_rank = rank;
        }
        if (best < 0) break;
        parts--;
        memmove(ends + best, ends + best + 1, (size_t)(parts - best) * sizeof *ends);
    }
    for (int i = 0; i < parts; i++) {
        int start = i ? ends[i - 1] : 0;
        tokens[i] = (uint16_t)made_find(piece + start, ends[i] - start);
    }
    free(ends);
    return parts;
}

static void test_merging(void **state) {
    (void)state;
    static uint16_t tokens[3 * 400], expected[400];
    for (int round = 0; round < 8; round++) {
        Vocab *vocab = made_vocab(280 + 60 * round);
        VocabEncoder *encoder = vocab_encoder_create(vocab);
        for (int trial = 0; trial < 200; trial++) {
            char piece[400];
            // One piece each: letters only. Around 96 bytes the method changes.
            int n = trial < 100 ? 1 + below(20) : trial < 180 ? 80 + below(40) : 200 + below(200);
            for (int i = 0; i < n; i++) piece[i] = "abcs"[below(trial % 4 + 1)];
            int64_t got = vocab_encode(tokens, encoder, piece, (size_t)n), want = merge_plainly(expected, piece, n);
            assert_int_equal(got, want);
            assert_memory_equal(tokens, expected, (size_t)want * sizeof *tokens);
        }
        vocab_encoder_free(encoder);
        vocab_close(vocab);
    }
}

static void test_splitting(void **state) {
    (void)state;
    // Pieces with | between them.
    static const char *const cases[] = {
        "Hello| world",
        "don|'t| we|'ll| I|'ve|'re|'m|'d|'s",
        "don|'|T| '|s| '",
        "a|'|lx|'ll",
        "''|s|'s|'s",
        "x|  | y",
        "x|  ",
        "x| ",
        " ",
        "x|\n|y",
        "x| \n|\n|y",
        "x|\t\t|\t|y",
        "x| \t| y",
        " x| 12|ab|34|.|5| ...!?",
        "h\xC3\xA9llo|\xC2\xA0|w", // U+00A0 is white space, but no blank
        "x|\xC2\xA0| w",           //
        "\xC2\xBD\xE2\x85\xA7"
        "7",                                                     // one half, Roman eight, 7: numbers
        " \xE4\xB8\xAD\xE6\x96\x87|\xE3\x80\x82|\xE3\x80\x80|x", // two letters, full stop, ideographic space
        " \xF0\x9F\x98\x80\xE2\x80\x8D|\xF0\x9D\x90\x80",        // emoji, zero-width joiner | mathematical bold A
        "\xE1\xA0\x8E| a",                                       // U+180E is no white space
        "e|\xCC\x81|e",                                          // a combining accent is no letter
        "\x1C|a",                                                // nor is U+001C white space
    };
    uint8_t *classes = malloc(UNICODE_CODES);
    unicode_fill_classes(classes);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char text[128], got[128];
        size_t size = 0, n = 0;
        for (const char *p = cases[c]; *p; p++)
            if (*p != '|') text[size++] = *p;
        for (size_t at = 0, end; at < size; at = end) {
            end = split_piece_end(classes, text, at, size);
            assert_true(end > at && end <= size);
            if (at > 0) got[n++] = '|';
            memcpy(got + n, text + at, end - at);
            n += end - at;
        }
        got[n] = 0;
        assert_string_equal(got, cases[c]);
    }
    int counts[4] = {0};
    for (int i = 0; i < UNICODE_CODES; i++) counts[classes[i]]++;
    assert_int_equal(counts[CHAR_LETTER], 141028); // DerivedGeneralCategory.txt of Unicode 16.0.0
    assert_int_equal(counts[CHAR_NUMBER], 1911);
    assert_int_equal(counts[CHAR_SPACE], 25);
    free(classes);
}

// Text with everything that matters to splitting, some of it not UTF-8.
static size_t random_text(char *text, size_t most) {
    static const char *const parts[] = {"a",
                                        "b",
                                        "ab",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\t",
                                        "'s",
                                        "'ll",
                                        "'",
                                        "1",
                                        "23",
                                        ".",
                                        "!",
                                        "\xC3\xA9",
                                        "\xC2\xA0",
                                        "\xE3\x80\x80",
                                        "\xE4\xB8\xAD",
                                        "\xF0\x9F\x98\x80",
                                        "\x80",
                                        "\xC3",
                                        "\xE3\x80",
                                        "\xF0\x9F\x98",
                                        "\xFF",
                                        "c"};
    size_t n = 0;
    for (int i = below(40); i >= 0; i--) {
        const char *part = parts[below((int)(sizeof parts / sizeof *parts))];
        if (n + strlen(part) > most) break;
        memcpy(text + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

static void test_cutting(void **state) {
    (void)state;
    Vocab *vocab = made_vocab(400);
    VocabEncoder *encoder = vocab_encoder_create(vocab);
    int cuts = 0;
    for (int trial = 0; trial < 20000; trial++) {
        char text[256];
        uint16_t whole[3 * 256], parts[3 * 256];
        size_t size = random_text(text, sizeof text), known = (size_t)below((int)size + 1);
        size_t cut = vocab_cut(vocab, text, known);
        assert_true(cut <= known);
        cuts += cut > 0;
        int64_t n = vocab_encode(whole, encoder, text, size), first = vocab_encode(parts, encoder, text, cut);
        assert_int_equal(first + vocab_encode(parts + first, encoder, text + cut, size - cut), n);
        assert_memory_equal(whole, parts, (size_t)n * sizeof *whole);
    }
    assert_true(cuts > 10000);
    vocab_encoder_free(encoder);
    vocab_close(vocab);
}

static void test_bad_utf8(void **state) {
    (void)state;
#define R "\xEF\xBF\xBD"
    static const struct {
        const char *bytes, *text; // as Python's bytes.decode("utf-8", errors="replace") has it
    } cases[] = {
        {"a\x80z", "a" R "z"},
        {"\xC3", R},
        {"\xC3(", R "("},
        {"\xC0\xAF", R R},
        {"\xE0\x80\xAF", R R R},
        {"\xE3\x80", R},
        {"\xE3\x80 ", R " "},
        {"\xED\xA0\x80", R R R},
        {"\xF0\x9F\x98", R},
        {"\xF0\x9F\x98z", R "z"},
        {"\xF0\x9Fz", R "z"},
        {"\xF0\x80\x80\x80", R R R R},
        {"\xF4\x90\x80\x80", R R R R},
        {"\xF1\x80\xE1\x80\xC2z\x80", R R R "z" R},
        {"12345678\xFF"
         "12345678\xFE",
         "12345678" R "12345678" R},
    };
#undef R
    Vocab *vocab = made_vocab(300);
    VocabEncoder *encoder = vocab_encoder_create(vocab);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint16_t got[128], want[128];
        int64_t n = vocab_encode(want, encoder, cases[i].text, strlen(cases[i].text));
        assert_int_equal(vocab_encode(got, encoder, cases[i].bytes, strlen(cases[i].bytes)), n);
        assert_memory_equal(got, want, (size_t)n * sizeof *got);
    }
    vocab_encoder_free(encoder);
    vocab_close(vocab);
}

static void test_decoding(void **state) {
    (void)state;
    Vocab *vocab = made_vocab(500);
    for (int i = 0; i < made.n; i++) {
        int length;
        const char *bytes = vocab_decode(&length, vocab, i);
        assert_int_equal(length, made.length[i]);
        assert_memory_equal(bytes, made.bytes[i], (size_t)length);
        assert_int_equal(vocab_token_bytes(vocab, i), length);
    }
    assert_int_equal(vocab_token_bytes(vocab, made.n), 0); // the end of text
    assert_int_equal(vocab_token_bytes(vocab, made.n + 1), 0);
    assert_int_equal(vocab_token_bytes(vocab, -1), 0);
    vocab_close(vocab);
}

// A million letters in one piece; quadratic time would be hours.
static void test_huge_piece(void **state) {
    (void)state;
    enum { N = 1000000 };
    made_start();
    for (int length = 2; length <= 16; length *= 2) made_add("aaaaaaaaaaaaaaaa", length);
    Vocab *vocab = open_vocab(made_file("huge.tiktoken"));
    VocabEncoder *encoder = vocab_encoder_create(vocab);
    char *text = malloc(N);
    uint16_t *tokens = malloc(3 * N * sizeof *tokens);
    memset(text, 'a', N);
    assert_int_equal(vocab_cut(vocab, text, N), 0);
    int64_t n = vocab_encode(tokens, encoder, text, N);
    assert_int_equal(n, N / 16);
    for (int64_t i = 0; i < n; i++) assert_int_equal(tokens[i], made.n - 1);
    free(tokens);
    free(text);
    vocab_encoder_free(encoder);
    vocab_close(vocab);
}

static void refused(const char *path, const char *what) {
    Error err = {""};
    Vocab *vocab = vocab_open(path, &err);
    if (vocab) fail_msg("%s was accepted", path);
    if (!strstr(err.text, what) || !strstr(err.text, path) || strchr(err.text, '\n'))
        fail_msg("%s: expected \"%s\" in \"%s\"", path, what, err.text);
}

static void test_bad_files(void **state) {
    (void)state;
    static const struct {
        const char *lines, *what; // behind the 256 good lines
    } cases[] = {
        {"YWI=\n", "line 257: expected a token"},
        {"YWI= \n", "line 257"},
        {" 256\n", "line 257"},
        {"\n", "line 257"},
        {"YWI=  256\n", "rank is not a number"},
        {"YWI= 256\r\n", "rank is not a number"},
        {"YWI= 2 6\n", "rank is not a number"},
        {"YWI= -256\n", "rank is not a number"},
        {"YWI= 000256\n", "line 257"},
        {"YWI= 257\n", "rank 257 is out of range, there are 257 tokens"},
        {"YWI= 255\n", "duplicate rank 255"},
        {"YWI= 256\nYWI= 257\n", "ranks 256 and 257 are the same token"},
        {"YQ== 256\n", "are the same token"},
        {"YWI 256\n", "line 257"},
        {"YW=I 256\n", "line 257"},
        {"Y=== 256\n", "line 257"},
        {"==== 256\n", "line 257"},
        {"YWI=YWI= 256\n", "line 257"},
        {"YW*= 256\n", "line 257"},
        {"YWI= 256\nYWJj 257\nx", "line 259"},
    };
    made_start();
    size_t size;
    unsigned char *good = temp_read(made_file("good.tiktoken"), &size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = malloc(size + 100);
        memcpy(text, good, size);
        strcpy(text + size, cases[i].lines);
        refused(temp_file("bad.tiktoken", text, size + strlen(cases[i].lines)), cases[i].what);
        free(text);
    }
    // A token of 256 bytes is the longest: 85 groups "aaaa" of 3 bytes and one of 1.
    char *text = malloc(size + 400);
    memcpy(text, good, size);
    memset(text + size, 'a', 340);
    strcpy(text + size + 340, "YQ== 256\n");
    vocab_close(open_vocab(temp_file("long.tiktoken", text, size + 340 + 9)));
    strcpy(text + size + 340, "YWI= 256\n");
    refused(temp_file("bad.tiktoken", text, size + 340 + 9), "line 257");
    // Without a last line end, without a byte, with zeros, empty, too many lines.
    vocab_close(open_vocab(temp_file("open.tiktoken", good, size - 1)));
    refused(temp_file("bad.tiktoken", good, size - 5), "");
    made.n = 255;
    refused(made_file("bad.tiktoken"), "no token for the byte 0x00");
    memset(text, 0, size);
    refused(temp_file("bad.tiktoken", text, size), "line 1");
    refused(temp_file("bad.tiktoken", "", 0), "no token for the byte 0x00");
    free(text);
    text = malloc(65536 * 2);
    for (int i = 0; i < 65536; i++) memcpy(text + 2 * i, "x\n", 2);
    refused(temp_file("bad.tiktoken", text, 65536 * 2), "65536 lines");
    free(text);
    free(good);
    refused(temp_path("absent.tiktoken"), "scripts/get_vocab.sh");
    refused("letters", "none, bytes");
    assert_int_equal(mkdir(temp_path("folder.tiktoken"), 0777), 0);
    refused(temp_path("folder.tiktoken"), "not a regular file");
}

// Any single damaged byte gives a good vocabulary or an error, and nothing else.
static void test_damaged_files(void **state) {
    (void)state;
    made_start();
    made_add("ab", 2);
    made_add("abc", 3);
    size_t size;
    unsigned char *file = temp_read(made_file("whole.tiktoken"), &size);
    for (size_t at = 0; at < size; at++) {
        unsigned char before = file[at];
        file[at] = (unsigned char)below(256);
        Error err;
        Vocab *vocab = vocab_open(temp_file("damaged.tiktoken", file, size), &err);
        if (vocab) {
            uint16_t tokens[30];
            VocabEncoder *encoder = vocab_encoder_create(vocab);
            assert_true(vocab_encode(tokens, encoder, "abc cab", 7) > 0);
            vocab_encoder_free(encoder);
        }
        vocab_close(vocab);
        file[at] = before;
    }
    free(file);
}

static const char *data_path(const char *name) {
    static char path[4096];
    const char *data = getenv("TEST_DATA");
    if (!data) {
        print_message("skipped real data: TEST_DATA is not set\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/%s", data, name);
    return path;
}

static void check_tokens(VocabEncoder *encoder, const char *text, size_t size, const uint16_t *want, int64_t n) {
    uint16_t *got = malloc(3 * size * sizeof *got);
    assert_int_equal(vocab_encode(got, encoder, text, size), n);
    assert_memory_equal(got, want, (size_t)n * sizeof *got);
    free(got);
}

static void test_gpt2(void **state) {
    (void)state;
    Vocab *vocab = open_vocab(data_path("r50k_base.tiktoken"));
    VocabEncoder *encoder = vocab_encoder_create(vocab);
    assert_int_equal(vocab_size(vocab), 50257);
    assert_int_equal(vocab_end_of_text(vocab), 50256);
    static const char hello[] = "Hello world", mixed[] = "hello   world's 123 don't\n\n x";
    check_tokens(encoder, hello, strlen(hello), (const uint16_t[]){15496, 995}, 2);
    check_tokens(encoder, mixed, strlen(mixed),
                 (const uint16_t[]){31373, 220, 220, 995, 338, 17031, 836, 470, 628, 2124}, 10);
    static const char end[] = "<|endoftext|>"; // no special token where it stands in a text
    check_tokens(encoder, end, strlen(end), (const uint16_t[]){27, 91, 437, 1659, 5239, 91, 29}, 7);
    vocab_encoder_free(encoder);
    vocab_close(vocab);
}

// Against the tokens that tiktoken made of the same text, cut as nanoGPT cuts it.
static void test_shakespeare(void **state) {
    (void)state;
    Vocab *vocab = open_vocab(data_path("r50k_base.tiktoken"));
    VocabEncoder *encoder = vocab_encoder_create(vocab);
    Error err;
    size_t size, train_bytes, val_bytes;
    char *text = file_read_whole(&size, data_path("tinyshakespeare.txt"), 1 << 24, &err);
    char *train = file_read_whole(&train_bytes, data_path("shakespeare_train.nanogpt.bin"), 1 << 24, &err);
    char *val = file_read_whole(&val_bytes, data_path("shakespeare_val.nanogpt.bin"), 1 << 24, &err);
    assert_true(text && train && val);
    size_t first = size / 10 * 9 + size % 10 * 9 / 10;
    assert_int_equal(train_bytes, 2 * 301966);
    check_tokens(encoder, text, first, (const uint16_t *)(const void *)train, 301966);
    check_tokens(encoder, text + first, size - first, (const uint16_t *)(const void *)val, (int64_t)val_bytes / 2);
    uint16_t *tokens = malloc(3 * size * sizeof *tokens);
    int64_t n = vocab_encode(tokens, encoder, text, size);
    assert_int_equal(n, 338025);
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        int length;
        const char *bytes = vocab_decode(&length, vocab, tokens[i]);
        assert_true(at + (size_t)length <= size);
        assert_memory_equal(text + at, bytes, (size_t)length);
        at += (size_t)length;
    }
    assert_int_equal(at, size);
    free(tokens);
    free(text);
    free(train);
    free(val);
    vocab_encoder_free(encoder);
    vocab_close(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin),    cmocka_unit_test(test_merging),     cmocka_unit_test(test_splitting),
        cmocka_unit_test(test_cutting),    cmocka_unit_test(test_bad_utf8),    cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_huge_piece), cmocka_unit_test(test_bad_files),   cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_gpt2),       cmocka_unit_test(test_shakespeare),
    };
    return cmocka_run_group_tests(tests, temp_dir_create, temp_dir_remove);
}
