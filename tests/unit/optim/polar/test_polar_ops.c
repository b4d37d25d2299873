// The polar methods' operations on every instance, against references in long double.
#include "optim/ops.h"
#include "tests/fixtures/ops_check.h"

static const PolarOps *ops_of(const Instance *in) {
    return optim_ops(in->stream->device, in->type)->polar; // for_each_instance selected the instruction set
}

// Compares results that are double for every instance.
static void expect_doubles(const Instance *in, const char *what, const double *data, const double *ref, int64_t n,
                           double factor) {
    Instance doubles = *in;
    doubles.type = TYPE_F64;
    expect(&doubles, what, data, ref, n, factor, 0);
}

// The last one has rows of several tiles and is too long for the tests of square matrices.
static const int64_t shapes[][2] = {{1, 1}, {3, 5}, {70, 33}, {130, 70}, {2, 8300}};
enum { ALL_SHAPES = 5, SHAPES = 4, COUNT = 2 };

static void check_norms(const Instance *in) {
    const PolarOps *ops = ops_of(in);
    for (int i = 0; i < ALL_SHAPES; i++) {
        int64_t rows = shapes[i][0], cols = shapes[i][1], n = COUNT * rows * cols;
        double *x = draw(n, 0, 1), *norms_ref = case_doubles(2 * COUNT), *divided = case_doubles(n);
        for (int j = 0; j < COUNT; j++) {
            const double *m = x + j * rows * cols;
            for (int64_t c = 0; c < cols; c++) {
                long double sum = 0;
                for (int64_t r = 0; r < rows; r++) sum += fabs(m[r * cols + c]);
                norms_ref[2 * j] = fmax(norms_ref[2 * j], (double)sum);
            }
            for (int64_t r = 0; r < rows; r++) {
                long double sum = 0;
                for (int64_t c = 0; c < cols; c++) sum += fabs(m[r * cols + c]);
                norms_ref[2 * j + 1] = fmax(norms_ref[2 * j + 1], (double)sum);
            }
            for (int64_t k = 0; k < rows * cols; k++)
                divided[j * rows * cols + k] = m[k] / sqrt(norms_ref[2 * j] * norms_ref[2 * j + 1]);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            void *data = typed(in->type, x, n);
            double *norms = typed(TYPE_F64, NULL, 2 * COUNT);
            ops->matrix_norms(
                in->stream, &(MatrixNorms){.norms = norms, .x = data, .count = COUNT, .rows = rows, .cols = cols});
            expect_doubles(in, "matrix_norms", norms, norms_ref, 2 * COUNT, (double)(rows + cols));
            ops->divide_by_bound(
                in->stream,
                &(DivideByBound){.x = data, .norms = norms, .count = COUNT, .rows = rows, .cols = cols});
            expect(in, "divide_by_bound", data, divided, n, 4, 0);
            run_end();
        }
        case_end();
    }
    // Zero stays zero, NaN propagates.
    double zero[4] = {0}, with_nan[4] = {1, NAN, 2, 3};
    run_begin(0);
    void *data = typed(in->type, zero, 4), *bad = typed(in->type, with_nan, 4);
    double *norms = typed(TYPE_F64, NULL, 2);
    ops->matrix_norms(in->stream, &(MatrixNorms){.norms = norms, .x = data, .count = 1, .rows = 2, .cols = 2});
    ops->divide_by_bound(in->stream, &(DivideByBound){.x = data, .norms = norms, .count = 1, .rows = 2, .cols = 2});
    expect_unchanged(in, "divide_by_bound of zero", data, zero, 4);
    ops->matrix_norms(in->stream, &(MatrixNorms){.norms = norms, .x = bad, .count = 1, .rows = 2, .cols = 2});
    assert_true(isnan(values_of(norms, 2)[0]) && isnan(values_of(norms, 2)[1]));
    run_end();
    case_end();
}

static void check_scaling(const Instance *in) {
    const PolarOps *ops = ops_of(in);
    for (int i = 0; i < SHAPES; i++) {
        int64_t rows = shapes[i][0], cols = shapes[i][1], n = COUNT * rows * cols, squares = COUNT * cols * cols;
        double *x = draw(n, 0, 1), *a = draw(squares, 0, 1), *left = draw(COUNT * rows, 0, 1);
        double *right = draw(COUNT * cols, 0, 1), *scaled = case_doubles(n),
               *factors_ref = case_doubles(COUNT * cols);
        double *shifted = case_doubles(squares);
        for (int64_t k = 0; k < cols; k++) a[k] = 0; // a zero row
        double *by_left = case_doubles(n), *by_right = case_doubles(n);
        for (int64_t k = 0; k < n; k++) {
            by_left[k] = x[k] * left[k / cols];
            by_right[k] = x[k] * right[k / (rows * cols) * cols + k % cols];
            scaled[k] = by_left[k] * right[k / (rows * cols) * cols + k % cols];
        }
        for (int64_t r = 0; r < COUNT * cols; r++) {
            long double sum = 0;
            for (int64_t c = 0; c < cols; c++) {
                sum += fabs(a[r * cols + c]);
                shifted[r * cols + c] = a[r * cols + c] + (c == r % cols ? 2.5 : 0);
            }
            factors_ref[r] = (double)(1 / sqrtl(fmaxl(sum, 1e-30L)));
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            void *data = typed(in->type, x, n), *square = typed(in->type, a, squares);
            double *l = typed(TYPE_F64, left, COUNT * rows), *r = typed(TYPE_F64, right, COUNT * cols);
            double *factors = typed(TYPE_F64, NULL, COUNT * cols);
            ops->inverse_root_sums(in->stream,
                                   &(InverseRootSums){.factors = factors, .a = square, .count = COUNT, .n = cols});
            expect_doubles(in, "inverse_root_sums", factors, factors_ref, COUNT * cols, (double)cols + 4);
            ops->scale_sides(
                in->stream,
                &(ScaleSides){.x = data, .left = l, .right = r, .count = COUNT, .rows = rows, .cols = cols});
            expect(in, "scale_sides", data, scaled, n, 4, 0);
            data = typed(in->type, x, n);
            ops->scale_sides(in->stream,
                             &(ScaleSides){.x = data, .left = l, .count = COUNT, .rows = rows, .cols = cols});
            expect(in, "scale_sides left", data, by_left, n, 2, 0);
            data = typed(in->type, x, n);
            ops->scale_sides(in->stream,
                             &(ScaleSides){.x = data, .right = r, .count = COUNT, .rows = rows, .cols = cols});
            expect(in, "scale_sides right", data, by_right, n, 2, 0);
            ops->add_diagonal(in->stream, &(AddDiagonal){.x = square, .value = 2.5, .count = COUNT, .n = cols});
            expect(in, "add_diagonal", square, shifted, squares, 2, 0);
            run_end();
        }
        case_end();
    }
}

static void check_moves(const Instance *in) {
    const PolarOps *ops = ops_of(in);
    for (int i = 0; i < SHAPES; i++) {
        int64_t rows = shapes[i][0], cols = shapes[i][1], size = rows * cols, n = COUNT * size;
        double *x = draw(n, 0, 1), *y = draw(n, 0, 1), *turned = case_doubles(n), *sum = case_doubles(n);
        double *stack = case_doubles(size + cols * cols), *distances_ref = case_doubles(COUNT);
        double *values = case_doubles(cols), *kept = case_doubles(size), *copy = case_doubles(n);
        for (int64_t k = 0; k < n; k++) {
            int64_t j = k / size, r = k % size / cols, c = k % cols;
            turned[j * size + c * rows + r] = x[k];
            sum[k] = 0.5 * x[k] - 2 * y[k];
            distances_ref[j] += (x[k] - y[k]) * (x[k] - y[k]);
            copy[k] = x[k];
        }
        for (int j = 0; j < COUNT; j++) distances_ref[j] = sqrt(distances_ref[j]);
        for (int64_t k = 0; k < size; k++) stack[k] = 3 * x[k];
        for (int64_t c = 0; c < cols; c++) {
            stack[size + c * cols + c] = 7;
            values[c] = c < (cols + 1) / 2 ? 4 : 1; // 1 <= 0.25 4: dropped
            for (int64_t r = 0; r < rows; r++) kept[r * cols + c] = values[c] > 1 ? x[r * cols + c] : 0;
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            void *a = typed(in->type, x, n), *b = typed(in->type, y, n), *t = typed(in->type, NULL, n);
            void *s = typed(in->type, NULL, size + cols * cols), *v = typed(in->type, values, cols);
            double *d = typed(TYPE_F64, NULL, COUNT), *row_sums = typed(TYPE_F64, NULL, COUNT * rows);
            double *wide = typed(TYPE_F64, NULL, n);
            ops->transpose(in->stream, &(Transpose){.y = t, .x = a, .count = COUNT, .rows = rows, .cols = cols});
            expect(in, "transpose", t, turned, n, 0, 0);
            ops->distance(in->stream, &(Distance){.distances = d,
                                                  .row_sums = row_sums,
                                                  .x = a,
                                                  .y = b,
                                                  .count = COUNT,
                                                  .rows = rows,
                                                  .cols = cols});
            expect_doubles(in, "distance", d, distances_ref, COUNT, 2 * (double)(rows + cols));
            ops->axpby(in->stream, &(Axpby){.y = b, .a = 0.5, .x = a, .b = -2, .n = n});
            expect(in, "axpby", b, sum, n, 2, 0);
            void *fresh = typed(in->type, NULL, n); // NaN, not to be read
            ops->axpby(in->stream, &(Axpby){.y = fresh, .a = 1, .x = a, .n = n});
            expect(in, "axpby without y", fresh, copy, n, 0, 0);
            ops->stack_identity(in->stream,
                                &(StackIdentity){.y = s, .x = a, .a = 3, .b = 7, .rows = rows, .cols = cols});
            expect(in, "stack_identity", s, stack, size + cols * cols, 1, 0);
            ops->widen(in->stream, &(Widen){.y = wide, .x = a, .n = n});
            expect_doubles(in, "widen", wide, copy, n, 0);
            ops->narrow(in->stream, &(Narrow){.y = t, .x = wide, .n = n});
            expect(in, "narrow", t, copy, n, 0, 0);
            ops->drop_small(in->stream,
                            &(DropSmall){.u = a, .values = v, .tolerance = 0.25, .rows = rows, .k = cols});
            expect(in, "drop_small", a, kept, size, 0, 0);
            run_end();
        }
        case_end();
    }
}

// Also in double on a GPU, which no model uses.
static void each(void (*check)(const Instance *in)) {
    for_each_instance(check);
    if (gpu == NULL) return;
    Instance in = {TYPE_F64, TYPE_F64, "F64 cuda", NULL, gpu_stream};
    instance = &in;
    check(&in);
    instance = NULL;
}

static void norms(void **state) {
    (void)state;
    each(check_norms);
}

static void scaling(void **state) {
    (void)state;
    each(check_scaling);
}

static void moves(void **state) {
    (void)state;
    each(check_moves);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(norms), cmocka_unit_test(scaling), cmocka_unit_test(moves)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
