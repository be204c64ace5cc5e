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

// Lanes of two vectors, by their places among the lanes of both.
template <class S, int... PLACES> inline Vec<S> shuffle(Vec<S> a, Vec<S> b) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, PLACES...);
#else
    typedef decltype(a < b) Mask;
    return __builtin_shuffle(a, b, Mask{PLACES...});
#endif
}

// Lane L of the sum of two vectors that hold groups of G partial sums each: groups of G / 2 partial sums of both.
template <int WIDTH, int G> constexpr int low(int L) {
    const int half = WIDTH / 2, inside = L % half;
    return (L / half) * WIDTH + inside / (G / 2) * G + inside % (G / 2);
}
template <class S, int G, int... L> inline Vec<S> halve(Vec<S> a, Vec<S> b, std::integer_sequence<int, L...>) {
    return shuffle<S, low<W<S>, G>(L)...>(a, b) + shuffle<S, (low<W<S>, G>(L) + G / 2)...>(a, b);
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

// Copies of D components each, W of them: between one after another in memory, (u, i), and D vectors of copies, (i, u).
//
// The place among the lanes of all vectors that are read of lane L of the vector `to`.
template <int WIDTH, int D, bool APART> constexpr int place(int to, int L) {
    const int at = to * WIDTH + L;
    return APART ? L * D + to : at % D * WIDTH + at / D;
}
// Of what is held in `a`, the lanes that have been found in vectors before N, and of vector N = `b` what stands there.
template <int WIDTH, int D, bool APART, int TO, int N> constexpr int found(int L) {
    const int from = place<WIDTH, D, APART>(TO, L);
    return from / WIDTH == N ? WIDTH + from % WIDTH : N == 1 && from < WIDTH ? from : L;
}
template <class S, int D, bool APART, int TO, int N, int... L>
inline Vec<S> collect(const Vec<S>* v, Vec<S> a, std::integer_sequence<int, L...> lanes) {
    if constexpr (N == D) return a;
    else return collect<S, D, APART, TO, N + 1>(v, shuffle<S, found<W<S>, D, APART, TO, N>(L)...>(a, v[N]), lanes);
}
template <class S, int D, bool APART, int... TO>
inline void transpose(const S* from, int step_from, S* to, int step_to, std::integer_sequence<int, TO...>) {
    Vec<S> v[D];
    for (int n = 0; n < D; n++) v[n] = load(from + n * step_from);
    (store(to + TO * step_to, collect<S, D, APART, TO, 1>(v, v[0], std::make_integer_sequence<int, W<S>>())), ...);
}
// As many of `count` copies as fill whole vectors; the others are left.
template <class S, int D, bool APART> inline int transpose(const S* from, S* to, int step, int count) {
    int u = 0;
    for (; u + W<S> <= count; u += W<S>)
        if (APART) transpose<S, D, true>(from + u * D, W<S>, to + u, step, std::make_integer_sequence<int, D>());
        else transpose<S, D, false>(from + u, step, to + u * D, W<S>, std::make_integer_sequence<int, D>());
    return u;
}
template <class S, bool APART> inline int transpose(const S* from, S* to, int step, int count, int dim) {
    switch (dim) {
        case 1: return transpose<S, 1, APART>(from, to, step, count);
        case 3: return transpose<S, 3, APART>(from, to, step, count);
        case 5: return transpose<S, 5, APART>(from, to, step, count);
        case 7: return transpose<S, 7, APART>(from, to, step, count);
        default: return 0;
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
