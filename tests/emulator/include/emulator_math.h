// emulator_math.h - the functions that nvcc knows without a header: arithmetic, bits, loads and stores with a hint,
// atomics. The fast approximations are computed as exactly as the CPU does.
#ifndef POLAR_CUDA_EMULATOR_MATH_H
#define POLAR_CUDA_EMULATOR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

// ---- min and max, of two numbers of different types too -------------------------------------------------------------

namespace emulator {
template <class A, class B>
using Number = typename std::enable_if<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value,
                                       typename std::common_type<A, B>::type>::type;

// As fminf and fmaxf: a NaN loses against a number.
template <class T> T least(T a, T b) {
    if constexpr (std::is_floating_point<T>::value) return isnan(a) ? b : isnan(b) ? a : b < a ? b : a;
    else return b < a ? b : a;
}
template <class T> T greatest(T a, T b) {
    if constexpr (std::is_floating_point<T>::value) return isnan(a) ? b : isnan(b) ? a : a < b ? b : a;
    else return a < b ? b : a;
}
} // namespace emulator

template <class A, class B> emulator::Number<A, B> min(A a, B b) {
    return emulator::least<emulator::Number<A, B>>(a, b);
}
template <class A, class B> emulator::Number<A, B> max(A a, B b) {
    return emulator::greatest<emulator::Number<A, B>>(a, b);
}

// ---- single precision ------------------------------------------------------------------------------------------------

inline float rsqrtf(float x) {
    return (float)(1.0 / sqrt((double)x));
}
inline double rsqrt(double x) {
    return 1.0 / sqrt(x);
}
inline float __frsqrt_rn(float x) {
    return rsqrtf(x);
}
inline float __fsqrt_rn(float x) {
    return sqrtf(x);
}
inline float __frcp_rn(float x) {
    return 1.0f / x;
}
inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fsub_rn(float a, float b) {
    return a - b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}
inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}
inline float __fdividef(float a, float b) {
    return a / b;
}
inline float fdividef(float a, float b) {
    return a / b;
}
inline float __saturatef(float x) {
    return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f;
}
inline float __expf(float x) {
    return expf(x);
}
inline float __exp10f(float x) {
    return (float)exp2((double)x * 3.321928094887362);
}
inline float __logf(float x) {
    return logf(x);
}
inline float __log2f(float x) {
    return log2f(x);
}
inline float __log10f(float x) {
    return log10f(x);
}
inline float __powf(float x, float y) {
    return powf(x, y);
}
inline float __sinf(float x) {
    return sinf(x);
}
inline float __cosf(float x) {
    return cosf(x);
}
inline float __tanf(float x) {
    return tanf(x);
}
inline float __tanhf(float x) {
    return tanhf(x);
}
inline void __sincosf(float x, float *sine, float *cosine) {
    *sine = sinf(x), *cosine = cosf(x);
}

// ---- double precision ------------------------------------------------------------------------------------------------

inline double __dadd_rn(double a, double b) {
    return a + b;
}
inline double __dsub_rn(double a, double b) {
    return a - b;
}
inline double __dmul_rn(double a, double b) {
    return a * b;
}
inline double __ddiv_rn(double a, double b) {
    return a / b;
}
inline double __dsqrt_rn(double x) {
    return sqrt(x);
}
inline double __drcp_rn(double x) {
    return 1 / x;
}
inline double __fma_rn(double a, double b, double c) {
    return fma(a, b, c);
}

// ---- conversions -----------------------------------------------------------------------------------------------------

namespace emulator {
template <class To, class From> To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits in another type");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
template <class To, class From> To to_integer(From x) { // saturating, NaN to 0, as the hardware does
    if (isnan(x)) return 0;
    const double least = (double)(std::is_signed<To>::value ? (To)1 << (8 * sizeof(To) - 1) : 0);
    const double above = ldexp(1.0, 8 * (int)sizeof(To) - (std::is_signed<To>::value ? 1 : 0));
    if ((double)x < least) return (To)least;
    return (double)x >= above ? (To) ~((To)(std::is_signed<To>::value ? (To)1 << (8 * sizeof(To) - 1) : 0)) : (To)x;
}
} // namespace emulator

inline unsigned __float_as_uint(float x) {
    return emulator::bits<unsigned>(x);
}
inline int __float_as_int(float x) {
    return emulator::bits<int>(x);
}
inline float __uint_as_float(unsigned x) {
    return emulator::bits<float>(x);
}
inline float __int_as_float(int x) {
    return emulator::bits<float>(x);
}
inline long long __double_as_longlong(double x) {
    return emulator::bits<long long>(x);
}
inline double __longlong_as_double(long long x) {
    return emulator::bits<double>(x);
}
inline float __double2float_rn(double x) {
    return (float)x;
}
inline int __float2int_rn(float x) {
    return emulator::to_integer<int>(rintf(x));
}
inline int __float2int_rz(float x) {
    return emulator::to_integer<int>(truncf(x));
}
inline int __float2int_rd(float x) {
    return emulator::to_integer<int>(floorf(x));
}
inline int __float2int_ru(float x) {
    return emulator::to_integer<int>(ceilf(x));
}
inline unsigned __float2uint_rn(float x) {
    return emulator::to_integer<unsigned>(rintf(x));
}
inline float __int2float_rn(int x) {
    return (float)x;
}
inline float __uint2float_rn(unsigned x) {
    return (float)x;
}
inline float __ll2float_rn(long long x) {
    return (float)x;
}
inline double __ll2double_rn(long long x) {
    return (double)x;
}
inline double __int2double_rn(int x) {
    return x;
}

// ---- bits and integers -----------------------------------------------------------------------------------------------

inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
    return __builtin_popcountll(x);
}
inline int __clz(int x) {
    return x ? __builtin_clz((unsigned)x) : 32;
}
inline int __clzll(long long x) {
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
    return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    uint64_t both = (uint64_t)y << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned choice = selector >> (4 * i) & 15, byte = (unsigned)(both >> (8 * (choice & 7))) & 255;
        if (choice & 8) byte = byte & 128 ? 255 : 0; // the sign of the byte
        result |= byte << (8 * i);
    }
    return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return (unsigned)(((uint64_t)high << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((uint64_t)a * b >> 32);
}
inline int __mulhi(int a, int b) {
    return (int)((int64_t)a * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

// ---- loads and stores with a hint, fences ----------------------------------------------------------------------------

#define CUDA_EMULATOR_LOAD(name)                                                                                   \
    template <class T> T name(const T *from) {                                                                     \
        return *from;                                                                                              \
    }
#define CUDA_EMULATOR_STORE(name)                                                                                  \
    template <class T> void name(T *to, T value) {                                                                 \
        *to = value;                                                                                               \
    }
CUDA_EMULATOR_LOAD(__ldg)
CUDA_EMULATOR_LOAD(__ldca)
CUDA_EMULATOR_LOAD(__ldcg)
CUDA_EMULATOR_LOAD(__ldcs)
CUDA_EMULATOR_LOAD(__ldlu)
CUDA_EMULATOR_LOAD(__ldcv)
CUDA_EMULATOR_STORE(__stwb)
CUDA_EMULATOR_STORE(__stcg)
CUDA_EMULATOR_STORE(__stcs)
CUDA_EMULATOR_STORE(__stwt)
#undef CUDA_EMULATOR_LOAD
#undef CUDA_EMULATOR_STORE

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline size_t __cvta_generic_to_global(const void *p) {
    return (size_t)p;
}

// ---- atomics: threads take turns, so that every operation is one ------------------------------------------------------

namespace emulator {
template <class T> struct Same { typedef T type; };
template <class T> T exchange(T *at, T value) {
    T old = *at;
    *at = value;
    return old;
}
} // namespace emulator

// The second argument takes the type of the first.
#define CUDA_EMULATOR_ATOMIC(name, expression)                                                                     \
    template <class T> T name(T *at, typename emulator::Same<T>::type value) {                                     \
        return emulator::exchange<T>(at, (T)(expression));                                                         \
    }
CUDA_EMULATOR_ATOMIC(atomicAdd, *at + value)
CUDA_EMULATOR_ATOMIC(atomicSub, *at - value)
CUDA_EMULATOR_ATOMIC(atomicExch, value)
CUDA_EMULATOR_ATOMIC(atomicMin, value < *at ? value : *at)
CUDA_EMULATOR_ATOMIC(atomicMax, *at < value ? value : *at)
CUDA_EMULATOR_ATOMIC(atomicAnd, *at &value)
CUDA_EMULATOR_ATOMIC(atomicOr, *at | value)
CUDA_EMULATOR_ATOMIC(atomicXor, *at ^ value)
CUDA_EMULATOR_ATOMIC(atomicInc, *at >= value ? 0 : *at + 1)
#undef CUDA_EMULATOR_ATOMIC
template <class T>
T atomicCAS(T *at, typename emulator::Same<T>::type expected, typename emulator::Same<T>::type value) {
    return emulator::exchange<T>(at, *at == expected ? value : *at);
}

#endif
