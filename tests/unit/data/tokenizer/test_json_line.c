// The text of a line of JSON: escapes, what Python's json accepts, what is refused.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "data/tokenizer/json_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The line in memory of its very size, so that a sanitizer sees a read behind its end.
static JsonLine read_line(char **copy, char **text, size_t *size, const char *line, size_t line_size, Error *err) {
    *copy = malloc(line_size ? line_size : 1);
    assert_non_null(*copy);
    memcpy(*copy, line, line_size);
    err->text[0] = 0;
    return json_line_text(text, size, *copy, line_size, "text", err);
}

static void expect_text(const char *line, const char *want, size_t want_size) {
    char *copy, *text;
    size_t size;
    Error err;
    JsonLine kind = read_line(&copy, &text, &size, line, strlen(line), &err);
    if (kind != JSON_LINE_TEXT) fail_msg("%s: %d, %s", line, kind, err.text);
    if (size != want_size || memcmp(text, want, size) != 0) fail_msg("%s: \"%.*s\"", line, (int)size, text);
    free(copy);
}

static void expect_kind(JsonLine want, const char *line, const char *error) {
    char *copy, *text;
    size_t size;
    Error err;
    JsonLine kind = read_line(&copy, &text, &size, line, strlen(line), &err);
    if (kind != want) fail_msg("%s: %d instead of %d", line, kind, want);
    if (!strstr(err.text, error)) fail_msg("%s: expected \"%s\" in \"%s\"", line, error, err.text);
    free(copy);
}

static void test_text_is_decoded(void **state) {
    (void)state;
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"{\"text\":\"plain\"}", "plain"},
        {" {\t\"a\" : 1 , \"text\" : \"x\" } \r", "x"},
        {"{\"text\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t"},
        {"{\"text\":\"\\u00e9\\u4E2d\\ud83d\\ude00\"}", "\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80"},
        {"{\"te\\u0078t\":\"x\"}", "x"}, // the key is written with an escape
        // Unpaired surrogates: U+FFFD each, and what follows them stays.
        {"{\"text\":\"\\ud83d\"}", "\xEF\xBF\xBD"},
        {"{\"text\":\"\\ude00x\"}", "\xEF\xBF\xBDx"},
        {"{\"text\":\"\\ud83d\\ud83d\\ude00\"}", "\xEF\xBF\xBD\xF0\x9F\x98\x80"},
        {"{\"text\":\"\\ud83d\\n\"}", "\xEF\xBF\xBD\n"},
        {"{\"text\":\"\\ud83d\\u0041\"}", "\xEF\xBF\xBD\x41"},
        // Bytes that are not UTF-8 are passed on.
        {"{\"text\":\"caf\xE9 \xED\xA0\x80\"}", "caf\xE9 \xED\xA0\x80"},
        // The last one of a repeated key.
        {"{\"text\":\"a\",\"text\":\"b\"}", "b"},
        {"{\"text\":5,\"text\":\"b\"}", "b"},
        // Other fields: any value, also those that RFC 8259 does not have.
        {"{\"a\":[NaN,Infinity,-Infinity,1e999,-0.0,123456789012345678901234567890],\"text\":\"x\"}", "x"},
        {"{\"a\":{\"b\":[{},[],{\"text\":\"inner\"}],\"b\":null},\"text\":\"x\",\"c\":[true,false,\"\\ud83d\"]}",
         "x"},
        {"{\"text\":\"x\",\"a\":\"\xFF\"}", "x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_text(cases[i].line, cases[i].text, strlen(cases[i].text));
    expect_text("{\"text\":\"a\\u0000b\"}", "a\0b", 3);
}

static void test_any_depth(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    char *line = malloc(4 * DEPTH + 64), *p = line;
    assert_non_null(line);
    p += sprintf(p, "{\"deep\":");
    for (int i = 0; i < DEPTH; i++) *p++ = '[';
    for (int i = 0; i < DEPTH; i++) *p++ = ']';
    strcpy(p, ",\"text\":\"x\"}");
    expect_text(line, "x", 1);
    p[-1] = '}';
    expect_kind(JSON_LINE_BAD, line, "expected ',' or ']'");
    free(line);
}

static void test_empty_and_bad(void **state) {
    (void)state;
    static const char *const empty[] = {
        "{}",
        "{\"text\":\"\"}",
        "{\"text\":null}",
        "{\"id\":7}",
        "{\"a\":{\"text\":\"inner\"}}",
        "{\"text\":\"x\",\"text\":null}",
    };
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) expect_kind(JSON_LINE_EMPTY, empty[i], "");
    static const struct {
        const char *line, *error;
    } bad[] = {
        {"", "at byte 0: expected an object"},
        {"null", "expected an object"},
        {"[\"text\"]", "expected an object"},
        {"{\"text\":\"x\"", "at byte 11: expected ',' or '}'"},
        {"{\"text\":\"x", "unterminated string"},
        {"{\"text\":\"x\\", "unterminated string"},
        {"{\"text\":\"\\u12\"}", "unknown escape"},
        {"{\"text\":\"\\x\"}", "unknown escape"},
        {"{\"text\":\"a\tb\"}", "at byte 10: control character"},
        {"{\"text\":\"x\"} {}", "trailing text after the object"},
        {"{\"text\":\"x\",}", "expected a key in double quotes"},
        {"{text:\"x\"}", "expected a key in double quotes"},
        {"{\"text\" \"x\"}", "expected ':'"},
        {"{\"text\":}", "expected a value"},
        {"{\"a\":[1,],\"text\":\"x\"}", "expected a value"},
        {"{\"a\":01,\"text\":\"x\"}", "expected ',' or '}'"},
        {"{\"a\":1.,\"text\":\"x\"}", "expected a digit"},
        {"{\"a\":1e,\"text\":\"x\"}", "expected a digit"},
        {"{\"a\":-,\"text\":\"x\"}", "expected a value"},
        {"{\"a\":[}", "expected a value"},
        {"{\"a\":{\"b\":1]}", "expected ',' or '}'"},
        {"{\"text\":5}", "\"text\" is a number"},
        {"{\"text\":true}", "\"text\" is true or false"},
        {"{\"text\":[\"x\"]}", "\"text\" is an array"},
        {"{\"text\":{\"x\":1}}", "\"text\" is an object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect_kind(JSON_LINE_BAD, bad[i].line, bad[i].error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_decoded),
        cmocka_unit_test(test_any_depth),
        cmocka_unit_test(test_empty_and_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
