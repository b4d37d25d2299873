// C = alpha op(A) op(B) + beta C_in with symmetric C: computes m (m + 128) / 2 of the m^2 elements, in 128 x 128
// tiles on and below the diagonal, and writes each tile twice.
//
// A block has 4 warps of 64 x 64 (128 accumulators per lane) and double-buffered stages of 64 columns of A and B, 64
// KB: two blocks fit on an SM of sm_80, one on sm_86, 89 and 120. A stage is 128 mma and 32 ldmatrix.x4 per warp. In
// cycles of an sm_80 SM (2 of tensor core per mma, 4 of shared memory per ldmatrix.x4), a block's stage costs 1024
// and 512, so it is bound by the tensor cores, and the copy of the next stage has 1024 cycles (with two blocks 2048)
// to arrive, about three times the memory latency. The epilogue of a block (reads C_in, stages C in shared memory and
// writes it and its transpose along rows) overlaps with the main loop of the other block: for k = 768 some 1,500
// cycles, against 12 stages of 12,288 cycles in total.
#include "device/cuda/syrk.h"

#include "base/error.h"
#include "device/cuda/kernel.h"
#include "device/cuda/mma_tiles.h"

enum {
    TILE = SYRK_TILE,
    DEPTH = 64, // of the inner dimension per stage
    THREADS = 128,
    PART = 64, // rows and columns per warp
    MT = PART / 16,
    NT = PART / 8,
    STAGE = 2 * TILE * DEPTH, // elements of a stage: A, then B
    BYTES = 2 * STAGE * 2,
    BAND = 8, // rows of tiles that are scheduled together, for reuse in the L2 cache
};
static_assert(BYTES >= TILE * TILE * static_cast<int>(sizeof(float)), "C is staged in the memory of A and B");

struct SyrkArgs {
    const bf16 *a, *b;
    void *c;
    const void *c_in; // nullptr: beta is 0
    int m, k, tiles;  // tiles per matrix
    int64_t lda, ldb, ldc, stride_a, stride_b, stride_c;
    float alpha, beta;
    bool wide; // every row of C is 16-byte aligned
};

// Maps index t to tile (i, j), i >= j, of a matrix with `side` tile rows: in bands of BAND rows; within a band column
// by column, and last the triangle at its end.
static __device__ inline void tile_position(int t, int side, int *i, int *j) {
    int row = static_cast<int>((sqrtf(8.0f * static_cast<float>(t) + 1) - 1) / 2);
    while ((row + 1) * (row + 2) / 2 <= t) row++;
    while (row * (row + 1) / 2 > t) row--;
    int first = row / BAND * BAND, rows = min(static_cast<int>(BAND), side - first),
        rest = t - first * (first + 1) / 2;
    if (rest < first * rows) {
        *i = first + rest % rows, *j = rest / rows;
        return;
    }
    rest -= first * rows;
    for (row = 0; (row + 1) * (row + 2) / 2 <= rest;) row++;
    *i = first + row, *j = first + rest - row * (row + 1) / 2;
}

// Starts the asynchronous copy of a (ROWS, D) tile, zero-padded beyond the existing `rows` and `columns`.
template <int D, int ROWS>
static __device__ inline void load_tile(bf16 *tile, const bf16 *from, int64_t stride, int rows, int columns) {
    constexpr int CHUNKS = D / CHUNK, STEP = THREADS / CHUNKS;
    static_assert(STEP % 8 == 0 && ROWS % STEP == 0, "each thread must stay in its column");
    int row = static_cast<int>(threadIdx.x) / CHUNKS, chunk = static_cast<int>(threadIdx.x) % CHUNKS;
    int bytes = 2 * min(static_cast<int>(CHUNK), max(0, columns - chunk * CHUNK));
    bf16 *to = tile + tile_at<D>(row, chunk);
    from += row * stride + chunk * CHUNK;
#pragma unroll
    for (int i = 0; i < ROWS; i += STEP, from += STEP * stride)
        cp_async_16(to + i * D, from, row + i < rows ? bytes : 0);
}

// Loads one stage of an operand: inner indices from k on, rows (TRANSPOSED: columns) from `first` on, out of m.
template <bool TRANSPOSED>
static __device__ inline void load_operand(bf16 *tile, const bf16 *x, int64_t ld, int first, int m, int k,
                                           int depth) {
    if (TRANSPOSED) load_tile<TILE, DEPTH>(tile, x + k * ld + first, ld, depth - k, m - first);
    else load_tile<DEPTH, TILE>(tile, x + first * ld + k, ld, m - first, depth - k);
}

// Offset of element (row, col) in the staged tile of C. The 16-byte chunks are swizzled so that accesses along a row,
// and by columns of words in groups of rows of a chunk's length, are free of bank conflicts.
template <typename T> static __device__ inline int staged_at(int row, int col) {
    constexpr int PER_CHUNK = 16 / static_cast<int>(sizeof(T));
    return row * TILE + (((col / PER_CHUNK) ^ (row & 7) ^ (row >> 3 & 7)) * PER_CHUNK) + col % PER_CHUNK;
}

// Stores up to 16 / sizeof(T) elements, n of which exist: by one 16-byte store if all do and the address is aligned.
template <typename T>
static __device__ inline void store_row(T *to, const T (&x)[16 / sizeof(T)], int n, bool wide) {
    constexpr int PER_CHUNK = 16 / static_cast<int>(sizeof(T));
    if (wide && n >= PER_CHUNK) {
        uint4 bits;
        memcpy(&bits, x, sizeof bits);
        *reinterpret_cast<uint4 *>(to) = bits;
        return;
    }
#pragma unroll
    for (int e = 0; e < PER_CHUNK; e++)
        if (e < n) to[e] = x[e];
}

// Epilogue: writes alpha * sums + beta * C_in, rounded to T, to the staged tile at (row0, col0) of C.
template <typename T>
static __device__ inline void stage_sums(T *tile, const float (&sums)[MT][NT][4], const SyrkArgs &args,
                                         const T *c_in, int row0, int col0) {
    int lane = lane_index(), warp = warp_index();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = warp / 2 * PART + 16 * m + lane / 4 + 8 * i;
            const T *from = c_in + (row0 + row) * args.ldc + col0;
#pragma unroll
            for (int n = 0; n < NT; n++) {
                int col = warp % 2 * PART + 8 * n + lane % 4 * 2;
                float x[2] = {args.alpha * sums[m][n][2 * i], args.alpha * sums[m][n][2 * i + 1]};
                if (c_in != nullptr && row0 + row < args.m) {
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        if (col0 + col + e < args.m) x[e] = fmaf(args.beta, widened(from[col + e]), x[e]);
                }
                T *to = tile + staged_at<T>(row, col);
                narrow_to(to[0], x[0]), narrow_to(to[1], x[1]);
            }
        }
}

// Writes the staged tile to C at (row0, col0). `diagonal`: the part above the diagonal is mirrored from below it.
template <typename T>
static __device__ inline void store_tile(T *c, const T *tile, const SyrkArgs &args, int row0, int col0,
                                         bool diagonal) {
    constexpr int PER_CHUNK = 16 / static_cast<int>(sizeof(T)), CHUNKS = TILE / PER_CHUNK;
    for (int i = static_cast<int>(threadIdx.x); i < TILE * CHUNKS; i += THREADS) {
        int row = i / CHUNKS, col = i % CHUNKS * PER_CHUNK;
        if (row0 + row >= args.m) break;
        T x[PER_CHUNK];
        if (diagonal && col + PER_CHUNK > row) {
#pragma unroll
            for (int e = 0; e < PER_CHUNK; e++) x[e] = tile[staged_at<T>(max(row, col + e), min(row, col + e))];
        } else memcpy(x, tile + staged_at<T>(row, col), sizeof x);
        store_row<T>(c + (row0 + row) * args.ldc + col0 + col, x, args.m - col0 - col, args.wide);
    }
}

// Writes the transpose of the staged tile to C at (col0, row0); all of its columns exist, as the tile is below the
// diagonal. A thread transposes one word of each row of a group of rows; the group is in the lower bits of its lane.
template <typename T>
static __device__ inline void store_mirrored(T *c, const T *tile, const SyrkArgs &args, int row0, int col0) {
    constexpr int PER_CHUNK = 16 / static_cast<int>(sizeof(T)), GROUPS = TILE / PER_CHUNK,
                  IN_WORD = 4 / static_cast<int>(sizeof(T));
    constexpr int WORDS = TILE / IN_WORD;
    for (int i = static_cast<int>(threadIdx.x); i < GROUPS * WORDS; i += THREADS) {
        int group = i % 8 + i / 8 / WORDS * 8, word = i / 8 % WORDS, col = word * IN_WORD, row = group * PER_CHUNK;
        T x[IN_WORD][PER_CHUNK];
#pragma unroll
        for (int r = 0; r < PER_CHUNK; r++) {
            T pair[IN_WORD];
            memcpy(pair, tile + staged_at<T>(row + r, col), 4);
#pragma unroll
            for (int e = 0; e < IN_WORD; e++) x[e][r] = pair[e];
        }
#pragma unroll
        for (int e = 0; e < IN_WORD; e++)
            store_row<T>(c + (col0 + col + e) * args.ldc + row0 + row, x[e], args.m - row0 - row, args.wide);
    }
}

template <bool TRANSPOSED, typename T> __global__ void __launch_bounds__(THREADS, 2) syrk_kernel(SyrkArgs args) {
    CUDA_SHARED(bf16, stages); // two stages of A and B, each (TILE, DEPTH); TRANSPOSED: (DEPTH, TILE)
    int64_t z = blockIdx.x / static_cast<unsigned>(args.tiles);
    int i, j, warp = warp_index();
    tile_position(static_cast<int>(blockIdx.x % static_cast<unsigned>(args.tiles)), (args.m + TILE - 1) / TILE, &i,
                  &j);
    int row0 = i * TILE, col0 = j * TILE;
    const bf16 *a = args.a + z * args.stride_a, *b = args.b + z * args.stride_b;
    float sums[MT][NT][4];
    clear(sums);
    load_operand<TRANSPOSED>(stages, a, args.lda, row0, args.m, 0, args.k);
    load_operand<TRANSPOSED>(stages + TILE * DEPTH, b, args.ldb, col0, args.m, 0, args.k);
    cp_async_commit();
    bf16 *now = stages, *next = stages + STAGE;
#pragma unroll 1
    for (int k = 0; k < args.k; k += DEPTH) {
        cp_async_wait<0>();
        __syncthreads(); // this stage is complete, and the other one is free
        if (k + DEPTH < args.k) {
            load_operand<TRANSPOSED>(next, a, args.lda, row0, args.m, k + DEPTH, args.k);
            load_operand<TRANSPOSED>(next + TILE * DEPTH, b, args.ldb, col0, args.m, k + DEPTH, args.k);
            cp_async_commit();
        }
        const bf16 *b_now = now + TILE * DEPTH;
        if (TRANSPOSED) multiply_columns<DEPTH / 16>(sums, now + warp / 2 * PART, b_now + warp % 2 * PART);
        else multiply_rows<DEPTH>(sums, now + warp / 2 * PART * DEPTH, b_now + warp % 2 * PART * DEPTH);
        bf16 *swap = now;
        now = next, next = swap;
    }
    __syncthreads(); // the stages are free for C
    T *tile = reinterpret_cast<T *>(stages), *c = static_cast<T *>(args.c) + z * args.stride_c;
    stage_sums<T>(tile, sums, args, args.c_in ? static_cast<const T *>(args.c_in) + z * args.stride_c : nullptr,
                  row0, col0);
    __syncthreads(); // the tile is complete, and C_in, which may be C, has been read
    store_tile<T>(c, tile, args, row0, col0, i == j);
    if (i != j) store_mirrored<T>(c, tile, args, row0, col0);
}

bool cuda_syrk_is_supported(const Gemm *g) {
    int64_t many = g->batch > 1; // the batch stride of a single matrix is ignored
    return g->symmetric && g->type == TYPE_BF16 && g->bias == nullptr && g->transpose_a != g->transpose_b &&
           g->m == g->n && g->m > 0 && g->m < 1 << 20 && g->k > 0 && g->k < 1 << 30 &&
           aligned_16((g->lda | many * g->stride_a) * sizeof(bf16), g->a) &&
           aligned_16((g->ldb | many * g->stride_b) * sizeof(bf16), g->b);
}

static int64_t tiles_of(int64_t m) {
    int64_t side = ceil_div(m, TILE);
    return side * (side + 1) / 2;
}

// An estimate, never measured on a GPU (scripts/gpu_check.sh measures both kernels in its stage `ceilings`).
//
// sm_80 to 89 and 12x have no faster tensor-core instruction than mma.sync, so this kernel's FLOP rate is near the
// library's, and half the work takes nearly half the time once there is a tile for every SM. With fewer tiles the
// library has better occupancy, as it uses smaller tiles and split-K. Published kernels of this kind on an A100
// agree: they break even near m = 2048 for a single matrix (136 tiles) and win at 512 to 1024 in batches of 8 (80 to
// 288 tiles). The SM count is that of the largest card of a capability. For small k both are bound by writing C,
// which this kernel does in pieces.
//
// On 9.0 mma.sync reaches some 60 % of the rate of wgmma: (side + 1) / (2 side) of the work at 0.6 of the rate takes
// 0.97 of the library's time at m = 768 and 0.86 at 4096, all else being equal: too small a gain to use without a
// measurement. On 10.x the difference in rate is larger still.
bool cuda_syrk_is_faster(int capability, int64_t m, int64_t k, int64_t batch) {
    int multiprocessors = capability == 80    ? 108
                          : capability == 86  ? 84
                          : capability == 87  ? 16
                          : capability == 89  ? 142
                          : capability == 120 ? 188
                          : capability == 121 ? 48
                                              : 0;
    return multiprocessors > 0 && k >= 256 && tiles_of(m) * batch >= multiprocessors;
}

template <bool TRANSPOSED, typename T>
static void launch(cudaStream_t stream, const SyrkArgs &args, int64_t batch) {
    CUDA_CHECK(
        cudaFuncSetAttribute(syrk_kernel<TRANSPOSED, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES));
    CUDA_LAUNCH((syrk_kernel<TRANSPOSED, T>), whole_grid(args.tiles * batch), THREADS, BYTES, stream, args);
    CUDA_CHECK_LAUNCH();
}

void cuda_syrk(Stream *stream, const Gemm *g) {
    ASSERT(cuda_syrk_is_supported(g) && (g->c_type == TYPE_BF16 || g->c_type == TYPE_F32));
    int64_t batch = g->batch ? g->batch : 1, many = batch > 1;
    const void *c_in = g->beta == 0 ? nullptr : g->c_in ? g->c_in : g->c;
    SyrkArgs args = {};
    args.a = static_cast<const bf16 *>(g->a), args.b = static_cast<const bf16 *>(g->b), args.c = g->c,
    args.c_in = c_in;
    args.m = static_cast<int>(g->m), args.k = static_cast<int>(g->k), args.tiles = static_cast<int>(tiles_of(g->m));
    args.lda = g->lda, args.ldb = g->ldb, args.ldc = g->ldc;
    args.stride_a = many * g->stride_a, args.stride_b = many * g->stride_b, args.stride_c = many * g->stride_c;
    args.alpha = static_cast<float>(g->alpha), args.beta = static_cast<float>(g->beta);
    args.wide = aligned_16((g->ldc | args.stride_c) * type_size(g->c_type), g->c);
    cudaStream_t queue = cuda_stream(stream);
    if (g->c_type == TYPE_F32) {
        if (g->transpose_a) launch<true, float>(queue, args, batch);
        else launch<false, float>(queue, args, batch);
    } else {
        if (g->transpose_a) launch<true, bf16>(queue, args, batch);
        else launch<false, bf16>(queue, args, batch);
    }
}
