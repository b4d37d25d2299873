// base/integers.h - integer helpers for sizes and indices, for C and CUDA.
#ifndef POLAR_BASE_INTEGERS_H
#define POLAR_BASE_INTEGERS_H

#include <stdint.h>

#ifdef __cplusplus
#define INTEGERS_CONSTEXPR constexpr
#else
#define INTEGERS_CONSTEXPR
#endif

static inline INTEGERS_CONSTEXPR int min_int(int x, int y) {
    return x < y ? x : y;
}

static inline INTEGERS_CONSTEXPR int64_t min_i64(int64_t x, int64_t y) {
    return x < y ? x : y;
}

static inline INTEGERS_CONSTEXPR int64_t max_i64(int64_t x, int64_t y) {
    return x > y ? x : y;
}

// x / y rounded up, for x >= 0 and y > 0.
static inline INTEGERS_CONSTEXPR int64_t ceil_div(int64_t x, int64_t y) {
    return (x + y - 1) / y;
}

// The smallest multiple of y that is at least x.
static inline INTEGERS_CONSTEXPR int64_t round_up(int64_t x, int64_t y) {
    return ceil_div(x, y) * y;
}

#endif
