#include "run/cli/commands.h"

#include "base/json.h"
#include "base/progress.h"
#include "optim/polar/accuracy.h"
#include "run/options/help_texts.h"
#include "run/options/settings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char method[OPTION_TEXT_MAX], shape[OPTION_TEXT_MAX], spectrum[OPTION_TEXT_MAX], device[OPTION_TEXT_MAX];
    int type; // Type
    int steps, repeat, threads;
    int64_t seed;
    bool json, help;
} CommandOptions;

static const OptionChoice type_words[] = {{"f32", TYPE_F32}, {"f64", TYPE_F64}, {NULL, 0}};

#define OPTIONS_OF CommandOptions
static const OptionSpec specs[] = {
    OPTION_TEXT("method", method, "all", .value = "NAMES",
                .help = "methods as for --polar, separated by commas, or all"),
    OPTION_TEXT("shape", shape, "256x256,256x1024", .value = "MxN,...", .help = "shapes of the matrices"),
    OPTION_TEXT("spectrum", spectrum, "gaussian", .value = "NAMES",
                .help = "singular values: gaussian, heavy-tailed, half-rank, rank-2, two-large, log:1e-10 "
                        "(logarithmically from 1 to 1e-10), condition:1e6; separated by commas"),
    OPTION_ONE_OF("type", type, "f32", type_words, .help = "number type"),
    OPTION_INT("steps", steps, "-1", -1, 100,
               .help =
                   "iterations of every method; 0: until convergence, if the method tests for it; -1: its default"),
    OPTION_INT64("seed", seed, "1", 0, OPTION_INT64_MAX, .help = "seed of the matrices"),
    OPTION_INT("repeat", repeat, "5", 1, 1000, .help = "calls; the median time is printed"),
    OPTION_TEXT("device", device, "auto", .value = "NAME", .help = HELP_DEVICE),
    OPTION_INT("threads", threads, "0", 0, 65536, .help = HELP_THREADS),
    OPTION_FLAG("json", json, "no", .help = "print one JSON object per line instead of the table"),
    OPTION_FLAG("help", help, "no", .help = HELP_HELP),
};
static const OptionTable table = OPTION_TABLE(specs);

static const char usage[] = "usage: train polar [options]\n"
                            "\n"
                            "The polar factor of a matrix A = V S W^T (its singular value decomposition) is V W^T: "
                            "the direction of a step of "
                            "Muon. This command computes it for random matrices by the methods that --polar of the "
                            "optimizers offers, and prints "
                            "their accuracy and speed.\n";
static const char columns[] = "Columns of the table, for the computed factor U:\n"
                              "  orthogonality   ||U^T U - I|| / sqrt(rank), on the row space of A; of the\n"
                              "                  transpose if A has more rows than columns\n"
                              "  backward        ||A - U H|| / ||A||, with H = (U^T A + A^T U) / 2\n"
                              "  forward         ||U - polar(A)|| / sqrt(rank), against an SVD in double\n"
                              "                  precision\n"
                              "  nuclear         <A, U> / ||A||_*: 1 for the exact factor\n"
                              "  values          the smallest and largest singular value of U\n"
                              "  GFLOP/s         nominal FLOPs of the dense algorithm per second; - if they\n"
                              "                  depend on the matrix\n"
                              "\n"
                              "example:\n"
                              "  train polar --method ns5,qdwh --shape 512x128 \\\n"
                              "        --spectrum gaussian,condition:1e6\n";

enum { MAX_LIST = 64 };

// One row of the table: parameters and results.
typedef struct {
    const PolarMethod *method;
    int64_t rows, cols;
    const char *spectrum;
    Type type;
    int steps; // iterations done
    PolarReport report;
    double seconds, flops;
} Row;

// ---- options ----

// Splits `text` at its commas, in place. Errors: an empty entry, too many.
static bool split_list(const char *items[MAX_LIST], int *n, char *text, const char *option, Error *err) {
    *n = 0;
    for (char *at = text;; at++) {
        char *end = at + strcspn(at, ",");
        bool last = *end == 0;
        *end = 0;
        if (end == at) return error_set(err, "--%s has an empty entry", option);
        if (*n == MAX_LIST) return error_set(err, "--%s has more than %d entries", option, MAX_LIST);
        items[(*n)++] = at;
        at = end;
        if (last) return true;
    }
}

static bool find_method(const PolarMethod **method, const char *name, Error *err) {
    static const OptionSpec spec = {
        .name = "method", .kind = KIND_ENTRY_OF, .entries = POLAR_METHODS, .entry_size = sizeof *POLAR_METHODS};
    return option_set(method, &spec, name, err);
}

static bool parse_shape(int64_t *rows, int64_t *cols, const char *text, Error *err) {
    char left[32];
    size_t n = strcspn(text, "x");
    if (n < sizeof left && text[n] == 'x') {
        memcpy(left, text, n);
        left[n] = 0;
        if (parse_int64(rows, left) && parse_int64(cols, text + n + 1) && *rows >= 1 && *cols >= 1 &&
            *rows <= 65536 && *cols <= 65536)
            return true;
    }
    return error_set(err, "--shape: '%s' is not ROWSxCOLS, each from 1 to 65536", text);
}

// Returns the number of iterations of a method in *steps.
static bool choose_steps(int *steps, const PolarMethod *method, int asked, Error *err) {
    *steps = asked < 0 ? method->default_steps : asked;
    if (*steps > polar_max_steps(method))
        return error_set(err, "--steps %d: %s supports at most %d", asked, method->name, polar_max_steps(method));
    if (*steps == 0 && !method->converges)
        return error_set(err, "--steps 0: %s has no convergence test", method->name);
    return true;
}

// ---- one row ----

// Buffers for one shape and type; wide is the matrix in double.
typedef struct {
    void *a, *x, *scratch;
    double *row_sums, *wide;
} Buffers;

static void buffers_free(Buffers *b, Device *device) {
    device_free(device, b->a);
    device_free(device, b->x);
    device_free(device, b->scratch);
    device_free(device, b->row_sums);
    device_free(device, b->wide);
}

static bool buffers_alloc(Buffers *b, Device *device, const PolarProblem *p, Error *err) {
    size_t bytes = (size_t)(p->rows * p->cols) * type_size(p->type);
    *b = (Buffers){.a = device_alloc(device, bytes),
                   .x = device_alloc(device, bytes),
                   .scratch = device_alloc(device, (size_t)polar_scratch_bytes(p)),
                   .row_sums = device_alloc(device, (size_t)p->rows * sizeof(double)),
                   .wide = device_alloc(device, (size_t)(p->rows * p->cols) * sizeof(double))};
    if (b->a && b->x && b->scratch && b->row_sums && b->wide) return true;
    buffers_free(b, device);
    return error_set(err, "out of memory for a matrix of %" PRId64 " x %" PRId64 " and what %s works in", p->rows,
                     p->cols, p->method->name);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Calls the method `repeat` times on b->a; fills steps, seconds and report of the row.
static bool measure(Row *row, const PolarProblem *p, const Buffers *b, int repeat, Error *err) {
    double *times = calloc((size_t)repeat, sizeof *times);
    ASSERT(times);
    const void *u = NULL;
    for (int i = 0; i < repeat; i++) {
        device_copy(p->stream, b->x, b->a, (size_t)(p->rows * p->cols) * type_size(p->type));
        RowSumSquares squares = {.sums = b->row_sums,
                                 .x = b->x,
                                 .stride = p->rows * p->cols,
                                 .count = 1,
                                 .rows = p->rows,
                                 .cols = p->cols};
        p->ops->row_sum_squares(p->stream, &squares);
        stream_synchronize(p->stream);
        double start = seconds_now();
        u = polar_factor(p, b->x, b->row_sums, b->scratch, &row->steps);
        stream_synchronize(p->stream);
        times[i] = seconds_now() - start;
    }
    qsort(times, (size_t)repeat, sizeof *times, compare_doubles);
    row->seconds = times[repeat / 2];
    row->flops = polar_flops(p, row->steps);
    free(times);
    return polar_measure(&row->report, p->stream, b->a, u, p->type, p->rows, p->cols, err);
}

static bool make_row(Row *row, Stream *stream, const CommandOptions *o, const double *matrix, Error *err) {
    int steps;
    Buffers b;
    if (!choose_steps(&steps, row->method, o->steps, err)) return false;
    PolarProblem p = {.stream = stream,
                      .ops = optim_ops(stream->device, row->type),
                      .method = row->method,
                      .type = row->type,
                      .steps = steps,
                      .norm_eps = row->method->norm_eps,
                      .rows = row->rows,
                      .cols = row->cols,
                      .batch = 1};
    if (!buffers_alloc(&b, stream->device, &p, err)) return false;
    device_copy(stream, b.wide, matrix, (size_t)(row->rows * row->cols) * sizeof *b.wide);
    p.ops->polar->narrow(stream, &(Narrow){.y = b.a, .x = b.wide, .n = row->rows * row->cols});
    bool ok = measure(row, &p, &b, o->repeat, err);
    buffers_free(&b, stream->device);
    return ok;
}

// ---- output ----

static void print_head(void) {
    printf("%-22s %5s %10s %10s %10s %9s %18s %10s %10s\n", "method", "steps", "orthog.", "backward", "forward",
           "nuclear", "values", "ms", "GFLOP/s");
}

static void print_row(const Row *r) {
    const PolarReport *p = &r->report;
    char rate[32] = "-";
    if (r->flops > 0) snprintf(rate, sizeof rate, "%.1f", 1e-9 * r->flops / r->seconds);
    printf("%-22s %5d %10.2e %10.2e %10.2e %9.5f %8.4f..%8.4f %10.3f %10s\n", r->method->name, r->steps,
           p->orthogonality, p->backward_error, p->forward_error, p->nuclear_ratio, p->sigma_min, p->sigma_max,
           1e3 * r->seconds, rate);
}

static void print_json(const Row *r, int64_t seed) {
    JsonWriter w = {0};
    const PolarReport *p = &r->report;
    json_begin_object(&w, NULL);
    json_string(&w, "method", r->method->name);
    json_int(&w, "rows", r->rows);
    json_int(&w, "cols", r->cols);
    json_string(&w, "spectrum", r->spectrum);
    json_string(&w, "type", type_name(r->type));
    json_int(&w, "seed", seed);
    json_int(&w, "steps", r->steps);
    json_int(&w, "rank", p->rank);
    json_double(&w, "orthogonality", p->orthogonality);
    json_double(&w, "backward_error", p->backward_error);
    json_double(&w, "forward_error", p->forward_error);
    json_double(&w, "asymmetry", p->asymmetry);
    json_double(&w, "negative", p->negative);
    json_double(&w, "nuclear_ratio", p->nuclear_ratio);
    json_double(&w, "sigma_min", p->sigma_min);
    json_double(&w, "sigma_max", p->sigma_max);
    json_double(&w, "seconds", r->seconds);
    if (r->flops > 0) json_double(&w, "nominal_flops", r->flops);
    json_end_object(&w);
    puts(w.text);
    json_writer_free(&w);
}

// ---- the command ----

// The parsed lists of the options.
typedef struct {
    const PolarMethod *methods[MAX_LIST];
    int64_t rows[MAX_LIST], cols[MAX_LIST];
    const char *names[MAX_LIST]; // of the spectra
    Spectrum spectra[MAX_LIST];
    int n_methods, n_shapes, n_spectra;
} Lists;

static bool read_lists(Lists *l, CommandOptions *o, Error *err) {
    const char *items[MAX_LIST];
    int steps;
    if (strcmp(o->method, "all") == 0) {
        const PolarMethod *all = polar_methods(&l->n_methods);
        for (int i = 0; i < l->n_methods; i++) l->methods[i] = &all[i];
    } else {
        if (!split_list(items, &l->n_methods, o->method, "method", err)) return false;
        for (int i = 0; i < l->n_methods; i++)
            if (!find_method(&l->methods[i], items[i], err)) return false;
    }
    for (int i = 0; i < l->n_methods; i++)
        if (!choose_steps(&steps, l->methods[i], o->steps, err)) return false;
    if (!split_list(items, &l->n_shapes, o->shape, "shape", err)) return false;
    for (int i = 0; i < l->n_shapes; i++)
        if (!parse_shape(&l->rows[i], &l->cols[i], items[i], err)) return false;
    if (!split_list(l->names, &l->n_spectra, o->spectrum, "spectrum", err)) return false;
    for (int i = 0; i < l->n_spectra; i++)
        if (!spectrum_parse(&l->spectra[i], l->names[i], err)) return error_prefix(err, "--spectrum");
    return true;
}

// All methods on one matrix.
static bool run_matrix(Stream *stream, const Lists *l, const CommandOptions *o, int shape, int spectrum,
                       Error *err) {
    Type type = (Type)o->type;
    int64_t rows = l->rows[shape], cols = l->cols[shape];
    double *matrix = malloc((size_t)(rows * cols) * sizeof *matrix);
    if (!matrix) return error_set(err, "out of memory for a matrix of %" PRId64 " x %" PRId64, rows, cols);
    bool ok = spectrum_matrix(matrix, stream, l->spectra[spectrum], rows, cols, (uint64_t)o->seed, err);
    if (ok && !o->json) {
        printf("%s%" PRId64 " x %" PRId64 ", %s, %s, seed %" PRId64 "\n", shape + spectrum ? "\n" : "", rows, cols,
               l->names[spectrum], type_name(type), o->seed);
        print_head();
    }
    for (int i = 0; ok && i < l->n_methods; i++) {
        Row row = {
            .method = l->methods[i], .rows = rows, .cols = cols, .spectrum = l->names[spectrum], .type = type};
        ok = make_row(&row, stream, o, matrix, err);
        if (ok && o->json) print_json(&row, o->seed);
        else if (ok) print_row(&row);
        fflush(stdout);
    }
    free(matrix);
    return ok;
}

static bool run_all(const Lists *l, const CommandOptions *o, Error *err) {
    Device *device;
    if (!device_open(&device, o->device, o->threads, err)) return false;
    bool ok = device_can_solve(device, err); // the measurements need it
    if (ok) {
        Stream *stream = stream_create(device);
        char text[768];
        device_describe(text, sizeof text, device);
        if (!o->json) printf("%s\n\n", text);
        for (int i = 0; ok && i < l->n_shapes; i++)
            for (int j = 0; ok && j < l->n_spectra; j++) ok = run_matrix(stream, l, o, i, j, err);
        stream_destroy(stream);
    }
    device_close(device);
    return ok;
}

bool command_polar(int argc, const char *const *argv, Error *err) {
    CommandOptions *o = calloc(1, sizeof *o);
    Lists *l = calloc(1, sizeof *l);
    ASSERT(o && l);
    bool ok = options_from_arguments(o, &table, NULL, NULL, argc - 2, argv + 2, err);
    if (ok && o->help) help_print_command(usage, &table, columns);
    else ok = ok && read_lists(l, o, err) && run_all(l, o, err);
    free(o), free(l);
    return ok;
}
