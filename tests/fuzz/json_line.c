// Lines of JSON: the text lies within the line, and a line that the strict parser accepts gives the same text.
#include "data/tokenizer/json_line.h"
#include "base/json.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Error err, strict;
    char *line = malloc(size ? size : 1), *text = NULL;
    size_t text_size = 0;
    ASSERT(line);
    if (size) memcpy(line, data, size);
    Json *json = json_parse((const char *)data, size, &strict);
    const Json *wanted = json ? json_get(json, "text") : NULL;
    JsonLine kind = json_line_text(&text, &text_size, line, size, "text", &err);
    if (kind == JSON_LINE_BAD) fuzz_check_error(&err);
    if (kind == JSON_LINE_TEXT) ASSERT(text >= line && text_size > 0 && text + text_size <= line + size);
    if (json && json->kind == JSON_OBJECT) {
        bool is_text = wanted && wanted->kind == JSON_STRING && wanted->length > 0;
        bool is_empty =
            !wanted || wanted->kind == JSON_NULL || (wanted->kind == JSON_STRING && wanted->length == 0);
        ASSERT(kind == (is_text ? JSON_LINE_TEXT : is_empty ? JSON_LINE_EMPTY : JSON_LINE_BAD));
        if (is_text) ASSERT(text_size == wanted->length && memcmp(text, wanted->string, text_size) == 0);
    }
    json_free(json);
    free(line);
    return 0;
}
