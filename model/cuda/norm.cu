// LayerNorm and RMSNorm with the residual addition, forward and backward.
//
// A team of 1 or 8 warps processes a row and caches up to CACHED elements per thread in registers, so rows of up to
// 1024 or 8192 elements are read once. The remainder of longer rows is read again each time it is needed.
#include "device/cuda/kernel.h"
#include "device/cuda/memory.h"
#include "model/cuda/ops.h"
#include "model/cuda/sums.h"

constexpr int CACHED = 32, LONG_WARPS = 8;
constexpr int SHORT_ROW = CACHED * WARP, LONG_ROW = LONG_WARPS * SHORT_ROW;

// Teams (rows) per block: SHORT_TEAMS teams of one warp, or one team of LONG_WARPS warps.
constexpr int SHORT_TEAMS = 4;
template <int WARPS> constexpr int TEAMS = WARPS == 1 ? SHORT_TEAMS : 1;

// A thread's elements of a row of C elements: pack k begins at k STRIDE + first; the first K packs are cached in
// registers.
template <typename T, int WARPS> struct RowSlice {
    static constexpr int W = PACK<T>, K = CACHED / W, STRIDE = WARPS * WARP * W;
    int first, C;
    __device__ RowSlice(int c) : first(static_cast<int>(threadIdx.x % (WARPS * WARP)) * W), C(c) {}

    // Calls visit(c, pack) for the packs in registers, then rest(c) for the remaining ones.
    template <typename Visit, typename Rest>
    __device__ void for_each(float (&cached)[K][W], Visit visit, Rest rest) const {
#pragma unroll
        for (int k = 0; k < K; k++)
            if (first + k * STRIDE < C) visit(first + k * STRIDE, cached[k]);
        for (int c = first + K * STRIDE; c < C; c += STRIDE) rest(c);
    }
};

// Loads the pack at p[c], or fills it with `fill` if p is nullptr.
template <int W, typename T>
static __device__ inline void load_or_fill(float (&out)[W], const T *p, int c, int C, bool aligned, float fill) {
    if (p) return load(out, p + c, C - c, aligned);
#pragma unroll
    for (int j = 0; j < W; j++) out[j] = fill;
}

// Reads x and delta once and writes resid and out once: 6144 bytes per row at C = 768 in bf16.
template <typename T, int WARPS>
static __global__ void norm_forward_kernel(T *resid, T *out, float *mean, float *rstd, const T *x, const T *delta,
                                           const T *gain, const T *bias, bool center, float eps, int64_t N, int C,
                                           bool aligned) {
    constexpr int W = PACK<T>;
    CUDA_SHARED_ARRAY(float, shared, WARPS);
    int64_t i = static_cast<int64_t>(blockIdx.x) * TEAMS<WARPS> + threadIdx.x / (WARPS * WARP);
    if (i >= N) return; // only whole warps return, and never part of a team with barriers
    const RowSlice<T, WARPS> slice(C);
    float cached[slice.K][W], sum[1] = {0}, square[1] = {0};

    auto read = [&](int c, float(&v)[W]) {
        load(v, x + i * C + c, C - c, aligned);
        if (delta == nullptr) return;
        float d[W];
        load(d, delta + i * C + c, C - c, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = rounded<T>(v[j] + d[j]);
        store(resid + i * C + c, v, C - c, aligned);
    };
    auto reload = [&](int c, float(&v)[W]) { load(v, (delta ? resid : x) + i * C + c, C - c, aligned); };
    auto add = [&](float(&v)[W]) {
#pragma unroll
        for (int j = 0; j < W; j++) sum[0] += v[j]; // elements past the end are 0
    };
    slice.for_each(
        cached, [&](int c, float(&v)[W]) { read(c, v), add(v); },
        [&](int c) {
            float v[W];
            read(c, v), add(v);
        });
    if (center) sums_in_order<WARPS>(sum, shared);
    float m = center ? sum[0] / static_cast<float>(C) : 0;

    auto add_square = [&](int c, float(&v)[W]) {
#pragma unroll
        for (int j = 0; j < W; j++)
            if (c + j < C) square[0] += (v[j] - m) * (v[j] - m);
    };
    slice.for_each(cached, add_square, [&](int c) {
        float v[W];
        reload(c, v), add_square(c, v);
    });
    sums_in_order<WARPS>(square, shared);
    float r = 1 / sqrtf(square[0] / static_cast<float>(C) + eps);

    auto write = [&](int c, float(&v)[W]) {
        float g[W], b[W];
        load_or_fill(g, gain, c, C, aligned, 1);
        load_or_fill(b, bias, c, C, aligned, 0);
#pragma unroll
        for (int j = 0; j < W; j++) v[j] = (v[j] - m) * r * g[j] + b[j];
        store(out + i * C + c, v, C - c, aligned);
    };
    slice.for_each(cached, write, [&](int c) {
        float v[W];
        reload(c, v), write(c, v);
    });
    if (slice.first > 0) return;
    if (center) mean[i] = m;
    rstd[i] = r;
}

template <typename T> void norm_forward_cuda(Stream *s, const NormForward *a) {
    T *resid = a->delta ? static_cast<T *>(a->resid) : nullptr, *out = static_cast<T *>(a->out); // (N, C)
    float *mean = static_cast<float *>(a->mean), *rstd = static_cast<float *>(a->rstd);          // (N)
    const T *x = static_cast<const T *>(a->x), *delta = static_cast<const T *>(a->delta);        // (N, C)
    const T *gain = static_cast<const T *>(a->gain), *bias = static_cast<const T *>(a->bias);    // (C)
    bool is_short = a->C <= SHORT_ROW;
    auto kernel = is_short ? norm_forward_kernel<T, 1> : norm_forward_kernel<T, LONG_WARPS>;
    CUDA_LAUNCH(kernel, whole_grid(a->N, is_short ? SHORT_TEAMS : 1), WARP * (is_short ? SHORT_TEAMS : LONG_WARPS),
                0, cuda_stream(s), resid, out, mean, rstd, x, delta, gain, bias, a->kind == NORM_LAYERNORM,
                static_cast<float>(a->eps), a->N, a->C,
                aligned_16(a->C * sizeof(T), resid, out, x, delta, gain, bias));
    CUDA_CHECK_LAUNCH();
}

// With xhat = (x - mean) rstd and g = dout gain: dx += rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) in
// RMSNorm. A team processes `piece_rows` consecutive rows. SUMS: writes its column sums of dout xhat and of dout to
// partials (teams, 2, C); only for rows that fit in registers. Reads dout and x once, reads and writes dx once.
template <typename T, int WARPS, bool SUMS>
static __global__ void norm_backward_kernel(T *dx, float *partials, const T *dout, const T *x, const float *mean,
                                            const float *rstd, const T *gain, int64_t piece_rows, int64_t N, int C,
                                            bool aligned) {
    constexpr int W = PACK<T>;
    CUDA_SHARED_ARRAY(float, shared, 2 * WARPS);
    const RowSlice<T, WARPS> slice(C);
    constexpr int K = RowSlice<T, WARPS>::K;
    int64_t piece = static_cast<int64_t>(blockIdx.x) * TEAMS<WARPS> + threadIdx.x / (WARPS * WARP);
    int64_t begin = piece * piece_rows, end = begin + piece_rows < N ? begin + piece_rows : N;
    float g[K][W], hat[K][W], gain_sum[SUMS ? K : 1][W] = {}, bias_sum[SUMS ? K : 1][W] = {};
    for (int64_t i = begin; i < end; i++) {
        float m = mean ? mean[i] : 0, r = rstd[i], sums[2] = {0, 0};
        // Loads a pack: d = dout, and computes g and xhat.
        auto read = [&](int c, float(&d)[W], float(&to_g)[W], float(&to_hat)[W]) {
            float scale[W];
            load(d, dout + i * C + c, C - c, aligned);
            load(to_hat, x + i * C + c, C - c, aligned);
            load_or_fill(scale, gain, c, C, aligned, 1);
#pragma unroll
            for (int j = 0; j < W; j++) {
                to_hat[j] = (to_hat[j] - m) * r;
                to_g[j] = d[j] * scale[j]; // 0 past the end
            }
        };
        auto add = [&](float(&from_g)[W], float(&from_hat)[W]) {
#pragma unroll
            for (int j = 0; j < W; j++) sums[0] += from_g[j], sums[1] += from_g[j] * from_hat[j];
        };
        auto write = [&](int c, float(&from_g)[W], float(&from_hat)[W]) {
            float old[W];
            load(old, dx + i * C + c, C - c, aligned);
#pragma unroll
            for (int j = 0; j < W; j++) old[j] += r * (from_g[j] - sums[0] - from_hat[j] * sums[1]);
            store(dx + i * C + c, old, C - c, aligned);
        };
#pragma unroll
        for (int k = 0; k < K; k++) {
            int c = slice.first + k * slice.STRIDE;
            if (c >= C) break;
            float d[W];
            read(c, d, g[k], hat[k]);
            add(g[k], hat[k]);
#pragma unroll
            for (int j = 0; SUMS && j < W; j++) gain_sum[k][j] += d[j] * hat[k][j], bias_sum[k][j] += d[j];
        }
        for (int c = slice.first + K * slice.STRIDE; !SUMS && c < C; c += slice.STRIDE) {
            float d[W], tail_g[W], tail_hat[W];
            read(c, d, tail_g, tail_hat);
            add(tail_g, tail_hat);
        }
        sums_in_order<WARPS>(sums, shared);
        sums[0] = mean ? sums[0] / static_cast<float>(C) : 0;
        sums[1] /= static_cast<float>(C);
#pragma unroll
        for (int k = 0; k < K; k++) {
            int c = slice.first + k * slice.STRIDE;
            if (c < C) write(c, g[k], hat[k]);
        }
        for (int c = slice.first + K * slice.STRIDE; !SUMS && c < C; c += slice.STRIDE) {
            float d[W], tail_g[W], tail_hat[W];
            read(c, d, tail_g, tail_hat);
            write(c, tail_g, tail_hat);
        }
    }
    if (!SUMS || begin >= N) return;
    float *to = partials + piece * 2 * C;
#pragma unroll
    for (int k = 0; SUMS && k < K; k++) {
        int c = slice.first + k * slice.STRIDE;
        if (c >= C) break;
        store(to + c, gain_sum[k], C - c, aligned);
        store(to + C + c, bias_sum[k], C - c, aligned);
    }
}

template <typename T, int WARPS, bool SUMS>
static void norm_backward_rows(Stream *s, T *dx, float *partials, const T *dout, const T *x, const float *mean,
                               const float *rstd, const T *gain, RowPieces pieces, int64_t N, int C) {
    CUDA_LAUNCH((norm_backward_kernel<T, WARPS, SUMS>), whole_grid(pieces.pieces, TEAMS<WARPS>),
                TEAMS<WARPS> * WARPS * WARP, 0, cuda_stream(s), dx, partials, dout, x, mean, rstd, gain,
                pieces.rows, N, C, aligned_16(C * sizeof(T), dx, dout, x, gain));
    CUDA_CHECK_LAUNCH();
}

static RowPieces norm_pieces(int64_t N, int C) {
    return row_pieces(N, 8, C <= SHORT_ROW ? 2048 : 512);
}

int64_t norm_backward_scratch_cuda(int64_t N, int C) {
    return static_cast<int64_t>(norm_pieces(N, C).pieces) * 2 * C * static_cast<int64_t>(sizeof(float));
}

template <typename T> void norm_backward_cuda(Stream *s, const NormBackward *a) {
    T *dx = static_cast<T *>(a->dx);                                                               // (N, C)
    float *dgain = static_cast<float *>(a->dgain), *dbias = static_cast<float *>(a->dbias);        // (C)
    const T *dout = static_cast<const T *>(a->dout), *x = static_cast<const T *>(a->x);            // (N, C)
    const float *mean = a->kind == NORM_LAYERNORM ? static_cast<const float *>(a->mean) : nullptr; // (N)
    const float *rstd = static_cast<const float *>(a->rstd);                                       // (N)
    const T *gain = static_cast<const T *>(a->gain);                                               // (C)
    int64_t N = a->N;
    int C = a->C;
    bool sums = dgain || dbias;
    RowPieces pieces = norm_pieces(N, C);
    float *partials = nullptr;
    if (sums)
        partials = static_cast<float *>(cuda_scratch(s, static_cast<size_t>(norm_backward_scratch_cuda(N, C))));
    if (C <= SHORT_ROW && sums)
        norm_backward_rows<T, 1, true>(s, dx, partials, dout, x, mean, rstd, gain, pieces, N, C);
    else if (C <= SHORT_ROW)
        norm_backward_rows<T, 1, false>(s, dx, nullptr, dout, x, mean, rstd, gain, pieces, N, C);
    else if (C <= LONG_ROW && sums)
        norm_backward_rows<T, LONG_WARPS, true>(s, dx, partials, dout, x, mean, rstd, gain, pieces, N, C);
    else {
        norm_backward_rows<T, LONG_WARPS, false>(s, dx, nullptr, dout, x, mean, rstd, gain, pieces, N, C);
        if (sums) column_partials(s, partials, dout, x, mean, rstd, pieces, N, C);
    }
    if (sums) reduce_partials(s, dgain, dbias, partials, pieces.pieces, 2, C, a->accumulate);
}

CUDA_INSTANCES(norm_forward_cuda)
CUDA_INSTANCES(norm_backward_cuda)
