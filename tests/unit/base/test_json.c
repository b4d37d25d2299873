// JSON parser and writer: accepted and rejected texts with the offset of each error, and round trips.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Parses a heap copy of exactly the text's size, so that AddressSanitizer sees any read past its end.
static Json *parse(const char *text, size_t size, Error *err) {
    char *copy = malloc(size + !size);
    assert_non_null(copy);
    memcpy(copy, text, size);
    Json *root = json_parse(copy, size, err);
    free(copy);
    return root;
}

static Json *parse_text(const char *text) {
    Error err = {""};
    Json *root = parse(text, strlen(text), &err);
    if (!root) fail_msg("%s: %s", text, err.text);
    return root;
}

static void test_values(void **state) {
    (void)state;
    Json *root =
        parse_text(" {\"a\": [1, -2.5e3, true, false, null, \"x\"],\t\"b\":{}, \"c\" : [ ] ,\r\n \"\": 0} ");
    assert_int_equal(root->kind, JSON_OBJECT);
    assert_int_equal(root->count, 4);
    const Json *a = json_get(root, "a");
    assert_int_equal(a->kind, JSON_ARRAY);
    assert_int_equal(a->count, 6);
    const Json *x = a->first;
    assert_true(x->kind == JSON_NUMBER && x->is_integer && x->integer == 1 && x->number == 1);
    x = x->next;
    assert_true(x->kind == JSON_NUMBER && !x->is_integer && x->number == -2500);
    x = x->next;
    assert_true(x->kind == JSON_BOOL && x->boolean);
    x = x->next;
    assert_true(x->kind == JSON_BOOL && !x->boolean);
    x = x->next;
    assert_true(x->kind == JSON_NULL && x->key == NULL);
    x = x->next;
    assert_true(x->kind == JSON_STRING && x->length == 1 && !x->next);
    assert_string_equal(x->string, "x");
    assert_int_equal(json_get(root, "b")->count, 0);
    assert_int_equal(json_get(root, "c")->kind, JSON_ARRAY);
    assert_non_null(json_get(root, ""));
    assert_null(json_get(root, "d"));
    assert_null(json_get(a, "a"));
    json_free(root);
}

static void test_integers(void **state) {
    (void)state;
    Json *root = parse_text("[9223372036854775807, -9223372036854775808, 9223372036854775808, 1.0, -0]");
    const Json *x = root->first;
    assert_true(x->is_integer && x->integer == INT64_MAX);
    x = x->next;
    assert_true(x->is_integer && x->integer == INT64_MIN);
    x = x->next;
    assert_true(!x->is_integer && x->number == 9223372036854775808.0);
    x = x->next;
    assert_true(!x->is_integer && x->number == 1);
    x = x->next;
    assert_true(x->is_integer && x->integer == 0 && signbit(x->number));
    json_free(root);
}

static void test_strings(void **state) {
    (void)state;
    Json *root =
        parse_text("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"\\u00e9\\u20AC\\ud83d\\ude00\", \"\xC3\xA9\xE2\x82\xAC"
                   "\xF0\x9F\x98\x80\", \"a\\u0000b\", \"\"]");
    const Json *x = root->first;
    assert_string_equal(x->string, "\"\\/\b\f\n\r\t");
    x = x->next;
    assert_string_equal(x->string, x->next->string);
    assert_int_equal(x->length, 9);
    x = x->next->next;
    assert_int_equal(x->length, 3);
    assert_memory_equal(x->string, "a\0b", 4);
    assert_int_equal(x->next->length, 0);
    json_free(root);
}

static void test_bad_texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int offset; // -1: the message has no such offset
        const char *what;
    } cases[] = {
        {"", 0, "unexpected end"},
        {"  ", 2, "unexpected end"},
        {"[1", 2, "',' or ']'"},
        {"[1,]", 3, "value"},
        {"[1 2]", 3, "',' or ']'"},
        {"[", 1, "unexpected end"},
        {"{", 1, "key"},
        {"{\"a\"", 4, "':'"},
        {"{\"a\":", 5, "unexpected end"},
        {"{\"a\":1", 6, "',' or '}'"},
        {"{\"a\":1,}", 7, "key"},
        {"{a:1}", 1, "key"},
        {"{1:1}", 1, "key"},
        {"{\"a\":1,\"b\":2,\"a\":3}", -1, "\"a\" twice"},
        {"{\"a\":1,\"\\u0061\":2}", -1, "\"a\" twice"},
        {"{\"a\\u0000\":1}", 1, "zero byte"},
        {"1 2", 2, "after the value"},
        {"[]]", 2, "after the value"},
        {"nul", 0, "value"},
        {"nulll", 4, "after"},
        {"True", 0, "value"},
        {"NaN", 0, "value"},
        {"'a'", 0, "value"},
        {"01", 0, "leading zero"},
        {"-", 1, "digit"},
        {"-a", 1, "digit"},
        {"+1", 0, "value"},
        {".5", 0, "value"},
        {"1.", 2, "digit"},
        {"1e", 2, "digit"},
        {"1e+", 3, "digit"},
        {"1e999", 0, "range"},
        {"-1e999", 0, "range"},
        {"0x10", 1, "after"},
        {"\"a", 2, "unterminated string"},
        {"\"a\\", 3, "unterminated string"},
        {"\"\\x\"", 1, "escape"},
        {"\"\\u12\"", 5, "four hex"},
        {"\"\\u12g4\"", 5, "four hex"},
        {"\"\\ud800\"", 1, "first half"},
        {"\"\\ud800x\"", 1, "first half"},
        {"\"\\ud800\\u0041\"", 1, "first half"},
        {"\"\\udc00\"", 1, "second half"},
        {"\"a\nb\"", 2, "control"},
        {"\"\xFF\"", 1, "UTF-8"},
        {"\"\x80\"", 1, "UTF-8"},
        {"\"\xC0\x80\"", 1, "UTF-8"},         // overlong
        {"\"\xC1\xBF\"", 1, "UTF-8"},         // overlong
        {"\"\xE0\x9F\xBF\"", 1, "UTF-8"},     // overlong
        {"\"\xED\xA0\x80\"", 1, "UTF-8"},     // a surrogate
        {"\"\xF4\x90\x80\x80\"", 1, "UTF-8"}, // above U+10FFFF
        {"\"\xE2\x82\"", 1, "UTF-8"},         // truncated
        {"\"\xE2\x82", 1, "UTF-8"},
        {"\xEF\xBB\xBF\xEF\xBB\xBF[]", 3, "value"}, // a byte order mark is skipped, once
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = {""};
        Json *root = parse(cases[i].text, strlen(cases[i].text), &err);
        char offset[32];
        snprintf(offset, sizeof offset, "byte %d:", cases[i].offset);
        if (root || !strstr(err.text, cases[i].what) || (cases[i].offset >= 0 && !strstr(err.text, offset)) ||
            strchr(err.text, '\n'))
            fail_msg("%s: got \"%s\", expected \"%s\" at %d", cases[i].text, root ? "a value" : err.text,
                     cases[i].what, cases[i].offset);
    }
}

static void test_depth(void **state) {
    (void)state;
    for (int depth = 63; depth <= 66; depth++) {
        char text[160];
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        Error err;
        Json *root = parse(text, 2 * (size_t)depth, &err);
        assert_int_equal(root != NULL, depth <= 64);
        json_free(root);
    }
}

static void test_lookups(void **state) {
    (void)state;
    Error err;
    int64_t i;
    double d;
    const char *s;
    Json *root = parse_text("{\"i\": 7, \"d\": 0.5, \"s\": \"text\", \"z\": \"a\\u0000\", \"n\": null}");
    assert_true(json_get_int(&i, root, "i", &err) && i == 7);
    assert_true(json_get_double(&d, root, "i", &err) && d == 7);
    assert_true(json_get_double(&d, root, "d", &err) && d == 0.5);
    assert_true(json_get_string(&s, root, "s", &err));
    assert_string_equal(s, "text");
    assert_false(json_get_int(&i, root, "d", &err));
    assert_non_null(strstr(err.text, "\"d\""));
    assert_false(json_get_double(&d, root, "n", &err));
    assert_non_null(strstr(err.text, "\"n\""));
    assert_false(json_get_string(&s, root, "z", &err));
    assert_non_null(strstr(err.text, "zero byte"));
    assert_false(json_get_string(&s, root, "absent", &err));
    assert_non_null(strstr(err.text, "\"absent\" is missing"));
    json_free(root);
}

static void test_many_keys(void **state) {
    (void)state;
    enum { N = 100000 };
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i * 7919 % N);
        json_int(&w, key, i);
    }
    json_end_object(&w);
    Json *root = parse_text(w.text);
    assert_int_equal(root->count, N);
    json_free(root);
    json_writer_free(&w);
}

static void test_writer(void **state) {
    (void)state;
    JsonWriter w = {0};
    for (int turn = 0; turn < 2; turn++) { // the buffer is reusable
        w.size = 0;
        json_begin_object(&w, NULL);
        json_string(&w, "a\"b", "\\ \n\t\x01 \xC3\xA9 \xFF.");
        json_begin_array(&w, "list");
        json_int(&w, NULL, INT64_MIN);
        json_double(&w, NULL, NAN);
        json_begin_object(&w, NULL);
        json_end_object(&w);
        json_begin_array(&w, NULL);
        json_end_array(&w);
        json_bool(&w, NULL, true);
        json_end_array(&w);
        json_double(&w, "inf", -INFINITY);
        json_double(&w, "tenth", 0.1);
        json_end_object(&w);
        assert_string_equal(
            w.text, "{\"a\\\"b\":\"\\\\ \\n\\t\\u0001 \xC3\xA9 \xEF\xBF\xBD.\",\"list\":[-9223372036854775808,"
                    "null,{},[],true],\"inf\":null,\"tenth\":0.1}");
        json_free(parse_text(w.text));
    }
    json_writer_free(&w);
}

static void test_doubles_round_trip(void **state) {
    (void)state;
    enum { N = 20000 };
    static double values[N];
    JsonWriter w = {0};
    json_begin_array(&w, NULL);
    for (int i = 0; i < N; i++) {
        uint32_t bits[4];
        random_bits(bits, 1, RANDOM_TEST, (uint64_t)i);
        memcpy(&values[i], bits, sizeof values[i]);
        if (!isfinite(values[i])) values[i] = i % 2 ? 5e-324 : 1.7976931348623157e308;
        if (i % 3 == 0) values[i] = (float)random_normal(1, RANDOM_TEST, (uint64_t)i);
        json_double(&w, NULL, values[i]);
    }
    json_end_array(&w);
    Json *root = parse_text(w.text);
    int i = 0;
    for (const Json *x = root->first; x; x = x->next, i++)
        assert_memory_equal(&x->number, &values[i], sizeof *values);
    assert_int_equal(i, N);
    json_free(root);
    json_writer_free(&w);
}

// On corrupted texts the parser never reads out of bounds (AddressSanitizer checks), and every string of a tree that it
// accepts is terminated.
static void test_damaged_texts(void **state) {
    (void)state;
    static const char good[] =
        "{\"name\":[1,2.5e-3,\"\\u00e9\\ud83d\\ude00 x\",{\"k\":null,\"l\":[true,false]}],\"\xE2\x82\xAC\":\"\"}";
    size_t size = sizeof good - 1;
    Error err;
    for (size_t n = 0; n < size; n++) assert_null(parse(good, n, &err));
    int accepted = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        char text[sizeof good];
        uint32_t bits[4];
        memcpy(text, good, sizeof good);
        random_bits(bits, 2, RANDOM_TEST, i);
        text[bits[0] % size] = (char)bits[1];
        if (i % 2) text[bits[2] % size] = "\"\\{}[],:0"[bits[3] % 9];
        Json *root = parse(text, size, &err);
        accepted += root != NULL;
        json_free(root);
    }
    assert_true(accepted > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_doubles_round_trip),
        cmocka_unit_test(test_damaged_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
