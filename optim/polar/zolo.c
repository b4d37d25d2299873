// ZOLO-PD (Nakatsukasa and Freund 2016): two steps with the best rational function of degree 2 r + 1 for the sign on
// [-con, -1] u [1, con] (Zolotarev), in partial fractions that are independent of each other:
//   U <- (U - sum_i a_i U (U^T U + c_{2i-1} I)^-1) / f(1),   f(x) = x prod_j (x^2 + c_{2j}) / (x^2 + c_{2j-1}),
//   c_i = (sn / cn)^2 (i K / (2 r + 1)) of complementary modulus 1 / con.
// Always in double. Changes from the published code, for robustness: an upper bound of the norm instead of an estimate
// from a random vector, con at most 1e16, the highest degree if the first step did not suffice, and
// c_{2r+1-i} = con^2 / c_i instead of sn / cn close to K, where they cancel.
#include "optim/polar/methods.h"
#include "optim/polar/solves.h"

#include <float.h>
#include <math.h>

enum { MAX_DEGREE = 8, MAX_AGM = 40 };
static const double MAX_CON = 1e16;

// ---- the Zolotarev function ----

typedef struct {
    int r;
    double c[2 * MAX_DEGREE]; // c_1 .. c_2r
    double weights[MAX_DEGREE];
    double at_one; // f(1)
} Zolotarev;

static int choose_degree(double con, bool second) {
    static const struct {
        double con;
        int r;
    } known[] = {{1.001, 2}, {1.01, 3}, {1.1, 4},   {1.2, 5}, {1.5, 6}, {2, 8}, // one step is enough
                 {6.5, 2},   {180, 3},  {1.5e4, 4}, {2e6, 5}, {1e9, 6}, {3e12, 7}};
    if (second && con > 2) return MAX_DEGREE;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (con <= known[i].con) return known[i].r;
    return MAX_DEGREE;
}

// (sn / cn)^2 at the fraction x of the quarter period, complementary modulus kc, by descending Landen transformations.
static double tangent_squared(double x, double kc) {
    double a[MAX_AGM], c[MAX_AGM], b = kc;
    int n = 0;
    a[0] = 1;
    for (double difference = 1; difference > DBL_EPSILON * a[n] && n + 1 < MAX_AGM;) {
        difference = (a[n] - b) / 2;
        double mean = (a[n] + b) / 2;
        b = sqrt(a[n] * b);
        a[++n] = mean;
        c[n] = difference;
    }
    double phi = ldexp(acos(-1) / 2 * x, n); // 2^n a_n x K with K = pi / (2 a_n)
    for (; n > 0; n--) phi = (phi + asin(fmax(-1, fmin(1, c[n] / a[n] * sin(phi))))) / 2;
    return tan(phi) * tan(phi);
}

static double evaluate(const Zolotarev *z, double x) {
    double y = x;
    for (int j = 0; j < z->r; j++) y *= (x * x + z->c[2 * j + 1]) / (x * x + z->c[2 * j]);
    return y;
}

static Zolotarev zolotarev(double con, bool second) {
    Zolotarev z = {.r = choose_degree(con, second)};
    int n = 2 * z.r;
    for (int i = 1; i <= z.r; i++) {
        z.c[i - 1] = tangent_squared((double)i / (n + 1), 1 / con);
        z.c[n - i] = con / z.c[i - 1] * con;
    }
    for (int i = 0; i < z.r; i++) {
        z.weights[i] = 1;
        for (int j = 0; j < z.r; j++) {
            z.weights[i] *= z.c[2 * i] - z.c[2 * j + 1];
            if (j != i) z.weights[i] /= z.c[2 * i] - z.c[2 * j];
        }
    }
    z.at_one = evaluate(&z, 1);
    return z;
}

// ---- the iteration ----

// The workspace of one matrix; iterates are double.
typedef struct {
    PolarSolve solve;
    double *norms;
    char *tall;    // the transpose of a wide matrix, in the type of the problem
    char *u, *sum; // (rows, cols)
    int64_t bytes;
} Work;

static Work work_of(const PolarProblem *p, char *scratch) {
    Work w = {.solve = polar_solve_init(p, TYPE_F64), .norms = (double *)(void *)scratch};
    int64_t matrix = polar_matrix_bytes(&w.solve.gemms);
    w.tall = scratch + 64;
    w.u = w.tall + matrix;
    w.sum = w.u + matrix;
    w.bytes = 64 + 3 * matrix + polar_solve_memory(&w.solve, w.sum + matrix);
    return w;
}

int64_t polar_zolo_scratch(const PolarProblem *p) {
    char none[64];
    return work_of(p, none).bytes;
}

// Reads back the 1-norm and the infinity-norm of x.
static void read_norms(const Work *w, double norms[2], const void *x, int64_t rows, int64_t cols) {
    Stream *stream = w->solve.gemms.stream;
    MatrixNorms of_x = {.norms = w->norms, .x = x, .count = 1, .rows = rows, .cols = cols};
    w->solve.ops->matrix_norms(stream, &of_x);
    device_copy(stream, norms, w->norms, 2 * sizeof *norms);
    stream_synchronize(stream);
}

// An upper bound of the condition number of w->u, ||u||_2 <= 1: ||R^-1||_1 sqrt(n) from u = Q R.
static double condition(const Work *w) {
    const PolarGemms *pp = &w->solve.gemms;
    int64_t m = pp->rows, n = pp->cols;
    double norms[2];
    device_copy(pp->stream, w->solve.stack, w->u, (size_t)(m * n) * sizeof(double));
    device_qr_q(pp->stream, w->solve.stack, TYPE_F64, m, n);
    device_gemm(pp->stream, &(Gemm){.type = TYPE_F64,
                                    .c_type = TYPE_F64,
                                    .transpose_a = true,
                                    .m = n,
                                    .n = n,
                                    .k = m,
                                    .alpha = 1,
                                    .a = w->solve.stack,
                                    .lda = n,
                                    .b = w->u,
                                    .ldb = n,
                                    .c = w->sum,
                                    .ldc = n});
    device_trtri(pp->stream, w->sum, TYPE_F64, n);
    read_norms(w, norms, w->sum, n, n);
    double con = norms[0] * sqrt((double)n);
    return con < MAX_CON ? fmax(con, 1) : MAX_CON; // a singular u gives NaN or infinity
}

// Computes the next iterate into w->sum, then swaps w->u and w->sum.
static void step(Work *w, const Zolotarev *z, bool qr) {
    const PolarGemms *pp = &w->solve.gemms;
    int64_t size = pp->rows * pp->cols;
    double scale = 1 / z->at_one;
    w->solve.ops->axpby(pp->stream, &(Axpby){.y = w->sum, .a = scale, .x = w->u, .n = size});
    for (int i = 0; i < z->r; i++)
        polar_solve_term(&w->solve, w->sum, w->u, 1, z->c[2 * i], -z->weights[i] * scale, 1, qr);
    char *swap = w->u;
    w->u = w->sum, w->sum = swap;
}

// Computes the polar factor of the tall w->u into w->solve.matrix. Returns the number of steps.
static int iterate(const PolarProblem *p, Work *w) {
    const PolarGemms *pp = &w->solve.gemms;
    int64_t size = pp->rows * pp->cols;
    double norms[2];
    read_norms(w, norms, w->u, pp->rows, pp->cols);
    double bound = sqrt(norms[0]) * sqrt(norms[1]);
    if (bound == 0 || !isfinite(bound)) { // zero stays zero; NaN and infinities give NaN
        Axpby constant = {.y = w->solve.matrix, .a = bound == 0 ? 0 : (double)NAN, .x = w->u, .n = size};
        w->solve.ops->axpby(p->stream, &constant);
        return 0;
    }
    DivideByBound divide = {.x = w->u, .norms = w->norms, .count = 1, .rows = pp->rows, .cols = pp->cols};
    w->solve.ops->divide_by_bound(p->stream, &divide);
    double con = condition(w);
    int limit = con < 2 ? 1 : 2, taken = 0;
    if (p->steps && p->steps < limit) limit = p->steps;
    Axpby scale_up = {.y = w->u, .x = w->u, .b = con, .n = size};
    w->solve.ops->axpby(p->stream, &scale_up); // singular values in [1, con]
    for (; taken < limit; taken++) {
        Zolotarev z = zolotarev(con, taken > 0);
        step(w, &z, taken == 0 && z.c[2 * z.r - 2] > 100);
        con = fmax(evaluate(&z, con) / z.at_one, 1);
    }
    polar_solve_polish(&w->solve, w->u);
    return taken;
}

void *polar_zolo(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    (void)row_sums;
    Work w = work_of(p, scratch);
    const PolarOps *ops = p->ops->polar;
    int64_t size = p->rows * p->cols;
    w.solve.ops = optim_ops(p->stream->device, TYPE_F64)->polar;
    *steps_taken = 0;
    for (int j = 0; j < p->batch; j++) {
        char *matrix = (char *)x + (size_t)(j * size) * type_size(p->type);
        bool wide = p->rows < p->cols;
        Transpose to_tall = {.y = w.tall, .x = matrix, .count = 1, .rows = p->rows, .cols = p->cols};
        if (wide) ops->transpose(p->stream, &to_tall);
        ops->widen(p->stream, &(Widen){.y = (double *)(void *)w.u, .x = wide ? w.tall : matrix, .n = size});
        int steps = iterate(p, &w);
        if (steps > *steps_taken) *steps_taken = steps;
        ops->narrow(p->stream, &(Narrow){.y = wide ? w.tall : matrix, .x = w.solve.matrix, .n = size});
        Transpose from_tall = {.y = matrix, .x = w.tall, .count = 1, .rows = p->cols, .cols = p->rows};
        if (wide) ops->transpose(p->stream, &from_tall);
    }
    return x;
}
