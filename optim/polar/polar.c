#include "optim/polar/methods.h"

#include "base/integers.h"

#include <string.h>

// Coefficients as published. Left out: Polar Express without a safety factor, which diverges for a singular value of
// 1.0001; and the later four triples of Turbo-Muon, (4.0098, -7.0585, 2.4635) and following, which flip the sign of
// singular values above 0.8837: even with its own scaling, a single row or orthogonal rows have the singular value 1.
static const PolarTriple NS5[] = {{3.4445, -4.7750, 2.0315}};

static const PolarTriple SIMPLE[] = {{2, -1.5, 0.5}};

static const PolarTriple YOU5[] = {{4.0848, -6.8946, 2.9270},
                                   {3.9505, -6.3029, 2.6377},
                                   {3.7418, -5.5913, 2.3037},
                                   {2.8769, -3.1427, 1.2046},
                                   {2.8366, -3.0525, 1.2012}};

static const PolarTriple POLAR_EXPRESS[] = {{8.28721201814563, -23.595886519098837, 17.300387312530933},
                                            {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
                                            {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
                                            {3.3184196573706015, -2.488488024314874, 0.51004894012372},
                                            {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
                                            {1.891301407787398, -1.2679958271945868, 0.37680408948524835},
                                            {1.8750014808534479, -1.2500016453999487, 0.3750001645474248},
                                            {1.875, -1.25, 0.375}};

static const PolarTriple POLAR_EXPRESS_NANOGPT[] = {{8.156554524902461, -22.48329292557795, 15.878769915207462},
                                                    {4.042929935166739, -2.808917465908714, 0.5000178451051316},
                                                    {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
                                                    {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
                                                    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};

static const PolarTriple CANS5[] = {{8.4703, -25.1081, 18.6293},
                                    {4.1828, -3.1087, 0.5806},
                                    {3.9619, -2.9541, 0.5630},
                                    {3.2866, -2.4647, 0.5074},
                                    {2.2737, -1.6447, 0.4162}};

static const PolarTriple CUBIC5[] = {{3.3656576, -3.3420992, 0},
                                     {2.5744352, -1.4957376, 0},
                                     {2.5368962, -1.4312570, 0},
                                     {2.4418906, -1.2764040, 0},
                                     {2.2230472, -0.9630650, 0}};

static const PolarTriple DEEPSEEK_V4[] = {{3.4445, -4.7750, 2.0315},
                                          {3.4445, -4.7750, 2.0315},
                                          {3.4445, -4.7750, 2.0315},
                                          {3.4445, -4.7750, 2.0315},
                                          {3.4445, -4.7750, 2.0315},
                                          {3.4445, -4.7750, 2.0315},
                                          {3.4445, -4.7750, 2.0315},
                                          {3.4445, -4.7750, 2.0315},
                                          {2, -1.5, 0.5},
                                          {2, -1.5, 0.5}};

static const PolarTriple TURBO_MUON[] = {
    {4.6051, -9.6552, 5.6769}, {4.7505, -6.0861, 2.1790}, {2.7763, -2.3190, 0.5523}, {2.4231, -2.2861, 0.8193}};

#define NEWTON_SCHULZ                                                                                              \
    .scratch_bytes = polar_newton_schulz_scratch, .factor = polar_newton_schulz, .flops = polar_newton_schulz_flops
#define TRIPLES(list) NEWTON_SCHULZ, .triples = list, .n_triples = sizeof list / sizeof *list

// The eps of methods that do not divide by a norm: the smallest value that the option accepts.
#define NO_EPS 1e-30

const PolarMethod POLAR_METHODS[] = {
    {.name = "ns5",
     .summary = "five equal quintic steps; singular values end in about 0.7..1.2",
     .source = "Jordan et al. 2024, Muon",
     TRIPLES(NS5),
     .repeat_last = true,
     .default_steps = 5,
     .safety = 1,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.05},
    {.name = "you5",
     .summary = "five different quintic steps",
     .source = "J. You 2025, in microsoft/dion and NVIDIA Emerging-Optimizers (\"quintic\")",
     TRIPLES(YOU5),
     .default_steps = 5,
     .safety = 1,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.05},
    {.name = "polar-express",
     .summary = "minimax-optimal steps, safety factor 1.01; converges with more steps",
     .source = "Amsel et al. 2025, arXiv 2505.16932",
     TRIPLES(POLAR_EXPRESS),
     .repeat_last = true,
     .default_steps = 5,
     .safety = 1.01,
     .norm_factor = 1.01,
     .norm_eps = 1e-7,
     .sigma_max = 1.02},
    {.name = "polar-express-nanogpt",
     .summary = "Polar Express optimized for five steps, safety factor 1.02",
     .source = "modded-nanogpt, dion, nanochat",
     TRIPLES(POLAR_EXPRESS_NANOGPT),
     .default_steps = 5,
     .safety = 1,
     .norm_factor = 1.02,
     .norm_eps = 1e-6,
     .sigma_max = 1.04},
    {.name = "polar-express-1.05",
     .summary = "Polar Express, five steps, safety factor 1.05, norm not enlarged",
     .source = "Gram Newton-Schulz (Dao-AILab)",
     NEWTON_SCHULZ,
     .triples = POLAR_EXPRESS,
     .n_triples = 5,
     .default_steps = 5,
     .safety = 1.05,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.05},
    {.name = "cans5",
     .summary = "Chebyshev-optimal steps; no margin above 1 (not for bf16)",
     .source = "Grishina et al. 2025, arXiv 2506.10935",
     TRIPLES(CANS5),
     .default_steps = 5,
     .safety = 1,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.000009},
    {.name = "cubic5",
     .summary = "five cubic steps: two GEMMs per step instead of three",
     .source = "arXiv 2606.00371, in NVIDIA Emerging-Optimizers",
     TRIPLES(CUBIC5),
     .default_steps = 5,
     .safety = 1,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.0035},
    {.name = "deepseek-v4",
     .summary = "eight steps of ns5, then two that converge",
     .source = "DeepSeek-V4, in NVIDIA Emerging-Optimizers",
     TRIPLES(DEEPSEEK_V4),
     .default_steps = 10,
     .safety = 1,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.05},
    {.name = "simple",
     .summary = "twelve slow steps; converges",
     .source = "modded-nanogpt, track 3",
     TRIPLES(SIMPLE),
     .repeat_last = true,
     .default_steps = 12,
     .safety = 1,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.05},
    {.name = "gram-ns",
     .summary = "polar-express-1.05 on the Gram matrix of the short side, restarted after two steps",
     .source = "Gram Newton-Schulz (Dao-AILab)",
     .scratch_bytes = polar_gram_ns_scratch,
     .factor = polar_gram_ns,
     .flops = polar_gram_ns_flops,
     .triples = POLAR_EXPRESS,
     .n_triples = 5,
     .default_steps = 5,
     .safety = 1.05,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.05},
    {.name = "turbo-muon",
     .summary = "four steps after scaling rows (of tall matrices, columns); not the polar factor of X",
     .source = "arXiv 2512.04632, coefficients of flash-newton-schulz",
     .scratch_bytes = polar_turbo_muon_scratch,
     .factor = polar_turbo_muon,
     .flops = polar_newton_schulz_flops,
     .triples = TURBO_MUON,
     .n_triples = 4,
     .default_steps = 4,
     .safety = 1,
     .norm_factor = 1,
     .norm_eps = 1e-7,
     .sigma_max = 1.01},
    {.name = "precond-ns",
     .summary = "cubic steps until convergence, GEMMs only",
     .source = "Lewis 2022",
     .scratch_bytes = polar_precond_ns_scratch,
     .factor = polar_precond_ns,
     .flops = polar_precond_ns_flops,
     .converges = true,
     .needs_host_sync = true,
     .max_steps = 100,
     .norm_eps = NO_EPS},
    {.name = "qdwh",
     .summary = "QR and Cholesky; converges in 5 or 6 steps; PolarGrad's published rates are for 2",
     .source = "Nakatsukasa, Bai, Gygi 2010",
     .scratch_bytes = polar_qdwh_scratch,
     .factor = polar_qdwh,
     .flops = polar_qdwh_flops,
     .converges = true,
     .solves = true,
     .needs_host_sync = true,
     .max_steps = 100,
     .norm_eps = NO_EPS},
    {.name = "zolo-pd",
     .summary = "two steps of high degree, QR and Cholesky in double",
     .source = "Nakatsukasa and Freund 2016",
     .scratch_bytes = polar_zolo_scratch,
     .factor = polar_zolo,
     .converges = true,
     .solves = true,
     .needs_host_sync = true,
     .max_steps = 2,
     .norm_eps = NO_EPS},
    {.name = "svd",
     .summary = "U V^T of the singular value decomposition",
     .source = "LAPACK gesdd",
     .scratch_bytes = polar_svd_scratch,
     .factor = polar_svd,
     .converges = true,
     .solves = true,
     .needs_host_sync = true,
     .max_steps = 1,
     .norm_eps = NO_EPS},
    {.name = NULL},
};

const PolarMethod *polar_methods(int *count) {
    *count = sizeof POLAR_METHODS / sizeof *POLAR_METHODS - 1;
    return POLAR_METHODS;
}

Type polar_factor_type(const PolarMethod *method, Type type) {
    const double bf16_eps = 0x1p-8; // relative error bound of two roundings: of X and of its Gram matrix
    if (type == TYPE_BF16 && method->n_triples > 0 && method->sigma_max > 1 + bf16_eps) return TYPE_BF16;
    return type_accumulate(type);
}

int polar_max_steps(const PolarMethod *method) {
    if (method->n_triples == 0) return method->max_steps;
    return method->repeat_last ? 100 : method->n_triples;
}

PolarTriple polar_triple(const PolarMethod *method, int step) {
    ASSERT(method->n_triples > 0 && step >= 0 && step < polar_max_steps(method));
    bool last = step >= method->n_triples - 1;
    PolarTriple t = method->triples[last ? method->n_triples - 1 : step];
    if (last && method->repeat_last) return t;
    double s = method->safety;
    return (PolarTriple){t.a / s, t.b / (s * s * s), t.c / (s * s * s * s * s)};
}

double polar_flops(const PolarProblem *p, int steps) {
    return p->method->flops ? p->batch * p->method->flops(p, steps) : 0;
}

enum { SCRATCH_ALIGNMENT = 64 };

static PolarProblem one_matrix(const PolarProblem *p) {
    PolarProblem one = *p;
    one.batch = 1, one.one_thread_each = false;
    return one;
}

int64_t polar_scratch_bytes(const PolarProblem *p) {
    if (!p->one_thread_each) return p->method->scratch_bytes(p);
    PolarProblem one = one_matrix(p);
    return p->batch * round_up(one.method->scratch_bytes(&one), SCRATCH_ALIGNMENT);
}

// The arguments of polar_factor for matrices by one thread each.
typedef struct {
    PolarProblem one;
    char *x, *scratch;
    size_t x_bytes, scratch_bytes; // of a matrix
    const double *row_sums;
    int steps; // the same for all: the method does not converge
} Matrices;

static void factor_of_one(void *context, int i) {
    Matrices *m = context;
    int steps;
    char *x = m->x + (size_t)i * m->x_bytes;
    const void *result = m->one.method->factor(&m->one, x, m->row_sums + i * m->one.rows,
                                               m->scratch + (size_t)i * m->scratch_bytes, &steps);
    if (result != x) memcpy(x, result, m->x_bytes);
    if (i == 0) m->steps = steps;
}

void *polar_factor(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    ASSERT(p->steps <= polar_max_steps(p->method) && (p->steps > 0 || p->method->converges));
    int steps;
    if (!p->one_thread_each) return p->method->factor(p, x, row_sums, scratch, steps_taken ? steps_taken : &steps);
    ASSERT(!p->method->converges);
    Matrices m = {.one = one_matrix(p), .x = x, .scratch = scratch, .row_sums = row_sums};
    m.x_bytes = (size_t)(p->rows * p->cols) * type_size(p->type);
    m.scratch_bytes = (size_t)(polar_scratch_bytes(p) / p->batch);
    device_for_each(p->stream, p->batch, factor_of_one, &m);
    if (steps_taken) *steps_taken = m.steps;
    return x;
}
