// JSON: every node of an accepted tree can be visited, and lookups of its keys find them.
#include "base/json.h"
#include "tests/fuzz/fuzz.h"

static void visit(const Json *json, int depth) {
    size_t count = 0;
    ASSERT(depth <= 64);
    if (json->kind == JSON_STRING) ASSERT(strlen(json->string) <= json->length);
    for (const Json *child = json->first; child; child = child->next, count++) {
        ASSERT((child->key != NULL) == (json->kind == JSON_OBJECT));
        visit(child, depth + 1);
    }
    ASSERT(count == json->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Error err;
    Json *json = json_parse((const char *)data, size, &err);
    if (!json) {
        fuzz_check_error(&err);
        return 0;
    }
    visit(json, 0);
    int64_t integer;
    double number;
    const char *string;
    (void)json_get_int(&integer, json, "step", &err);
    (void)json_get_double(&number, json, "loss", &err);
    (void)json_get_string(&string, json, "kind", &err);
    json_free(json);
    return 0;
}
