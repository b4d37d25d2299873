// Activation recomputation: less memory and bitwise identical gradients, for every model fixture and every instance.
// test_golden_model.c checks their accuracy.
#include "tests/fixtures/golden_network.h"
#include "tests/fixtures/read_model.h"

typedef struct {
    double loss;
    int64_t bytes; // of the activations
    double *grads;
} Result;

// Fills the activations with NaN, so that reading one before it is written is detected.
static void poison_activations(Run *r) {
    void *poison = malloc((size_t)r->model.acts.bytes);
    assert_non_null(poison);
    memset(poison, 0xff, (size_t)r->model.acts.bytes);
    device_copy(r->stream, r->model.arena, poison, (size_t)r->model.acts.bytes);
    stream_synchronize(r->stream);
    free(poison);
}

// Runs the whole batch at once, or one sequence at a time with gradient accumulation.
static Result run_with(const Fixture *f, Type type, Recompute recompute, bool one_by_one) {
    Run r;
    Result result;
    run_open(&r, f, type, 2, &(BatchShape){.B = one_by_one ? 1 : f->B, .T = f->T, .recompute = recompute});
    poison_activations(&r);
    model_reset_loss(&r.model, r.stream);
    if (one_by_one)
        for (int b = 0; b < f->B; b++) run_sequences(&r, f, b, 1, b > 0);
    else run_sequences(&r, f, 0, f->B, false);
    read_grads(&r);
    result.loss = read_loss(&r.model, r.stream);
    result.bytes = r.model.acts.bytes;
    result.grads = alloc(r.model.table.elements);
    memcpy(result.grads, r.grads, (size_t)r.model.table.elements * sizeof(double));
    run_close(&r);
    return result;
}

static bool same_bits(const Fixture *f, const Result *a, const Result *b, const char *what) {
    ParamTable table;
    param_table_init(&table, &f->config);
    bool same = a->loss == b->loss;
    if (!same) print_error("%s: loss differs\n", what);
    for (int i = 0; i < table.n_params; i++) {
        const Param *p = &table.params[i];
        size_t bytes = (size_t)param_elements(p) * sizeof(double);
        if (!memcmp(a->grads + p->offset, b->grads + p->offset, bytes)) continue;
        print_error("%s: gradient of %s is not bitwise identical\n", what, p->name);
        same = false;
    }
    param_table_free(&table);
    return same;
}

static bool check_recompute(const Fixture *f, Type type) {
    bool same = true;
    for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
        Result all = run_with(f, type, RECOMPUTE_NONE, one_by_one);
        Result some = run_with(f, type, RECOMPUTE_ACTIVATIONS, one_by_one);
        Result layers = run_with(f, type, RECOMPUTE_LAYER, one_by_one);
        assert_true(isfinite(all.loss));
        same &= same_bits(f, &all, &some, "activations") && same_bits(f, &all, &layers, "layer");
        if (f->config.n_layer > 1) assert_true(all.bytes > some.bytes && some.bytes > layers.bytes);
        free(all.grads), free(some.grads), free(layers.grads);
    }
    return same;
}

static void test_same_bits(void **state) {
    (void)state;
    for_each_instance(check_recompute);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
