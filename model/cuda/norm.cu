// LayerNorm and RMSNorm with the residual addition, forward and backward.
//
// A row is the work of a team of 1 or 8 warps, which keeps up to HELD numbers a thread in registers: rows of up to 1024
// and of up to 8192 elements are read once. Longer ones are read again where they are needed again.
#include "device/cuda/memory.h"
#include "model/cuda/chunk.h"
#include "model/cuda/ops.h"
#include "model/cuda/sums.h"

constexpr int HELD = 32, LONG_WARPS = 8;
constexpr int SHORT_ROW = HELD * WARP, LONG_ROW = LONG_WARPS * SHORT_ROW;

// Rows of one warp each in a block; the other teams are a block.
constexpr int SHORT_TEAMS = 4;
template <int WARPS> constexpr int TEAMS = WARPS == 1 ? SHORT_TEAMS : 1;

// A thread's place in its team, and what it has of a row of C elements: chunk k begins at k STRIDE + first.
template <class T, int WARPS> struct Share {
    static constexpr int W = CHUNK<T>, K = HELD / W, STRIDE = WARPS * WARP * W;
    int first, C;
    __device__ Share(int c) : first((int)(threadIdx.x % (WARPS * WARP)) * W), C(c) {}

    // visit(c, held) for the chunks in registers, then rest(c) for those beyond.
    template <class Visit, class Rest> __device__ void each(float (&held)[K][W], Visit visit, Rest rest) const {
#pragma unroll
        for (int k = 0; k < K; k++)
            if (first + k * STRIDE < C) visit(first + k * STRIDE, held[k]);
        for (int c = first + K * STRIDE; c < C; c += STRIDE) rest(c);
    }
};

// The chunk at p[c], or `otherwise` everywhere where there is no such array.
template <int W, class T>
static __device__ inline void chunk_of(float (&out)[W], const T *p, int c, int C, bool aligned, float otherwise) {
    if (p) return chunk_load(out, p + c, C - c, aligned);
#pragma unroll
    for (int j = 0; j < W; j++) out[j] = otherwise;
}

// Reads x and delta once and writes resid and out once: at C = 768 in bf16 6144 bytes a row.
template <class T, int WARPS>
static __global__ void norm_forward_kernel(T *resid, T *out, float *mean, float *rstd, const T *x, const T *delta,
                                           const T *gain, const T *bias, bool center, float eps, int64_t N, int C,
                                           bool aligned) {
    constexpr int W = CHUNK<T>;
    CUDA_SHARED_ARRAY(float, shared, WARPS);
    int64_t i = (int64_t)blockIdx.x * TEAMS<WARPS> + threadIdx.x / (WARPS * WARP);
    if (i >= N) return; // a whole warp; a team that is a block has a row
    const Share<T, WARPS> share(C);
    float held[share.K][W], sum[1] = {0}, square[1] = {0};

    auto read = [&](int c, float(&v)[W]) {
        chunk_load(v, x + i * C + c, C - c, aligned);
        if (delta == NULL) return;
        float d[W];
        chunk_load(d, delta + i * C + c, C - c, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = rounded<T>(v[j] + d[j]);
        chunk_store(resid + i * C + c, v, C - c, aligned);
    };
    auto read_again = [&](int c, float(&v)[W]) { chunk_load(v, (delta ? resid : x) + i * C + c, C - c, aligned); };
    auto add = [&](float(&v)[W]) {
#pragma unroll
        for (int j = 0; j < W; j++) sum[0] += v[j]; // zeros beyond the end
    };
    share.each(
        held, [&](int c, float(&v)[W]) { read(c, v), add(v); },
        [&](int c) {
            float v[W];
            read(c, v), add(v);
        });
    if (center) row_sums<WARPS>(sum, shared);
    float m = center ? sum[0] / (float)C : 0;

    auto add_square = [&](int c, float(&v)[W]) {
#pragma unroll
        for (int j = 0; j < W; j++)
            if (c + j < C) square[0] += (v[j] - m) * (v[j] - m);
    };
    share.each(held, add_square, [&](int c) {
        float v[W];
        read_again(c, v), add_square(c, v);
    });
    row_sums<WARPS>(square, shared);
    float r = 1 / sqrtf(square[0] / (float)C + eps);

    auto write = [&](int c, float(&v)[W]) {
        float g[W], b[W];
        chunk_of(g, gain, c, C, aligned, 1);
        chunk_of(b, bias, c, C, aligned, 0);
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = (v[j] - m) * r * g[j] + b[j];
        chunk_store(out + i * C + c, v, C - c, aligned);
    };
    share.each(held, write, [&](int c) {
        float v[W];
        read_again(c, v), write(c, v);
    });
    if (share.first > 0) return;
    if (center) mean[i] = m;
    rstd[i] = r;
}

template <class T>
void norm_forward_cuda(Stream *s, void *resid_, void *out_, void *mean, void *rstd, const void *x_,
                       const void *delta_, const void *gain_, const void *bias_, NormKind kind, double eps,
                       int64_t N, int C) {
    T *resid = delta_ ? (T *)resid_ : NULL, *out = (T *)out_;   // (N, C)
    const T *x = (const T *)x_, *delta = (const T *)delta_;     // (N, C)
    const T *gain = (const T *)gain_, *bias = (const T *)bias_; // (C)
    bool aligned = all_aligned<T>(C, resid, out, x, delta, gain, bias), center = kind == NORM_LAYERNORM;
    if (C <= SHORT_ROW)
        CUDA_LAUNCH((norm_forward_kernel<T, 1>), grid_of(parts_of(N, SHORT_TEAMS)), SHORT_TEAMS * WARP, 0,
                    cuda_stream(s), resid, out, (float *)mean, (float *)rstd, x, delta, gain, bias, center,
                    (float)eps, N, C, aligned);
    else
        CUDA_LAUNCH((norm_forward_kernel<T, LONG_WARPS>), grid_of(N), LONG_WARPS * WARP, 0, cuda_stream(s), resid,
                    out, (float *)mean, (float *)rstd, x, delta, gain, bias, center, (float)eps, N, C, aligned);
    CUDA_CHECK_LAUNCH();
}
template void norm_forward_cuda<float>(Stream *, void *, void *, void *, void *, const void *, const void *,
                                       const void *, const void *, NormKind, double, int64_t, int);
template void norm_forward_cuda<__nv_bfloat16>(Stream *, void *, void *, void *, void *, const void *, const void *,
                                               const void *, const void *, NormKind, double, int64_t, int);

// With xhat = (x - mean) rstd and g = dout gain: dx += rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) in RMSNorm.
// A team takes `piece_rows` rows one after the other. SUMS: its sums of dout xhat and of dout go to partials
// (teams, 2, C), for rows that registers hold. Reads dout and x, reads and writes dx, each once.
template <class T, int WARPS, bool SUMS>
static __global__ void norm_backward_kernel(T *dx, float *partials, const T *dout, const T *x, const float *mean,
                                            const float *rstd, const T *gain, int64_t piece_rows, int64_t N, int C,
                                            bool aligned) {
    constexpr int W = CHUNK<T>;
    CUDA_SHARED_ARRAY(float, shared, 2 * WARPS);
    const Share<T, WARPS> share(C);
    constexpr int K = Share<T, WARPS>::K;
    int64_t piece = (int64_t)blockIdx.x * TEAMS<WARPS> + threadIdx.x / (WARPS * WARP);
    int64_t begin = piece * piece_rows, end = begin + piece_rows < N ? begin + piece_rows : N;
    float g[K][W], hat[K][W], gain_sum[SUMS ? K : 1][W] = {}, bias_sum[SUMS ? K : 1][W] = {};
    for (int64_t i = begin; i < end; i++) {
        float m = mean ? mean[i] : 0, r = rstd[i], sums[2] = {0, 0};
        // g and xhat of a chunk; d is dout.
        auto read = [&](int c, float(&d)[W], float(&to_g)[W], float(&to_hat)[W]) {
            float scale[W];
            chunk_load(d, dout + i * C + c, C - c, aligned);
            chunk_load(to_hat, x + i * C + c, C - c, aligned);
            chunk_of(scale, gain, c, C, aligned, 1);
#pragma unroll
            for (int j = 0; j < W; j++) {
                to_hat[j] = (to_hat[j] - m) * r;
                to_g[j] = d[j] * scale[j]; // zero beyond the end
            }
        };
        auto add = [&](float(&from_g)[W], float(&from_hat)[W]) {
#pragma unroll
            for (int j = 0; j < W; j++) sums[0] += from_g[j], sums[1] += from_g[j] * from_hat[j];
        };
        auto write = [&](int c, float(&from_g)[W], float(&from_hat)[W]) {
            float old[W];
            chunk_load(old, dx + i * C + c, C - c, aligned);
#pragma unroll
            for (int j = 0; j < W; j++) old[j] += r * (from_g[j] - sums[0] - from_hat[j] * sums[1]);
            chunk_store(dx + i * C + c, old, C - c, aligned);
        };
#pragma unroll
        for (int k = 0; k < K; k++) {
            int c = share.first + k * share.STRIDE;
            if (c >= C) break;
            float d[W];
            read(c, d, g[k], hat[k]);
            add(g[k], hat[k]);
#pragma unroll
            for (int j = 0; SUMS && j < W; j++) gain_sum[k][j] += d[j] * hat[k][j], bias_sum[k][j] += d[j];
        }
        for (int c = share.first + K * share.STRIDE; !SUMS && c < C; c += share.STRIDE) {
            float d[W], one_g[W], one_hat[W];
            read(c, d, one_g, one_hat);
            add(one_g, one_hat);
        }
        row_sums<WARPS>(sums, shared);
        sums[0] = mean ? sums[0] / (float)C : 0;
        sums[1] /= (float)C;
#pragma unroll
        for (int k = 0; k < K; k++) {
            int c = share.first + k * share.STRIDE;
            if (c < C) write(c, g[k], hat[k]);
        }
        for (int c = share.first + K * share.STRIDE; !SUMS && c < C; c += share.STRIDE) {
            float d[W], one_g[W], one_hat[W];
            read(c, d, one_g, one_hat);
            write(c, one_g, one_hat);
        }
    }
    if (!SUMS || begin >= N) return;
    float *to = partials + piece * 2 * C;
#pragma unroll
    for (int k = 0; SUMS && k < K; k++) {
        int c = share.first + k * share.STRIDE;
        if (c >= C) break;
        chunk_store(to + c, gain_sum[k], C - c, aligned);
        chunk_store(to + C + c, bias_sum[k], C - c, aligned);
    }
}

template <class T, int WARPS, bool SUMS>
static void norm_backward_rows(Stream *s, T *dx, float *partials, const T *dout, const T *x, const float *mean,
                               const float *rstd, const T *gain, RowPieces pieces, int64_t N, int C) {
    CUDA_LAUNCH((norm_backward_kernel<T, WARPS, SUMS>), grid_of(parts_of(pieces.pieces, TEAMS<WARPS>)),
                TEAMS<WARPS> * WARPS * WARP, 0, cuda_stream(s), dx, partials, dout, x, mean, rstd, gain,
                pieces.rows, N, C, all_aligned<T>(C, dx, dout, x, gain));
    CUDA_CHECK_LAUNCH();
}

static RowPieces norm_pieces(int64_t N, int C) {
    return row_pieces(N, 8, C <= SHORT_ROW ? 2048 : 512);
}

int64_t norm_backward_scratch_cuda(int64_t N, int C) {
    return (int64_t)norm_pieces(N, C).pieces * 2 * C * (int64_t)sizeof(float);
}

template <class T>
void norm_backward_cuda(Stream *s, void *dx_, void *dgain, void *dbias, const void *dout_, const void *x_,
                        const void *mean_, const void *rstd_, const void *gain_, NormKind kind, int64_t N, int C,
                        bool accumulate) {
    T *dx = (T *)dx_;                                     // (N, C)
    const T *dout = (const T *)dout_, *x = (const T *)x_; // (N, C)
    const T *gain = (const T *)gain_;                     // (C)
    const float *mean = kind == NORM_LAYERNORM ? (const float *)mean_ : NULL, *rstd = (const float *)rstd_; // (N)
    bool sums = dgain || dbias;
    RowPieces pieces = norm_pieces(N, C);
    float *partials = NULL;
    if (sums) partials = (float *)cuda_scratch(s, (size_t)norm_backward_scratch_cuda(N, C));
    if (C <= SHORT_ROW && sums)
        norm_backward_rows<T, 1, true>(s, dx, partials, dout, x, mean, rstd, gain, pieces, N, C);
    else if (C <= SHORT_ROW) norm_backward_rows<T, 1, false>(s, dx, NULL, dout, x, mean, rstd, gain, pieces, N, C);
    else if (C <= LONG_ROW && sums)
        norm_backward_rows<T, LONG_WARPS, true>(s, dx, partials, dout, x, mean, rstd, gain, pieces, N, C);
    else {
        norm_backward_rows<T, LONG_WARPS, false>(s, dx, NULL, dout, x, mean, rstd, gain, pieces, N, C);
        if (sums) column_partials(s, partials, dout, x, mean, rstd, pieces, N, C);
    }
    if (sums) fold_partials(s, (float *)dgain, (float *)dbias, partials, pieces.pieces, 2, C, accumulate);
}
template void norm_backward_cuda<float>(Stream *, void *, void *, void *, const void *, const void *, const void *,
                                        const void *, const void *, NormKind, int64_t, int, bool);
template void norm_backward_cuda<__nv_bfloat16>(Stream *, void *, void *, void *, const void *, const void *,
                                                const void *, const void *, const void *, NormKind, int64_t, int,
                                                bool);
