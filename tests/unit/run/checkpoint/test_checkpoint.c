// Checkpoints: loading is bitwise identical to what was saved; corrupt checkpoints and those of another run are never
// loaded.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "run/checkpoint/writer.h"
#include "run/options/config.h"
#include "run/training/plan.h"
#include "base/metrics.h"

#include <math.h>
#include <sys/stat.h>

#include "tests/fixtures/load_config.h"
#include "tests/fixtures/shard_file.h"
#include "tests/fixtures/temp_dir.h"

static Device *device;
static Stream *stream;

// A small model with its optimizer and data.
typedef struct {
    RunConfig config;
    Datasets data;
    Model model;
    Optimizer *optimizer;
} Run;

static void run_create(Run *r, const char *d_model, const char *optimizer) {
    Error err;
    const char *argv[] = {"--vocab",      "bytes",
                          "--n-layer",    "2",
                          "--n-head",     "2",
                          "--d-model",    d_model,
                          "--seq-len",    "8",
                          "--optimizer",  optimizer,
                          "--train-data", temp_path("s_*.bin"),
                          "--val-data",   temp_path("s_1.bin")};
    if (!load_config(&r->config, sizeof argv / sizeof *argv, argv, &err)) fail_msg("%s", err.text);
    if (!plan_open_vocab(&r->data, &r->config, &err) || !plan_open_data(&r->data, &r->config, &err))
        fail_msg("%s", err.text);
    assert_true(model_create(&r->model, &r->config.model, device, TYPE_F32, &(BatchShape){.B = 1, .T = 8}, &err));
    r->optimizer = optimizer_create(device, TYPE_F32, &r->model.table, r->config.groups, &err);
    assert_non_null(r->optimizer);
}

static void run_free(Run *r) {
    optimizer_free(r->optimizer);
    model_free(&r->model);
    datasets_close(&r->data);
}

static CheckpointParts parts_of(Run *r) {
    return (CheckpointParts){.model = &r->model, .optimizer = r->optimizer, .stream = stream, .data = &r->data};
}

// Fills weights and optimizer state with values that depend only on `salt` (CPU device memory is host memory).
static void run_fill(Run *r, int salt) {
    model_init_weights(&r->model, stream, (uint64_t)salt);
    for (int i = 0; i < optimizer_state_count(r->optimizer); i++) {
        StateTensor s = optimizer_state(r->optimizer, i);
        for (int64_t j = 0; j < s.spec.rows * s.spec.cols; j++)
            ((float *)s.data)[j] = (float)(sin(salt + i) * (double)j);
    }
    optimizer_set_applied(r->optimizer, stream, salt);
}

static void assert_filled(Run *r, int salt) {
    Run other;
    run_create(&other, "16", r->config.groups[GROUP_HIDDEN].def->name);
    run_fill(&other, salt);
    assert_memory_equal(r->model.master, other.model.master, (size_t)r->model.table.elements * sizeof(float));
    for (int i = 0; i < optimizer_state_count(r->optimizer); i++) {
        StateTensor a = optimizer_state(r->optimizer, i), b = optimizer_state(other.optimizer, i);
        assert_memory_equal(a.data, b.data, (size_t)(a.spec.rows * a.spec.cols) * sizeof(float));
    }
    assert_true(optimizer_applied(r->optimizer, stream) == salt);
    run_free(&other);
}

static void save(Run *r, const char *name, int step, int keep) {
    Error err;
    CheckpointParts parts = parts_of(r);
    RunState state = {.step = step,
                      .data_position = INT64_C(1) << (40 + step),
                      .reported = step % 2 == 0,
                      .loss_sum = 1.0 / 3,
                      .loss_weight = 0.1 + step,
                      .skipped = 5,
                      .skipped_in_row = 2,
                      .elapsed_s = 1e9 / 7,
                      .val_loss = step == 1 ? NAN : 2.0 / 3};
    run_fill(r, step);
    state.applied = step;
    if (!checkpoint_save(temp_path(name), &parts, &state, keep, &err)) fail_msg("%s", err.text);
}

// Loads into a run with other contents; returns the step, or 0 if there is no checkpoint.
static int load(Run *r, const char *name, char note[1024]) {
    Error err;
    RunState state;
    bool found;
    CheckpointParts parts = parts_of(r);
    run_fill(r, 99);
    if (!checkpoint_load(&state, &found, note, temp_path(name), -1, &parts, &err)) fail_msg("%s", err.text);
    return found ? (int)state.step : 0;
}

static void load_refused(Run *r, const char *name, const char *part) {
    Error err;
    RunState state;
    bool found;
    char note[1024];
    CheckpointParts parts = parts_of(r);
    if (checkpoint_load(&state, &found, note, temp_path(name), -1, &parts, &err)) fail_msg("%s was loaded", name);
    if (!strstr(err.text, part)) fail_msg("\"%s\" is not in \"%s\"", part, err.text);
}

static void test_round_trip(void **unused) {
    (void)unused;
    static const char *const optimizers[] = {"adamw", "sgd", "muon", "normuon"};
    for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++) {
        Run r;
        char note[1024], name[32];
        snprintf(name, sizeof name, "round_%s", optimizers[i]);
        run_create(&r, "16", optimizers[i]);
        assert_int_equal(load(&r, name, note), 0); // no folder yet
        save(&r, name, 1, 0);
        save(&r, name, 2, 0);
        assert_int_equal(load(&r, name, note), 2);
        assert_string_equal(note, "");
        assert_filled(&r, 2);
        run_free(&r);
    }
}

static void test_state(void **unused) {
    (void)unused;
    Run r;
    Error err;
    RunState s;
    bool found;
    char note[1024];
    run_create(&r, "16", "muon");
    CheckpointParts parts = parts_of(&r);
    save(&r, "state", 1, 0);
    assert_true(checkpoint_load(&s, &found, note, temp_path("state"), -1, &parts, &err) && found);
    assert_true(s.step == 1 && s.data_position == INT64_C(1) << 41 && !s.reported && s.applied == 1 &&
                s.skipped == 5 && s.skipped_in_row == 2);
    assert_true(s.loss_sum == 1.0 / 3 && s.loss_weight == 1.1 && s.elapsed_s == 1e9 / 7 && isnan(s.val_loss));
    save(&r, "state", 2, 0);
    assert_true(checkpoint_load(&s, &found, note, temp_path("state"), -1, &parts, &err) && found);
    assert_true(s.step == 2 && s.reported && s.val_loss == 2.0 / 3);
    run_free(&r);
}

// In a checkpoint without data_position, as older versions wrote them, the position is 0.
static void test_state_without_position(void **unused) {
    (void)unused;
    Run r;
    Error err;
    RunState s;
    bool found;
    char note[1024], path[512];
    size_t size;
    run_create(&r, "16", "muon");
    CheckpointParts parts = parts_of(&r);
    save(&r, "older", 1, 0);
    snprintf(path, sizeof path, "%s/checkpoints/step_00000001/state.json", temp_path("older"));
    char *text = (char *)temp_read(path, &size);
    text[size] = 0;
    char *key = strstr(text, "\"data_position\""), *end = strstr(text, ",\"crc32c\":");
    for (char *next; (next = strstr(end + 1, ",\"crc32c\":"));) end = next;
    assert_true(key && key < end);
    char *rest = strchr(key, ',') + 1;
    memmove(key, rest, (size_t)(end - rest));
    size = (size_t)(end - text) - (size_t)(rest - key);
    size += (size_t)sprintf(text + size, ",\"crc32c\":%u}\n", crc32c(0, text, size));
    temp_file("older/checkpoints/step_00000001/state.json", text, size);
    free(text);
    if (!checkpoint_load(&s, &found, note, temp_path("older"), -1, &parts, &err)) fail_msg("%s", err.text);
    assert_true(found && s.step == 1 && s.data_position == 0 && s.skipped == 5);
    run_free(&r);
}

static bool exists(const char *run, const char *file) {
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/checkpoints/%s", temp_path(run), file);
    return stat(path, &st) == 0;
}

static void test_keep_and_clean(void **unused) {
    (void)unused;
    Run r;
    char note[1024], path[512];
    run_create(&r, "16", "muon");
    for (int step = 1; step <= 5; step++) save(&r, "keep", step, 2);
    assert_false(exists("keep", "step_00000003"));
    assert_true(exists("keep", "step_00000004") && exists("keep", "step_00000005"));
    // Leftovers of an interrupted save are not a checkpoint, do no harm, and are removed.
    snprintf(path, sizeof path, "%s/checkpoints/.tmp_step_00000009", temp_path("keep"));
    assert_int_equal(mkdir(path, 0777), 0);
    temp_file("keep/checkpoints/.tmp_step_00000009/model.safetensors", "half", 4);
    assert_int_equal(load(&r, "keep", note), 5);
    save(&r, "keep", 9, 2);
    assert_false(exists("keep", ".tmp_step_00000009"));
    assert_false(exists("keep", "step_00000004"));
    assert_int_equal(load(&r, "keep", note), 9);
    assert_filled(&r, 9);
    run_free(&r);
}

typedef enum { TRUNCATE, EXTEND, FLIP, REMOVE } Damage;

static void damage_file(const char *path, Damage damage, size_t at) {
    size_t size;
    unsigned char *data = temp_read(path, &size);
    if (damage == FLIP) data[at % size] ^= 0x10;
    size_t keep = damage == TRUNCATE ? at % size : size;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(data, 1, keep, f);
    if (damage == EXTEND) fputc(0, f);
    fclose(f);
    if (damage == REMOVE) assert_int_equal(remove(path), 0);
    free(data);
}

static void test_damaged(void **unused) {
    (void)unused;
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
    Run r;
    char note[1024], path[512];
    run_create(&r, "16", "normuon");
    save(&r, "damage", 1, 0);
    for (int f = 0; f < 3; f++) {
        for (int damage = TRUNCATE; damage <= REMOVE; damage++) {
            // Bytes at the beginning, in the middle and at the end of each file.
            for (int where = 0; where < 5; where++) {
                if (damage == EXTEND && f == 2) continue; // a byte after the last line of state.json: see below
                save(&r, "damage", 2, 0);
                snprintf(path, sizeof path, "%s/checkpoints/step_00000002/%s", temp_path("damage"), files[f]);
                size_t size;
                free(temp_read(path, &size));
                const size_t at[] = {0, 9, size / 3, size / 2 + 1, size - 1};
                // Removing or changing the final newline of state.json is harmless.
                if (f == 2 && where == 4) continue;
                damage_file(path, (Damage)damage, at[where]);
                int step = load(&r, "damage", note);
                if (step != 1)
                    fail_msg("%s, damage %d at %zu: step %d was loaded", files[f], damage, at[where], step);
                assert_filled(&r, 1);
                assert_non_null(strstr(note, "step 2"));
            }
        }
    }
    // Saving the same step again replaces the corrupt one.
    save(&r, "damage", 2, 0);
    assert_int_equal(load(&r, "damage", note), 2);
    for (int step = 1; step <= 2; step++) {
        snprintf(path, sizeof path, "%s/checkpoints/step_%08d/model.safetensors", temp_path("damage"), step);
        damage_file(path, TRUNCATE, 100);
    }
    load_refused(&r, "damage", "no checkpoint");
    run_free(&r);
}

// The checksum covers every byte of state.json up to its closing brace.
static void test_every_byte_of_state(void **unused) {
    (void)unused;
    Run r;
    char note[1024], path[512];
    run_create(&r, "16", "sgd");
    save(&r, "bytes", 1, 0);
    save(&r, "bytes", 2, 0);
    snprintf(path, sizeof path, "%s/checkpoints/step_00000002/state.json", temp_path("bytes"));
    size_t size;
    free(temp_read(path, &size));
    for (size_t at = 0; at + 1 < size; at++) {
        damage_file(path, FLIP, at);
        if (load(&r, "bytes", note) != 1) fail_msg("a flipped bit in byte %zu of state.json was not detected", at);
        damage_file(path, FLIP, at);
    }
    assert_int_equal(load(&r, "bytes", note), 2);
    run_free(&r);
}

static void test_foreign(void **unused) {
    (void)unused;
    Run r, other;
    run_create(&r, "16", "muon");
    save(&r, "foreign", 3, 0);
    run_create(&other, "32", "muon");
    load_refused(&other, "foreign", "(320, 16), but this run needs");
    run_free(&other);
    run_create(&other, "16", "normuon"); // more state
    load_refused(&other, "foreign", "has no tensor");
    run_free(&other);
    save(&r, "less", 3, 0);
    run_create(&other, "16", "normuon");
    save(&other, "less", 4, 0);
    run_free(&other);
    load_refused(&r, "less", "another run's"); // less state
    run_free(&r);
}

// The writer thread writes the state at the time of the call, whatever training does meanwhile; the same bytes as a
// synchronous save.
static void test_writer(void **unused) {
    (void)unused;
    Run r;
    Error err;
    char note[1024], run[512];
    snprintf(run, sizeof run, "%s", temp_path("writer"));
    run_create(&r, "16", "normuon");
    CheckpointParts parts = parts_of(&r);
    CheckpointWriter *writer = checkpoint_writer_create(&parts, 2);
    assert_non_null(writer);
    for (int step = 1; step <= 5; step++) {
        run_fill(&r, step);
        RunState state = {.step = step, .applied = step};
        if (!checkpoint_writer_begin(writer, run, &state, &err)) fail_msg("%s", err.text);
        state.step = 77;
        run_fill(&r, 99); // at once
        assert_true(checkpoint_writer_ok(writer, &err));
    }
    assert_true(checkpoint_writer_wait(writer, &err));
    assert_false(exists("writer", "step_00000003"));
    assert_int_equal(load(&r, "writer", note), 5);
    assert_filled(&r, 5);
    save(&r, "plain", 5, 0);
    static const char *const files[][2] = {
        {"writer/checkpoints/step_00000005/model.safetensors", "plain/checkpoints/step_00000005/model.safetensors"},
        {"writer/checkpoints/step_00000005/optimizer.safetensors",
         "plain/checkpoints/step_00000005/optimizer.safetensors"}};
    for (int f = 0; f < 2; f++) {
        size_t size, other_size;
        unsigned char *data = temp_read(temp_path(files[f][0]), &size);
        unsigned char *other = temp_read(temp_path(files[f][1]), &other_size);
        assert_int_equal(size, other_size);
        assert_memory_equal(data, other, size);
        free(data), free(other);
    }
    checkpoint_writer_free(writer);
    run_free(&r);
}

// Non-finite values are not written; every later call returns the error, and nothing more is written.
static void test_writer_error(void **unused) {
    (void)unused;
    Run r;
    Error err;
    char run[512];
    snprintf(run, sizeof run, "%s", temp_path("refused"));
    run_create(&r, "16", "adamw");
    CheckpointParts parts = parts_of(&r);
    CheckpointWriter *writer = checkpoint_writer_create(&parts, 2);
    RunState state = {.step = 1};
    run_fill(&r, 1);
    assert_true(checkpoint_writer_begin(writer, run, &state, &err));
    ((float *)optimizer_state(r.optimizer, 1).data)[3] = NAN;
    state.step = 2;
    assert_true(checkpoint_writer_begin(writer, run, &state, &err));
    run_fill(&r, 1);
    state.step = 3;
    assert_false(checkpoint_writer_begin(writer, run, &state, &err));
    assert_non_null(strstr(err.text, "step 2 is not saved"));
    for (int i = 0; i < 2; i++) {
        err.text[0] = 0;
        assert_false(i ? checkpoint_writer_wait(writer, &err) : checkpoint_writer_ok(writer, &err));
        assert_non_null(strstr(err.text, "step 2 is not saved"));
    }
    checkpoint_writer_free(writer);
    assert_true(exists("refused", "step_00000001"));
    assert_false(exists("refused", "step_00000002"));
    assert_false(exists("refused", "step_00000003"));
    run_free(&r);
}

static void write_shard(const char *name, int n, int first) {
    Error err;
    uint16_t tokens[200];
    for (int i = 0; i < n; i++) tokens[i] = (uint16_t)((first + i) % 257);
    assert_true(shard_write(temp_path(name), tokens, n, &err));
}

static void test_changed_data(void **unused) {
    (void)unused;
    Run r;
    run_create(&r, "16", "sgd");
    save(&r, "changed", 1, 0);
    run_free(&r);
    write_shard("s_2.bin", 120, 8); // same length, other tokens
    run_create(&r, "16", "sgd");
    load_refused(&r, "changed", "s_2.bin is not the file");
    run_free(&r);
    write_shard("s_2.bin", 120, 7);
    write_shard("s_3.bin", 120, 7);
    run_create(&r, "16", "sgd");
    load_refused(&r, "changed", "3 shards, but the run was made with 2");
    run_free(&r);
    assert_int_equal(remove(temp_path("s_3.bin")), 0);
}

static void test_metrics_trim(void **unused) {
    (void)unused;
    static const char text[] =
        "{\"kind\":\"val\",\"step\":0}\n{\"kind\":\"train\",\"step\":1}\n{\"kind\":\"train\",\"step\":2}\n"
        "{\"kind\":\"val\",\"step\":2}\n{\"kind\":\"sample\",\"step\":2}\n{\"kind\":\"end\",\"step\":2}\n"
        "{\"kind\":\"resume\",\"step\":2}\n{\"kind\":\"train\",\"step\":3}\nnot json\n"
        "{\"kind\":\"train\",\"step\":1}{\"kind\":\"tra";
    static const struct {
        int step;
        bool reported;
        const char *kept;
    } cases[] = {
        {2, true,
         "{\"kind\":\"val\",\"step\":0}\n{\"kind\":\"train\",\"step\":1}\n{\"kind\":\"train\",\"step\":2}\n"
         "{\"kind\":\"val\",\"step\":2}\n{\"kind\":\"sample\",\"step\":2}\n{\"kind\":\"resume\",\"step\":2}\n"},
        {2, false,
         "{\"kind\":\"val\",\"step\":0}\n{\"kind\":\"train\",\"step\":1}\n{\"kind\":\"train\",\"step\":2}\n"
         "{\"kind\":\"resume\",\"step\":2}\n"},
        {1, true, "{\"kind\":\"val\",\"step\":0}\n{\"kind\":\"train\",\"step\":1}\n"},
        {0, false, ""},
    };
    Error err;
    assert_int_equal(mkdir(temp_path("metrics"), 0777), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Metrics m;
        size_t size;
        temp_file("metrics/metrics.jsonl", text, sizeof text - 1);
        assert_true(
            metrics_open(&m, temp_path("metrics"), "metrics.jsonl", cases[i].step, cases[i].reported, &err));
        JsonWriter w = {0};
        json_begin_object(&w, NULL);
        json_end_object(&w);
        assert_true(metrics_write(&m, &w, &err) && metrics_sync(&m, &err));
        metrics_close(&m);
        char *left = (char *)temp_read(temp_path("metrics/metrics.jsonl"), &size);
        left[size] = 0;
        assert_int_equal(size, strlen(cases[i].kept) + 3);
        assert_memory_equal(left, cases[i].kept, strlen(cases[i].kept));
        assert_string_equal(left + size - 3, "{}\n");
        free(left);
    }
}

static int setup(void **state) {
    Error err;
    if (temp_dir_create(state) != 0 || !device_open(&device, "cpu", 1, &err)) return -1;
    stream = stream_create(device);
    write_shard("s_1.bin", 100, 0);
    write_shard("s_2.bin", 120, 7);
    return 0;
}

static int teardown(void **state) {
    stream_destroy(stream);
    device_close(device);
    return temp_dir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_state_without_position),
        cmocka_unit_test(test_keep_and_clean),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_error),
        cmocka_unit_test(test_every_byte_of_state),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_changed_data),
        cmocka_unit_test(test_metrics_trim),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
