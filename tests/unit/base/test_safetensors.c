// The safetensors format: files round-trip, and corrupt files are rejected without crashing the reader.
// `test_safetensors --write PATH` only writes the sample, for test_safetensors.py.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/safetensors.h"
#include "base/random.h"
#include "tests/fixtures/temp_dir.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

enum { N_SAMPLES = 5 };

static const SafeTensor samples[N_SAMPLES] = {
    {.name = "wte.weight", .type = TYPE_F32, .n_dims = 2, .shape = {3, 5}},
    {.name = "step", .type = TYPE_F64, .n_dims = 0},
    {.name = "a \"quoted\\ name \xC3\xA9", .type = TYPE_BF16, .n_dims = 3, .shape = {1, 3, 1}},
    {.name = "empty", .type = TYPE_F32, .n_dims = 2, .shape = {0, 7}},
    {.name = "ids", .type = TYPE_I32, .n_dims = 1, .shape = {4}},
};

// Byte i of tensor k.
static unsigned char sample_byte(int k, int64_t i) {
    return (unsigned char)(16 * k + i);
}

static bool write_sample(const char *path, uint32_t *crc, Error *err) {
    SafeTensor tensors[N_SAMPLES];
    memcpy(tensors, samples, sizeof tensors);
    SafetensorsWriter w;
    if (!safetensors_write_begin(&w, path, tensors, N_SAMPLES, err)) return false;
    for (int k = 0; k < N_SAMPLES; k++) {
        int64_t bytes = tensors[k].end - tensors[k].begin;
        unsigned char data[64];
        for (int64_t i = 0; i < bytes; i++) data[i] = sample_byte(k, i);
        // In two parts: a tensor may be written in several calls.
        if (!safetensors_write_data(&w, data, bytes / 2, err)) return false;
        if (!safetensors_write_data(&w, data + bytes / 2, bytes - bytes / 2, err)) return false;
    }
    return safetensors_write_finish(&w, crc, err);
}

static void test_round_trip(void **state) {
    (void)state;
    const char *path = temp_path("sample.safetensors");
    Error err;
    uint32_t crc;
    if (!write_sample(path, &crc, &err)) fail_msg("%s", err.text);
    size_t size;
    unsigned char *bytes = temp_read(path, &size);
    assert_int_equal(crc32c(0, bytes, size), crc);
    free(bytes);

    Safetensors file;
    if (!safetensors_open(&file, path, &err)) fail_msg("%s", err.text);
    assert_int_equal(file.n_tensors, N_SAMPLES);
    assert_int_equal(file.data_start % 8, 0);
    static const int64_t elements[N_SAMPLES] = {15, 1, 3, 0, 4};
    for (int k = 0; k < N_SAMPLES; k++) {
        const SafeTensor *t = safetensors_find(&file, samples[k].name);
        assert_non_null(t);
        assert_ptr_equal(t, &file.tensors[k]);
        assert_int_equal(t->type, samples[k].type);
        assert_int_equal(t->n_dims, samples[k].n_dims);
        assert_memory_equal(t->shape, samples[k].shape, sizeof t->shape);
        assert_int_equal(t->elements, elements[k]);
        assert_int_equal(t->end - t->begin, elements[k] * (int64_t)type_size(t->type));
        unsigned char data[64];
        assert_true(safetensors_read_bytes(data, &file, t, 0, t->end - t->begin, &err));
        for (int64_t i = 0; i < t->end - t->begin; i++) assert_int_equal(data[i], sample_byte(k, i));
    }
    assert_null(safetensors_find(&file, "absent"));
    safetensors_close(&file);
}

static void test_no_tensors(void **state) {
    (void)state;
    const char *path = temp_path("none.safetensors");
    SafetensorsWriter w;
    Safetensors file;
    uint32_t crc;
    Error err;
    assert_true(safetensors_write_begin(&w, path, NULL, 0, &err));
    assert_true(safetensors_write_finish(&w, &crc, &err));
    assert_true(safetensors_open(&file, path, &err));
    assert_int_equal(file.n_tensors, 0);
    safetensors_close(&file);
}

// Writes a file of a header and `n_data` bytes of data. `length` is the stored header length; < 0: the header's
// true one.
static const char *write_raw(const char *name, const char *header, long long length, size_t n_data) {
    static unsigned char bytes[4096];
    uint64_t n = length < 0 ? strlen(header) : (uint64_t)length;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, strlen(header));
    return temp_file(name, bytes, 8 + strlen(header) + n_data);
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static void test_good_files(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        int n_tensors;
    } cases[] = {
        {"{}", 0, 0},
        {"{" A "}       ", 8, 1},
        {"{\"__metadata__\":{}," A "}", 8, 1},
        {"{\"__metadata__\":{\"format\":\"pt\"}," A "}", 8, 1},
        // Out of order, an empty tensor between, a scalar, a key of a later version.
        {"{\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]}," A
         ",\"c\":{\"dtype\":\"F64\",\"shape\":[4,0],\"data_offsets\":[8,8],\"new\":1}}",
         10, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Safetensors file;
        Error err;
        if (!safetensors_open(&file, write_raw("good", cases[i].header, -1, cases[i].n_data), &err))
            fail_msg("%s: %s", cases[i].header, err.text);
        assert_int_equal(file.n_tensors, cases[i].n_tensors);
        safetensors_close(&file);
    }
}

static void test_bad_files(void **state) {
    (void)state;
#define ENTRY(dtype, shape, offsets)                                                                               \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define LONG "0123456789012345678901234567890123456789"
    static const struct {
        const char *header;
        long long length;
        size_t n_data;
        const char *what;
    } cases[] = {
        {"{}", 3, 0, "3 bytes"},
        {"{}", 100000001, 0, "100000001 bytes"},
        {"{}", INT64_MAX, 0, "not a safetensors file"},
        {"", 0, 0, "begin with '{'"},
        {" {}", -1, 0, "begin with '{'"},
        {"[]", -1, 0, "begin with '{'"},
        {"{", -1, 0, "bad JSON"},
        {"{}x", -1, 0, "bad JSON"},
        {"{}", -1, 1, "1 follow"},
        {"{" A "}", -1, 7, "7 follow"},
        {"{" A "}", -1, 9, "9 follow"},
        {"{" A "," A "}", -1, 8, "\"a\" twice"},
        {"{\"a\":1}", -1, 0, "tensor a"},
        {"{\"__metadata__\":1}", -1, 0, "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", -1, 0, "__metadata__"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8, "\"dtype\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", -1, 8, "\"shape\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", -1, 8, "\"data_offsets\""},
        {ENTRY("1", "[2]", "[0,8]"), -1, 8, "\"dtype\""},
        {ENTRY("\"I16\"", "[4]", "[0,8]"), -1, 8, "tensor a: type I16 is not supported"},
        {ENTRY("\"f32\"", "[2]", "[0,8]"), -1, 8, "type f32"},
        {ENTRY("\"F32\"", "2", "[0,8]"), -1, 8, "\"shape\""},
        {ENTRY("\"F32\"", "[2.0]", "[0,8]"), -1, 8, "\"shape\""},
        {ENTRY("\"F32\"", "[-2]", "[0,8]"), -1, 8, "\"shape\""},
        {ENTRY("\"F32\"", "[\"2\"]", "[0,8]"), -1, 8, "\"shape\""},
        {ENTRY("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), -1, 8, "9 dimensions"},
        {ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,8]"), -1, 8, "too large"},
        {ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]"), -1, 0, "do not fit"},
        {ENTRY("\"F32\"", "[4611686018427387906]", "[0,8]"), -1, 8, "do not fit"},
        {ENTRY("\"F32\"", "[18446744073709551618]", "[0,8]"), -1, 8, "\"shape\""},
        {ENTRY("\"F32\"", "[2]", "[0,7]"), -1, 8, "do not fit"},
        {ENTRY("\"F32\"", "[2]", "[0,12]"), -1, 12, "do not fit"},
        {ENTRY("\"F32\"", "[2]", "[8,0]"), -1, 8, "\"data_offsets\""},
        {ENTRY("\"F32\"", "[2]", "[-8,0]"), -1, 8, "\"data_offsets\""},
        {ENTRY("\"F32\"", "[2]", "[0]"), -1, 8, "\"data_offsets\""},
        {ENTRY("\"F32\"", "[2]", "[0,8,8]"), -1, 8, "\"data_offsets\""},
        {ENTRY("\"F32\"", "[2]", "[0,8.0]"), -1, 8, "\"data_offsets\""},
        {ENTRY("\"F32\"", "[2]", "[4,12]"), -1, 12, "a hole or an overlap"},
        {ENTRY("\"F32\"", "[2]", "[9223372036854775799,9223372036854775807]"), -1, 8, "a hole or an overlap"},
        {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8, "a hole or an overlap"},
        {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", -1, 12, "a hole or an overlap"},
        {"{\"" LONG LONG LONG LONG "\":{}}", -1, 0, "longer than 159"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Safetensors file;
        Error err = {""};
        const char *path = write_raw("bad", cases[i].header, cases[i].length, cases[i].n_data);
        if (safetensors_open(&file, path, &err)) fail_msg("case %zu: %s was accepted", i, cases[i].header);
        if (!strstr(err.text, cases[i].what) || !strstr(err.text, path) || strchr(err.text, '\n'))
            fail_msg("%s: expected \"%s\" and the path in \"%s\"", cases[i].header, cases[i].what, err.text);
        assert_null(file.tensors);
        assert_int_equal(file.fd, -1);
    }
    Safetensors file;
    Error err;
    assert_false(safetensors_open(&file, temp_path("absent"), &err));
    assert_non_null(strstr(err.text, "cannot open"));
    assert_false(safetensors_open(&file, temp_file("short", "1234567", 7), &err));
    assert_non_null(strstr(err.text, "7 bytes"));
}

// Reads every byte of every tensor.
static int64_t sum_tensors(const Safetensors *file) {
    int64_t sum = 0;
    for (int k = 0; k < file->n_tensors; k++) {
        Error err;
        const SafeTensor *t = &file->tensors[k];
        unsigned char *data = malloc((size_t)(t->end - t->begin) + 1);
        assert_true(safetensors_read_bytes(data, file, t, 0, t->end - t->begin, &err));
        for (int64_t i = 0; i < t->end - t->begin; i++) sum += data[i];
        free(data);
    }
    return sum;
}

static void test_damaged_files(void **state) {
    (void)state;
    const char *path = temp_path("whole.safetensors");
    Error err;
    uint32_t crc;
    Safetensors file;
    assert_true(write_sample(path, &crc, &err));
    size_t size;
    unsigned char *bytes = temp_read(path, &size);
    for (size_t n = 0; n < size; n++) {
        assert_false(safetensors_open(&file, temp_file("prefix", bytes, n), &err));
        assert_null(file.tensors);
    }
    int accepted = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        uint32_t bits[4];
        random_bits(bits, 4, RANDOM_TEST, i);
        size_t at = i < 512 ? i / 8 % size : bits[0] % size; // mostly the length and the first bytes
        unsigned char old = bytes[at];
        bytes[at] = i % 2 ? old ^ (unsigned char)(1u << bits[1] % 8) : (unsigned char)('0' + bits[1] % 10);
        if (safetensors_open(&file, temp_file("flipped", bytes, size), &err)) {
            accepted++;
            assert_true(sum_tensors(&file) >= 0);
            safetensors_close(&file);
        }
        bytes[at] = old;
    }
    assert_true(accepted > 0);
    free(bytes);
}

static void test_cut_short_while_open(void **state) {
    (void)state;
    const char *path = temp_path("cut.safetensors");
    Error err;
    uint32_t crc;
    Safetensors file;
    unsigned char data[64];
    double number;
    assert_true(write_sample(path, &crc, &err));
    assert_true(safetensors_open(&file, path, &err));
    assert_int_equal(truncate(path, file.data_start + 4), 0);
    const SafeTensor *first = &file.tensors[0];
    assert_false(safetensors_read_bytes(data, &file, first, 0, first->end - first->begin, &err));
    assert_non_null(strstr(err.text, "truncated"));
    const SafeTensor *floats = NULL;
    for (int k = 0; k < file.n_tensors; k++)
        if (float_type_is(file.tensors[k].type) && file.tensors[k].begin >= 4 && file.tensors[k].elements > 0)
            floats = &file.tensors[k];
    assert_non_null(floats);
    assert_false(safetensors_read(&number, &file, floats, 0, 1, &err));
    assert_non_null(strstr(err.text, "cut.safetensors"));
    safetensors_close(&file);
}

static void test_write_errors(void **state) {
    (void)state;
    Error err = {""};
    uint32_t crc;
    assert_false(write_sample(temp_path("no/such/folder"), &crc, &err));
    assert_non_null(strstr(err.text, "no/such/folder"));
    // A file size limit simulates a full disk, reached within the header and within the data.
    size_t size;
    free(temp_read((assert_true(write_sample(temp_path("full"), &crc, &err)), temp_path("full")), &size));
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (size_t limit = 0; limit < size; limit += 5) {
        struct rlimit low = {limit, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &low);
        err.text[0] = 0;
        bool ok = write_sample(temp_path("full"), &crc, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_false(ok);
        assert_non_null(strstr(err.text, "cannot write"));
    }
    signal(SIGXFSZ, handler);
}

static void test_float_types(void **state) {
    (void)state;
    static const struct {
        uint16_t bits;
        double value;
    } halves[] = {{0x3C00, 1},       {0xC100, -2.5},  {0x0001, 0x1p-24},  {0x03FF, 1023 * 0x1p-24},
                  {0x0400, 0x1p-14}, {0x7BFF, 65504}, {0xFC00, -INFINITY}};
    double value;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        float_type_read(&value, TYPE_F16, &halves[i].bits, 1);
        assert_true(value == halves[i].value);
    }
    uint16_t bits = 0x8000;
    float_type_read(&value, TYPE_F16, &bits, 1);
    assert_true(value == 0 && signbit(value));
    bits = 0x7C01;
    float_type_read(&value, TYPE_F16, &bits, 1);
    assert_true(isnan(value));

    for (int b = 0; b < 65536; b++) { // every BF16 value round-trips
        uint16_t in = (uint16_t)b, out;
        float_type_read(&value, TYPE_BF16, &in, 1);
        float_type_write(&out, TYPE_BF16, &value, 1);
        if (isnan(value)) assert_true((out & 0x7F80) == 0x7F80 && (out & 0x7F) != 0);
        else assert_int_equal(out, in);
    }
    static const struct {
        double from;
        uint16_t to;
    } rounded[] = {{1 + 0x1p-8, 0x3F80},                                 // a tie, to even: down
                   {1 + 3 * 0x1p-8, 0x3F82},                             // a tie, to even: up
                   {1 + 0x1p-8 + 0x1p-20, 0x3F81},                       // above a tie
                   {-1 - 3 * 0x1p-9, 0xBF81},      {2 - 0x1p-9, 0x4000}, // carries into the exponent
                   {0x1.FFFFFEp127, 0x7F80},       {0x1p-149, 0}};
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        float_type_write(&bits, TYPE_BF16, &rounded[i].from, 1);
        assert_int_equal(bits, rounded[i].to);
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        Error err;
        uint32_t crc;
        if (write_sample(argv[2], &crc, &err)) return 0;
        fprintf(stderr, "error: %s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_good_files),    cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_damaged_files), cmocka_unit_test(test_cut_short_while_open),
        cmocka_unit_test(test_write_errors),  cmocka_unit_test(test_float_types),
    };
    return cmocka_run_group_tests(tests, temp_dir_create, temp_dir_remove);
}
