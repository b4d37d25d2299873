// The GPU behind device/device.h: memory, copies, streams, events, scratch, GEMMs. Without a GPU (real or emulated)
// only the error message is checked.
#include "device/device.h"
#ifdef POLAR_CUDA
#include "device/cuda/memory.h"
#endif
#include "base/random.h"

#ifdef CUDA_EMULATOR
#include "model/model.h"
#include "run/options/config.h"
#include "tests/fixtures/fixed_batch.h"
#endif

#define DEVICE_THREADS 1
#include "tests/fixtures/device_fixture.h"
#include "tests/fixtures/load_config.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#ifdef CUDA_EMULATOR
#include <emulator.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static bool there_is_one;

// ---- Opening ----

static void expect_refusal(const char *name, const char *words) {
    Device *d;
    Error err;
    assert_false(device_open(&d, name, 1, &err));
    if (strstr(err.text, words) == NULL) fail_msg("'%s' does not say '%s'", err.text, words);
    assert_null(strchr(err.text, '\n'));
}

static void names_that_are_refused(void **state) {
    (void)state;
    expect_refusal("cudax", "unknown device");
    expect_refusal("gpu", "unknown device");
    const char *numbers[] = {
        "cuda:", "cuda:x", "cuda:0x", "cuda:-1", "cuda: 0", "cuda:64", "cuda:99999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        expect_refusal(numbers[i], there_is_one ? "there is no device" : "--device cpu");
}

static void auto_takes_what_there_is(void **state) {
    (void)state;
    Device *d;
    Error err;
    char text[768];
    assert_true(device_open(&d, "auto", 1, &err));
    assert_int_equal(d->kind, there_is_one ? DEVICE_CUDA : DEVICE_CPU);
    assert_true((*d->fallback == 0) == there_is_one);
    device_describe(text, sizeof text, d);
    assert_non_null(strstr(text, d->name));
    assert_true((strstr(text, "no GPU: ") == NULL) == there_is_one);
    assert_true((strstr(text, "threads") == NULL) == there_is_one);
    device_close(d);
}

#ifdef POLAR_CUDA

// ---- Memory, copies, streams ----

enum { N = 1000 };

static void memory_is_zero_and_copies_arrive(void **state) {
    (void)state;
    assert_int_equal(device->kind, DEVICE_CUDA);
    assert_null(device_alloc(device, (size_t)1 << 50));
    float *x = device_alloc(device, N * sizeof *x), *y = device_alloc(device, N * sizeof *y), pageable[N];
    float *pinned = device_alloc_host(device, N * sizeof *pinned);
    assert_true(x && y && pinned);
    assert_true((uintptr_t)x % 64 == 0);
    for (int i = 0; i < N; i++) assert_true(pinned[i] == 0);
    for (int i = 0; i < N; i++) pageable[i] = 1;
    device_copy(stream, pageable, x, sizeof pageable);
    stream_synchronize(stream);
    for (int i = 0; i < N; i++) assert_true(pageable[i] == 0);
    for (int i = 0; i < N; i++) pinned[i] = (float)i;
    device_copy(stream, x, pinned, sizeof pageable);    // host to device
    device_copy(stream, y + 1, x, (N - 1) * sizeof *x); // within the device
    device_zero(stream, y + N - 3, 3 * sizeof *y);
    device_copy(stream, pageable, y, sizeof pageable);
    stream_synchronize(stream);
    for (int i = 0; i < N; i++) assert_true(pageable[i] == (i == 0 || i >= N - 3 ? 0 : (float)(i - 1)));
    device_free(device, x), device_free(device, y), device_free_host(device, pinned);
    void *empty = device_alloc(device, 0);
    assert_non_null(empty);
    device_free(device, empty);
}

static void events_order_streams(void **state) {
    (void)state;
    Stream *other = stream_create(device);
    Event *first = event_create(device), *second = event_create(device);
    float *x = device_alloc(device, sizeof *x), *pinned = device_alloc_host(device, 2 * sizeof *pinned);
    assert_true(x && pinned);
    pinned[0] = 3;
    event_record(first, stream);
    device_copy(stream, x, pinned, sizeof *x);
    event_record(second, stream);
    stream_wait(other, second);
    device_copy(other, pinned + 1, x, sizeof *x);
    stream_synchronize(other);
    assert_true(pinned[1] == 3);
    assert_true(event_elapsed_ms(first, second) >= 0);
    event_destroy(first), event_destroy(second), stream_destroy(other);
    device_free(device, x), device_free_host(device, pinned);
}

static void scratch_grows_and_stays(void **state) {
    (void)state;
    Stream *s = stream_create(device);
    float values[2] = {1, 2}, back[2];
    char *small = cuda_scratch(s, sizeof values);
    device_copy(s, small, values, sizeof values);
    assert_ptr_equal(cuda_scratch(s, 1), small);
    char *large = cuda_scratch(s, 100000);
    assert_ptr_not_equal(large, small);
    assert_true((uintptr_t)large % 256 == 0);
    assert_ptr_equal(cuda_scratch(s, 200), large);
    device_copy(s, back, small, sizeof back); // queued work may still use the small one
    stream_synchronize(s);
    assert_memory_equal(back, values, sizeof back);
    stream_destroy(s);
}

// ---- Products ----

static float rounded_to(Type type, double x) {
    float f = (float)x;
    uint32_t bits;
    if (type != TYPE_BF16) return f;
    memcpy(&bits, &f, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u; // to nearest even
    memcpy(&f, &bits, 4);
    return f;
}

static void put(Type type, void *memory, int64_t i, double x) {
    float f = rounded_to(type, x);
    if (type == TYPE_F64) ((double *)memory)[i] = x;
    else if (type == TYPE_F32) ((float *)memory)[i] = f;
    else memcpy((char *)memory + 2 * i, (char *)&f + 2, 2);
}

static double get(Type type, const void *memory, int64_t i) {
    uint32_t bits = 0;
    float f;
    if (type == TYPE_F64) return ((const double *)memory)[i];
    if (type == TYPE_F32) return (double)((const float *)memory)[i];
    memcpy((char *)&bits + 2, (const char *)memory + 2 * i, 2);
    memcpy(&f, &bits, 4);
    return (double)f;
}

// n numbers on the host and the same on the device, `off` elements after the beginning of an allocation.
typedef struct {
    Type type;
    int64_t n, off;
    char *here, *block;
} Numbers;

static Numbers draw(Type type, int64_t n, int64_t off, uint64_t seed) {
    Numbers x = {.type = type, .n = n, .off = off};
    x.here = malloc((size_t)n * type_size(type));
    x.block = device_alloc(device, (size_t)(n + off) * type_size(type));
    assert_true(x.here && x.block);
    for (int64_t i = 0; i < n; i++)
        put(type, x.here, i, seed ? random_normal(seed, RANDOM_TEST, (uint64_t)i) : (double)NAN);
    return x;
}

static void *there(const Numbers *x) {
    char *to = x->block + (size_t)x->off * type_size(x->type);
    device_copy(stream, to, x->here, (size_t)x->n * type_size(x->type));
    return to;
}

static void drop(Numbers *x) {
    free(x->here);
    device_free(device, x->block);
}

typedef struct {
    Type type, c_type;
    int64_t m, n, k, batch, off;
    bool ta, tb, bias, add;
    double alpha, beta;
} Case;

static void check_case(const Case *c) {
    int64_t lda = (c->ta ? c->m : c->k) + 3, ldb = (c->tb ? c->k : c->n) + 1, ldc = c->n + 2;
    int64_t sa = lda * (c->ta ? c->k : c->m) + 5, sb = ldb * (c->tb ? c->n : c->k), sc = ldc * c->m + 4;
    Numbers a = draw(c->type, sa * c->batch, c->off, 1), b = draw(c->type, sb * c->batch, c->off, 2);
    Numbers y = draw(c->c_type, sc * c->batch, c->off, c->beta != 0 && !c->add ? 3 : 0);
    Numbers d = draw(c->c_type, sc * c->batch, c->off, c->beta != 0 ? 4 : 0),
            bias = draw(c->c_type, c->n, c->off, 5);
    Numbers out = draw(c->c_type, sc * c->batch, 0, 0);
    void *result = there(&y);
    device_gemm(stream, &(Gemm){.type = c->type,
                                .c_type = c->c_type,
                                .transpose_a = c->ta,
                                .transpose_b = c->tb,
                                .m = c->m,
                                .n = c->n,
                                .k = c->k,
                                .alpha = c->alpha,
                                .beta = c->beta,
                                .a = there(&a),
                                .lda = lda,
                                .stride_a = sa,
                                .b = there(&b),
                                .ldb = ldb,
                                .stride_b = sb,
                                .c = result,
                                .ldc = ldc,
                                .stride_c = sc,
                                .batch = c->batch == 1 ? 0 : c->batch,
                                .c_in = c->add ? there(&d) : NULL,
                                .bias = c->bias ? there(&bias) : NULL});
    device_copy(stream, out.here, result, (size_t)y.n * type_size(c->c_type));
    stream_synchronize(stream);
    // A sum of k products in fp32 is off by sqrt(k) roundings of its terms' size, and k of them at most; what is stored
    // in bf16 by half a unit of its 8 bits.
    double unit = c->type == TYPE_F64 ? 0x1p-52 : 0x1p-23, store = c->c_type == TYPE_BF16 ? 0x1p-8 : unit;
    for (int64_t i = 0; i < y.n; i++) {
        int64_t z = i / sc, row = i % sc / ldc, col = i % sc % ldc;
        double got = get(c->c_type, out.here, i), sum = 0, size = 0;
        if (row >= c->m || col >= c->n) { // between the rows and the products: as it was
            double before = get(c->c_type, y.here, i);
            assert_true(got == before || (isnan(got) && isnan(before)));
            continue;
        }
        for (int64_t p = 0; p < c->k; p++) {
            double term = get(c->type, a.here, z * sa + (c->ta ? p * lda + row : row * lda + p)) *
                          get(c->type, b.here, z * sb + (c->tb ? col * ldb + p : p * ldb + col));
            sum += term, size += fabs(term);
        }
        double more = c->beta != 0 ? c->beta * get(c->c_type, c->add ? d.here : y.here, i) : 0;
        if (c->bias) more += get(c->c_type, bias.here, col);
        double want = c->alpha * sum + more;
        double allowed = (double)(c->k + 2) * unit * (fabs(c->alpha) * size + fabs(more)) + store * fabs(want);
        if (!(fabs(got - want) <= allowed))
            fail_msg("%s to %s, %lld x %lld x %lld%s%s: %g for %g, allowed %g", type_name(c->type),
                     type_name(c->c_type), (long long)c->m, (long long)c->n, (long long)c->k, c->ta ? " ta" : "",
                     c->tb ? " tb" : "", got, want, allowed);
    }
    drop(&a), drop(&b), drop(&y), drop(&d), drop(&bias), drop(&out);
}

static const Type pairs[][2] = {
    {TYPE_F32, TYPE_F32}, {TYPE_BF16, TYPE_BF16}, {TYPE_BF16, TYPE_F32}, {TYPE_F64, TYPE_F64}};

static void products(void **state) {
    (void)state;
    static const struct {
        double alpha, beta;
        bool add;
    } sums[] = {{1, 0, false}, {-0.75, 0, true}, {1, 1, false}, {-0.75, 0.625, false}, {0.5, 0.625, true}};
    for (int t = 0; t < 4; t++)
        for (int transposes = 0; transposes < 4; transposes++)
            for (int s = 0; s < 5; s++)
                check_case(&(Case){.type = pairs[t][0],
                                   .c_type = pairs[t][1],
                                   .m = 13,
                                   .n = 10,
                                   .k = 27,
                                   .batch = s == 2 ? 1 : 3,
                                   .off = s,
                                   .ta = transposes & 1,
                                   .tb = transposes & 2,
                                   .add = sums[s].add,
                                   .alpha = sums[s].alpha,
                                   .beta = sums[s].beta});
}

static void products_with_a_bias(void **state) {
    (void)state;
    for (int t = 0; t < 3; t++)
        for (int batch = 1; batch <= 2; batch++)
            for (int repeat = 0; repeat < 2; repeat++) // the second time from the cache, with another bias
                check_case(&(Case){.type = pairs[t][0],
                                   .c_type = pairs[t][1],
                                   .m = 9,
                                   .n = 17,
                                   .k = 12,
                                   .batch = batch,
                                   .tb = true,
                                   .bias = true,
                                   .alpha = 1});
}

static void products_of_one_element_and_of_none(void **state) {
    (void)state;
    for (int t = 0; t < 4; t++) {
        check_case(
            &(Case){.type = pairs[t][0], .c_type = pairs[t][1], .m = 1, .n = 1, .k = 1, .batch = 1, .alpha = 1});
        check_case(
            &(Case){.type = pairs[t][0], .c_type = pairs[t][1], .m = 0, .n = 5, .k = 3, .batch = 1, .alpha = 1});
    }
}

// ---- A GPU that fails: one line and exit status 1, in a process of its own ----

#ifdef CUDA_EMULATOR // the emulator can be told to fail, and counts its memory

// Bytes that a step takes beyond a reserve of `less` bytes less than what is planned for it.
static int64_t grown(const RunConfig *c, Type type, int64_t less) {
    enum { MOST = 256 };
    int T = c->seq_len;
    Error err;
    Model m;
    int32_t tokens[MOST];
    BatchShape shape = {.B = 1, .T = T};
    ASSERT(T <= MOST);
    for (int i = 0; i < T; i++) tokens[i] = i * i % 97;
    if (!model_create(&m, &c->model, device, type, &shape, &err)) fail_msg("%s", err.text);
    Optimizer *optimizer = optimizer_create(device, type, &m.table, c->groups, &err);
    if (optimizer == NULL) fail_msg("%s", err.text);
    FixedBatch batch = fixed_batch_create(device, stream, tokens, tokens, 1, T, c->model.vocab_size);
    int64_t in_passes = model_scratch(&c->model, device, type, &shape);
    int64_t in_update = optimizer_stream_scratch(device, &m.table, c->groups, type);
    int64_t planned = in_passes > in_update ? in_passes : in_update;
    Stream *fresh = stream_create(device);
    assert_true(planned > less && stream_reserve(fresh, planned - less));
    size_t before = emulator_memory_used();
    model_reset_loss(&m, fresh);
    model_forward_backward(&m, fresh, &batch.device, 1e-3, false, NULL);
    optimizer_step(optimizer, fresh, m.master, m.weights, m.grads, m.loss, 0, 2, 1, 1e-3, INFINITY);
    stream_synchronize(fresh);
    int64_t after = (int64_t)(emulator_memory_used() - before);
    stream_destroy(fresh);
    fixed_batch_free(&batch, device);
    optimizer_free(optimizer);
    model_free(&m);
    return after;
}

// The reserved scratch equals the largest need of any operation of the model or its optimizers, to the byte.
static void a_step_takes_the_scratch_that_is_planned(void **state) {
    (void)state;
    static const char *const cases[][9] = {
        {"20", "--optimizer", "adamw"},                                        // gains and biases of norms
        {"70", "--optimizer", "adamw", "--no-norm-gain", "--biases", "no"},    // the embedding
        {"20", "--optimizer", "adamw", "--norm", "rmsnorm", "--d-ff", "3000"}, // a wide bias
        {"20", "--optimizer", "adamw", "--no-norm-gain", "--biases", "no", "--d-ff", "9000"}, // the gradient's norm
        {"20", "--optimizer", "normuon", "--second-moment", "column", "--biases", "no"},
        {"20", "--optimizer", "normuon", "--second-moment", "element", "--biases", "no"},
        {"20", "--optimizer", "polargrad", "--polar", "ns5", "--center-columns"},
        {"250", "--optimizer", "adamw", "--no-tied-head", "--head-bias", "--vocab-size",
         "70001"}}; // the head's: two chunks
    enum { CASES = sizeof cases / sizeof *cases };
    for (int i = 0; i < CASES; i++) {
        Error err;
        RunConfig c;
        const char *argv[24] = {"--vocab",  "none", "--vocab-size", "101", "--n-layer", "1",
                                "--n-head", "2",    "--d-model",    "32",  "--seq-len", cases[i][0]};
        int n = 12;
        for (int j = 1; j < 9 && cases[i][j]; j++) argv[n++] = cases[i][j];
        if (!load_config(&c, n, argv, &err)) fail_msg("%s", err.text);
        for (int type = 0; type < (i < CASES - 1 ? 2 : 1); type++) { // the last takes seconds
            int64_t none = grown(&c, type ? TYPE_BF16 : TYPE_F32, 0),
                    some = grown(&c, type ? TYPE_BF16 : TYPE_F32, 1);
            if (none != 0 || some == 0) fail_msg("case %d: %lld bytes more than planned", i, (long long)none);
        }
    }
}

static void launch_that_dies(void) {
    emulator_fail_launch(1);
    float *x = device_alloc(device, 16 * sizeof *x);
    device_trtri(stream, x, TYPE_F32, 4);
    stream_synchronize(stream);
}

static void scratch_that_is_not_there(void) {
    Stream *fresh = stream_create(device);
    emulator_fail_alloc(1);
    cuda_scratch(fresh, 1 << 20);
}

static void product_without_workspace(void) {
    float *x = device_alloc(device, 3 * sizeof *x);
    Stream *fresh = stream_create(device);
    emulator_fail_alloc(1);
    device_gemm(
        fresh,
        &(Gemm){.m = 1, .n = 1, .k = 1, .alpha = 1, .a = x, .lda = 1, .b = x + 1, .ldb = 1, .c = x + 2, .ldc = 1});
}

static void expect_death(void (*act)(void), const char *words) {
    int ends[2], status;
    char text[2048];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        act();
        _exit(0);
    }
    close(ends[1]);
    size_t size = 0;
    for (ssize_t n; (n = read(ends[0], text + size, sizeof text - 1 - size)) > 0;) size += (size_t)n;
    text[size] = 0;
    close(ends[0]);
    assert_true(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 || strncmp(text, "error: ", 7) != 0 ||
        !strstr(text, words) || strchr(text, '\n') != text + size - 1)
        fail_msg("%s: status %d, '%s'", words, status, text);
}

static void failures_end_in_one_line(void **state) {
    (void)state;
    expect_death(launch_that_dies, "--resume");
    expect_death(scratch_that_is_not_there, "--micro-batch");
    expect_death(product_without_workspace, "--micro-batch");
    emulator_fail_alloc(1);
    assert_null(device_alloc(device, 100));
    void *memory = device_alloc(device, 100); // a refusal is not the end
    assert_non_null(memory);
    device_free(device, memory);
}

#endif

static int open_gpu(void **state) {
    return open_device_named("cuda", state);
}

#endif

int main(void) {
    Error err;
    const struct CMUnitTest opening[] = {cmocka_unit_test(names_that_are_refused),
                                         cmocka_unit_test(auto_takes_what_there_is)};
    there_is_one = device_open(&device, "cuda", 1, &err);
    if (there_is_one) device_close(device);
    else printf("without a GPU: %s\n", err.text);
    there_is_one |= gpu_is_required();
    int failed = cmocka_run_group_tests(opening, NULL, NULL);
#ifdef POLAR_CUDA
    const struct CMUnitTest working[] = {
        cmocka_unit_test(memory_is_zero_and_copies_arrive),
        cmocka_unit_test(events_order_streams),
        cmocka_unit_test(scratch_grows_and_stays),
        cmocka_unit_test(products),
        cmocka_unit_test(products_with_a_bias),
        cmocka_unit_test(products_of_one_element_and_of_none),
#ifdef CUDA_EMULATOR
        cmocka_unit_test(failures_end_in_one_line),
        cmocka_unit_test(a_step_takes_the_scratch_that_is_planned),
#endif
    };
    if (there_is_one) failed += cmocka_run_group_tests(working, open_gpu, close_device);
#endif
    return failed;
}
