// In-place RMSNorm and RoPE of the query and key heads.
//
// One block per position, one group of lanes per head; a lane loads 16 bytes of the head's first half and 16 of its
// second. Data needed twice is read twice, the second time from the cache.
#include "device/cuda/kernel.h"
#include "model/cuda/ops.h"

constexpr int MAX_THREADS = 256;

// Work distribution: a lane processes packs j of the first half of head h, at row[h D + j], and their partners `half`
// elements later. If D is odd, the last partner does not exist.
template <typename T> struct Heads {
    static constexpr int W = PACK<T>;
    int n_heads, D, half, lanes; // lanes: size of a group
    bool aligned;                // heads, halves and RoPE table rows are aligned to 16 bytes

    __device__ int first() const { return static_cast<int>(threadIdx.x % lanes) * W; }
    __device__ int step() const { return lanes * W; }

    // Calls visit(h, valid) equally often in all groups, so that all lanes take part in the warp reductions; valid is
    // false past the last head.
    template <typename Visit> __device__ void for_each(Visit visit) const {
        int groups = static_cast<int>(blockDim.x) / lanes, group = static_cast<int>(threadIdx.x) / lanes;
        for (int h0 = 0; h0 < n_heads; h0 += groups) visit(h0 + group, h0 + group < n_heads);
    }

    __device__ void load_pair(float (&a)[W], float (&b)[W], const T *head, int j) const {
        load(a, head + j, half - j, aligned);
        load(b, head + half + j, D - half - j, aligned);
    }

    __device__ void store_pair(T *head, int j, const float (&a)[W], const float (&b)[W]) const {
        store(head + j, a, half - j, aligned);
        store(head + half + j, b, D - half - j, aligned);
    }

    // Rotates the pairs (a, b) by the angles of pairs j, j + 1, ..., or by the negative angles.
    __device__ void rotate(float (&a)[W], float (&b)[W], const float *cos, const float *sin, int j,
                           bool inverse) const {
        float c[W], s[W];
        load(c, cos + j, half - j, aligned);
        load(s, sin + j, half - j, aligned);
#pragma unroll
        for (int k = 0; k < W; k++) {
            float sine = inverse ? -s[k] : s[k], old = a[k];
            a[k] = old * c[k] - b[k] * sine;
            b[k] = b[k] * c[k] + old * sine;
        }
    }
};

// Offsets of the block's row and of its angles.
struct Position {
    int64_t row, angles;
    __device__ Position(const HeadsShape &shape, int half) {
        unsigned b = blockIdx.x / static_cast<unsigned>(shape.T), t = blockIdx.x % static_cast<unsigned>(shape.T);
        row = b * shape.batch + t * shape.row;
        angles = (static_cast<int64_t>(shape.pos_offset) + t) * half;
    }
};

template <typename T>
static __global__ void qk_forward_kernel(T *x, float *rstd, const float *cos, const float *sin, HeadsShape shape,
                                         Heads<T> heads) {
    constexpr int W = PACK<T>;
    const Position pos(shape, heads.half);
    heads.for_each([&](int h, bool valid) {
        T *head = x + pos.row + static_cast<int64_t>(h) * heads.D;
        float a[W], b[W], square = 0, r = 1;
        for (int j = heads.first(); rstd && valid && j < heads.half; j += heads.step()) {
            heads.load_pair(a, b, head, j);
#pragma unroll
            for (int k = 0; k < W; k++) square += a[k] * a[k] + b[k] * b[k];
        }
        if (rstd) {
            r = 1 /
                sqrtf(lanes_sum(square, heads.lanes) / static_cast<float>(heads.D) + static_cast<float>(shape.eps));
            if (valid && heads.first() == 0) rstd[static_cast<int64_t>(blockIdx.x) * heads.n_heads + h] = r;
        }
        for (int j = heads.first(); valid && j < heads.half; j += heads.step()) {
            heads.load_pair(a, b, head, j);
#pragma unroll
            for (int k = 0; k < W; k++) a[k] *= r, b[k] *= r;
            if (cos) heads.rotate(a, b, cos + pos.angles, sin + pos.angles, j, false);
            heads.store_pair(head, j, a, b);
        }
    });
}

// Overwrites g with dx = rstd (g - xhat mean(g xhat)) and rotates it back. A rotation does not change mean(g xhat), so
// it is computed from the rotated xhat, which is the forward pass's output y, and the rotated g.
template <typename T>
static __global__ void qk_backward_kernel(T *dx, const T *y, const float *rstd, const float *cos, const float *sin,
                                          HeadsShape shape, Heads<T> heads) {
    constexpr int W = PACK<T>;
    const Position pos(shape, heads.half);
    heads.for_each([&](int h, bool valid) {
        int64_t begin = pos.row + static_cast<int64_t>(h) * heads.D;
        float a[W], b[W], p[W], q[W], sum = 0, r = 1;
        for (int j = heads.first(); rstd && valid && j < heads.half; j += heads.step()) {
            heads.load_pair(a, b, dx + begin, j);
            heads.load_pair(p, q, y + begin, j);
#pragma unroll
            for (int k = 0; k < W; k++) sum += a[k] * p[k] + b[k] * q[k];
        }
        if (rstd) {
            sum = lanes_sum(sum, heads.lanes) / static_cast<float>(heads.D);
            if (valid) r = rstd[static_cast<int64_t>(blockIdx.x) * heads.n_heads + h];
        }
        for (int j = heads.first(); valid && j < heads.half; j += heads.step()) {
            heads.load_pair(a, b, dx + begin, j);
            if (rstd) {
                heads.load_pair(p, q, y + begin, j);
#pragma unroll
                for (int k = 0; k < W; k++) a[k] = r * (a[k] - p[k] * sum), b[k] = r * (b[k] - q[k] * sum);
            }
            if (cos) heads.rotate(a, b, cos + pos.angles, sin + pos.angles, j, true);
            heads.store_pair(dx + begin, j, a, b);
        }
    });
}

// If a half is a whole number of packs, every head and every row of angles is aligned to 16 bytes.
template <typename T> static Heads<T> heads_of(const HeadsShape &a, bool aligned) {
    int half = (a.head_dim + 1) / 2, lanes = 1;
    while (lanes < WARP && lanes * PACK<T> < half) lanes *= 2;
    return Heads<T>{a.n_heads, a.head_dim, half, lanes, aligned && a.head_dim % (2 * PACK<T>) == 0};
}

template <typename T> static int threads_of(const Heads<T> &heads) {
    return block_of(static_cast<int64_t>(heads.n_heads) * heads.lanes, MAX_THREADS);
}

template <typename T> void qk_forward_cuda(Stream *s, const QkForward *a) {
    const HeadsShape &shape = a->shape;
    T *x = static_cast<T *>(a->x);
    const float *cos = static_cast<const float *>(a->cos), *sin = static_cast<const float *>(a->sin);
    Heads<T> heads = heads_of<T>(shape, aligned_16((shape.row | shape.batch) * sizeof(T), x, cos, sin));
    CUDA_LAUNCH(qk_forward_kernel<T>, whole_grid(static_cast<int64_t>(shape.B) * shape.T), threads_of(heads), 0,
                cuda_stream(s), x, static_cast<float *>(a->rstd), cos, sin, shape, heads);
    CUDA_CHECK_LAUNCH();
}

template <typename T> void qk_backward_cuda(Stream *s, const QkBackward *a) {
    const HeadsShape &shape = a->shape;
    T *dx = static_cast<T *>(a->dx);
    const T *y = a->rstd ? static_cast<const T *>(a->y) : nullptr;
    const float *cos = static_cast<const float *>(a->cos), *sin = static_cast<const float *>(a->sin);
    Heads<T> heads = heads_of<T>(shape, aligned_16((shape.row | shape.batch) * sizeof(T), dx, y, cos, sin));
    CUDA_LAUNCH(qk_backward_kernel<T>, whole_grid(static_cast<int64_t>(shape.B) * shape.T), threads_of(heads), 0,
                cuda_stream(s), dx, y, static_cast<const float *>(a->rstd), cos, sin, shape, heads);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(qk_forward_cuda)
CUDA_INSTANCES(qk_backward_cuda)
