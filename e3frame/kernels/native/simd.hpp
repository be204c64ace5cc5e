// Vectors of S that fill one register, by the compiler's vector extension (GCC, Clang).
#pragma once
#include <cstring>
#include <utility>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
#define E3_BYTES 64
#elif defined(__AVX__)
#define E3_BYTES 32
#else
#define E3_BYTES 16
#endif

namespace E3_ISA {

template <class S>
struct Simd {
    static constexpr int W = E3_BYTES / sizeof(S);
    typedef S V __attribute__((vector_size(E3_BYTES)));
    typedef S Unaligned __attribute__((vector_size(E3_BYTES), aligned(sizeof(S)), may_alias));
};

template <class S> using Vec = typename Simd<S>::V;
template <class S> constexpr int W = Simd<S>::W;

template <class S> inline Vec<S> load(const S* p) { return *reinterpret_cast<const typename Simd<S>::Unaligned*>(p); }
template <class S> inline void store(S* p, Vec<S> v) { *reinterpret_cast<typename Simd<S>::Unaligned*>(p) = v; }

// The first n < W elements, or all; the rest is zero, and is not touched in memory.
template <class S> inline Vec<S> load_n(const S* p, int n) {
    if (n >= W<S>) return load(p);
    Vec<S> v = {};
    std::memcpy(&v, p, n * sizeof(S));
    return v;
}
template <class S> inline void store_n(S* p, Vec<S> v, int n) {
    if (n >= W<S>) return store(p, v);
    std::memcpy(p, &v, n * sizeof(S));
}

// Lane L of the sum of two vectors that hold groups of G partial sums each: groups of G / 2 partial sums of both.
template <int WIDTH, int G> constexpr int low(int L) {
    const int half = WIDTH / 2, inside = L % half;
    return (L / half) * WIDTH + inside / (G / 2) * G + inside % (G / 2);
}
template <class S, int G, int... L> inline Vec<S> halve(Vec<S> a, Vec<S> b, std::integer_sequence<int, L...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, low<W<S>, G>(L)...) + __builtin_shufflevector(a, b, (low<W<S>, G>(L) + G / 2)...);
#else
    typedef decltype(a < b) Mask;
    return __builtin_shuffle(a, b, Mask{low<W<S>, G>(L)...}) + __builtin_shuffle(a, b, Mask{(low<W<S>, G>(L) + G / 2)...});
#endif
}
// One vector of the sums over the lanes of W vectors: a tree, W - 1 additions in all.
template <class S, int G = W<S>> inline Vec<S> sum_lanes(const Vec<S>* v) {
    if constexpr (G == 1) {
        return v[0];
    } else {
        Vec<S> next[G / 2];
        for (int n = 0; n < G / 2; n++) next[n] = halve<S, G>(v[2 * n], v[2 * n + 1], std::make_integer_sequence<int, W<S>>());
        return sum_lanes<S, G / 2>(next);
    }
}

// What threads work with is allocated for all of them beforehand: nothing may be thrown in a parallel region.
inline int this_thread() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

}  // namespace E3_ISA
