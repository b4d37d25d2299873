#include "run/problems/problem.h"

#include "base/suggest.h"
#include "base/random.h"
#include "optim/ops.h"
#include "run/problems/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const ProblemDef *const problems[] = {&problem_quadratic, &problem_logistic, &problem_completion};
enum { N_PROBLEMS = sizeof problems / sizeof *problems };

const ProblemDef *const *problem_registry(int *count) {
    *count = N_PROBLEMS;
    return problems;
}

const ProblemDef *problem_find(const char *name, Error *err) {
    const char *names[N_PROBLEMS];
    for (int i = 0; i < N_PROBLEMS; i++) {
        names[i] = problems[i]->name;
        if (strcmp(name, names[i]) == 0) return problems[i];
    }
    const char *near = suggest_name(name, names, N_PROBLEMS);
    error_set(err, "unknown problem '%s'%s%s%s; the problems are quadratic, logistic and completion", name,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

void *problem_alloc(Problem *p, int64_t elements, Type type) {
    ASSERT(p->n_memory < MAX_PROBLEM_MEMORY);
    void *memory = p->out_of_memory ? NULL : device_alloc(p->device, (size_t)elements * type_size(type));
    if (memory == NULL) p->out_of_memory = true;
    else p->memory[p->n_memory++] = memory;
    return memory;
}

enum { CHUNK = 1 << 16 }; // elements converted at a time

void problem_upload(Problem *p, void *to, Type type, const double *from, int64_t n) {
    float *chunk = malloc(CHUNK * sizeof *chunk);
    ASSERT(chunk);
    for (int64_t i = 0; i < n && type == TYPE_F32; i += CHUNK) {
        int64_t count = n - i < CHUNK ? n - i : CHUNK;
        for (int64_t j = 0; j < count; j++) chunk[j] = (float)from[i + j];
        device_copy(p->stream, (float *)to + i, chunk, (size_t)count * sizeof *chunk);
        stream_synchronize(p->stream);
    }
    if (type == TYPE_F64) device_copy(p->stream, to, from, (size_t)n * sizeof *from);
    stream_synchronize(p->stream);
    free(chunk);
}

void problem_download(Problem *p, double *to, const void *from, Type type, int64_t n) {
    float *chunk = malloc(CHUNK * sizeof *chunk);
    ASSERT(chunk);
    for (int64_t i = 0; i < n && type == TYPE_F32; i += CHUNK) {
        int64_t count = n - i < CHUNK ? n - i : CHUNK;
        device_copy(p->stream, chunk, (const float *)from + i, (size_t)count * sizeof *chunk);
        stream_synchronize(p->stream);
        for (int64_t j = 0; j < count; j++) to[i + j] = (double)chunk[j];
    }
    if (type == TYPE_F64) device_copy(p->stream, to, from, (size_t)n * sizeof *to);
    stream_synchronize(p->stream);
    free(chunk);
}

void problem_fill_random(Problem *p, void *out, const char *name, double (*sample)(uint64_t, uint64_t, uint64_t),
                         int64_t n) {
    uint64_t seed = p->seed, stream = random_stream(RANDOM_PROBLEM, name);
    double *chunk = malloc(CHUNK * sizeof *chunk);
    ASSERT(chunk);
    for (int64_t i = 0; i < n && !p->out_of_memory; i += CHUNK) {
        int64_t count = n - i < CHUNK ? n - i : CHUNK;
#pragma omp parallel for schedule(static)
        for (int64_t j = 0; j < count; j++) chunk[j] = sample(seed, stream, (uint64_t)(i + j));
        problem_upload(p, (char *)out + i * (int64_t)type_size(p->type), p->type, chunk, count);
    }
    free(chunk);
}

void problem_gemm(Problem *p, Type type, void *c, double alpha, const void *a, bool transpose_a, const void *b,
                  bool transpose_b, double beta, int64_t m, int64_t n, int64_t k) {
    device_gemm(p->stream, &(Gemm){.type = type,
                                   .c_type = type,
                                   .transpose_a = transpose_a,
                                   .transpose_b = transpose_b,
                                   .m = m,
                                   .n = n,
                                   .k = k,
                                   .alpha = alpha,
                                   .beta = beta,
                                   .a = a,
                                   .lda = transpose_a ? m : k,
                                   .b = b,
                                   .ldb = transpose_b ? k : n,
                                   .c = c,
                                   .ldc = n});
}

double problem_sum(Problem *p, int64_t rows) {
    double sum = 0, *host = malloc((size_t)rows * sizeof *host);
    ASSERT(host);
    device_copy(p->stream, host, p->sums, (size_t)rows * sizeof *host);
    stream_synchronize(p->stream);
    for (int64_t i = 0; i < rows; i++) sum += host[i];
    free(host);
    return sum;
}

double problem_sum_squares(Problem *p, const void *x, Type type, int64_t rows, int64_t cols) {
    RowSumSquares squares = {.sums = p->sums, .x = x, .count = 1, .rows = rows, .cols = cols};
    optim_ops(p->device, type)->row_sum_squares(p->stream, &squares);
    return problem_sum(p, rows);
}

void *problem_param(const Problem *p, void *arena, int i) {
    return (char *)arena + p->table.params[i].offset * (int64_t)type_size(p->type);
}

static void init_params(Problem *p) {
    for (int i = 0; i < p->table.n_params; i++) {
        const Param *param = &p->table.params[i];
        double *values = malloc((size_t)param_elements(param) * sizeof *values);
        ASSERT(values);
        param_init_values(values, param, p->seed, 0, param_elements(param));
        problem_upload(p, problem_param(p, p->x, i), p->type, values, param_elements(param));
        free(values);
    }
}

bool problem_create(Problem *p, const ProblemDef *def, const ProblemSizes *sizes, uint64_t seed, Type type,
                    Device *device, Error *err) {
    int64_t shapes[2][2];
    *p = (Problem){.def = def,
                   .sizes = *sizes,
                   .seed = seed,
                   .device = device,
                   .type = type,
                   .relative_error = NAN,
                   .optimum = NAN};
    if (!optim_ops(device, type) || !problem_ops(device, type))
        return error_set(err, "%s does not support the matrix problems in %s", device->name, type_name(type));
    if (def->solves && !device_can_solve(device, err)) return error_prefix(err, "%s", def->name);
    p->stream = stream_create(device);
    int n = def->shapes(shapes, sizes);
    param_table_init_matrices(&p->table, (const int64_t(*)[2])shapes, n);
    p->x = problem_alloc(p, p->table.elements, type);
    p->grads = problem_alloc(p, p->table.elements, type);
    p->loss = problem_alloc(p, 1, TYPE_F64);
    int64_t most = sizes->rows > sizes->x_rows ? sizes->rows : sizes->x_rows;
    p->sums = problem_alloc(p, most, TYPE_F64);
    if (!p->out_of_memory) def->create(p);
    if (p->out_of_memory) return error_set(err, "out of memory for this size of the problem %s", def->name);
    init_params(p);
    return true;
}

void problem_free(Problem *p) {
    for (int i = 0; i < p->n_memory; i++) device_free(p->device, p->memory[i]);
    param_table_free(&p->table);
    if (p->stream) stream_destroy(p->stream);
    free(p->data);
    *p = (Problem){0};
}

double problem_gradient(Problem *p, int64_t t) {
    double loss = p->def->gradient(p, t);
    device_copy(p->stream, p->loss, &loss, sizeof loss);
    stream_synchronize(p->stream);
    return loss;
}

Spectrum problem_spectrum(Problem *p, const void *matrix, int64_t rows, int64_t cols) {
    int64_t n = rows * cols, k = rows < cols ? rows : cols;
    Spectrum s = {NAN, NAN};
    void *copy = device_alloc(p->device, (size_t)n * type_size(p->type));
    void *values = device_alloc(p->device, (size_t)k * type_size(p->type));
    double *host = malloc((size_t)k * sizeof *host);
    ASSERT(host);
    if (copy && values) {
        device_copy(p->stream, copy, matrix, (size_t)n * type_size(p->type));
        device_svd(p->stream, values, NULL, NULL, copy, p->type, rows, cols);
        problem_download(p, host, values, p->type, k);
        s = (Spectrum){host[0] / host[k - 1], 0};
        for (int64_t i = 0; i < k; i++) s.nuclear += host[i];
    }
    free(host);
    device_free(p->device, values);
    device_free(p->device, copy);
    return s;
}
