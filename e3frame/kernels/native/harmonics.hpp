// Spherical harmonics of edges, one edge a lane, by Y^(l+1) = A (Y^l ⊗ x), with first and second derivatives.
//
// Second derivatives are the first ones in dual numbers, v + ε a with ε² = 0.
#pragma once
#include <limits>
#include <vector>

#include "convolution.hpp"

namespace E3_ISA {

template <class S>
struct Dual {
    Vec<S> a, b;
    Dual() : a{}, b{} {}
    Dual(Vec<S> a) : a(a), b{} {}
    Dual(Vec<S> a, Vec<S> b) : a(a), b(b) {}
    Dual& operator+=(const Dual& y) { return a += y.a, b += y.b, *this; }
};
template <class S> inline Dual<S> operator+(const Dual<S>& x, const Dual<S>& y) { return {x.a + y.a, x.b + y.b}; }
template <class S> inline Dual<S> operator-(const Dual<S>& x, const Dual<S>& y) { return {x.a - y.a, x.b - y.b}; }
template <class S> inline Dual<S> operator*(const Dual<S>& x, const Dual<S>& y) { return {x.a * y.a, x.a * y.b + x.b * y.a}; }
template <class S> inline Dual<S> operator*(S c, const Dual<S>& x) { return {c * x.a, c * x.b}; }
template <class S> inline Dual<S> inverse_root(const Dual<S>& x, Vec<S> root) {
    const Vec<S> value = S(1) / root;
    return {value, S(-0.5) * value * value * value * x.b};
}
template <class S> inline Vec<S> inverse_root(Vec<S>, Vec<S> root) { return S(1) / root; }
template <class S> inline Vec<S> real(Vec<S> x) { return x; }
template <class S> inline Vec<S> real(const Dual<S>& x) { return x.a; }

template <class S, class T>
struct Harmonics {
    using Value = T;
    const e3_harmonics& plan;
    std::vector<T> y, gy;  // all degrees from 0 on
    T x[3], scale;

    explicit Harmonics(const e3_harmonics& plan) : plan(plan), y((plan.lmax + 1) * (plan.lmax + 1)), gy(y.size()) {}

    // Y of v, whose zero lanes are marked by keep = 0: their direction is zero.
    void forward(const T* v, Vec<S> keep) {
        scale = T(Vec<S>{} + S(1));
        for (int i = 0; i < 3; i++) x[i] = v[i];
        if (plan.normalize) {
            const T square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
            Vec<S> root;
            for (int l = 0; l < W<S>; l++) root[l] = keep[l] ? std::sqrt(real<S>(square)[l]) : S(1);
            scale = T(keep) * inverse_root<S>(square, root);
            for (int i = 0; i < 3; i++) x[i] = v[i] * scale;
        }
        for (T& value : y) value = T(Vec<S>{});
        y[0] = T(Vec<S>{} + S(plan.constant));
        if (plan.lmax > 0)
            for (int i = 0; i < 3; i++) y[1 + i] = S(plan.linear) * x[i];
        for (const e3_step* c = plan.steps; c < plan.steps + plan.num_steps; c++) y[c->out] += S(c->c) * (y[c->in] * x[c->j]);
    }

    // The gradient by v, given gy; spends gy.
    void backward(T* gv) {
        T gx[3] = {T(Vec<S>{}), T(Vec<S>{}), T(Vec<S>{})};
        for (const e3_step* c = plan.steps + plan.num_steps - 1; c >= plan.steps; c--) {
            const T g = S(c->c) * gy[c->out];
            gy[c->in] += g * x[c->j];
            gx[c->j] += g * y[c->in];
        }
        if (plan.lmax > 0)
            for (int i = 0; i < 3; i++) gx[i] += S(plan.linear) * gy[1 + i];
        T along = T(Vec<S>{});
        if (plan.normalize) along = x[0] * gx[0] + x[1] * gx[1] + x[2] * gx[2];
        for (int i = 0; i < 3; i++) gv[i] = plan.normalize ? scale * (gx[i] - x[i] * along) : gx[i];
    }
};

// order 0: out = Y(v); 1: out = gv of o; 2: out = the gradient by v of a · gv, go = that by o.
template <class S>
void harmonics(const e3_harmonics& plan, int order, const S* v, const S* o, const S* a, S* out, S* go, int64_t count, int threads) {
    constexpr int N = W<S>;
    const S smallest = std::min(std::pow(std::numeric_limits<S>::min(), S(0.25)), S(1e-9));
    const int64_t blocks = (count + N - 1) / N;
#pragma omp parallel num_threads(threads) if (threads > 1 && blocks > 8)
    {
        Harmonics<S, Vec<S>> plain(plan);
        Harmonics<S, Dual<S>> twice(plan);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t at = b * N;
            const int n = static_cast<int>(std::min<int64_t>(N, count - at));
            Vec<S> x[3] = {}, direction[3] = {}, keep = {}, unit = {};
            for (int e = 0; e < n; e++) {
                S size = 0;
                for (int i = 0; i < 3; i++) {
                    const S part = std::abs(v[(at + e) * 3 + i]);
                    if (!(part <= size)) size = part;  // true for NaN, which thus goes on
                }
                keep[e] = size <= smallest ? 0 : 1;
                // Directions do not depend on a constant factor: this one keeps every power in range.
                unit[e] = plan.normalize && keep[e] ? 1 / size : 1;
                for (int i = 0; i < 3; i++) {
                    x[i][e] = v[(at + e) * 3 + i] * unit[e];
                    if (order == 2) direction[i][e] = a[(at + e) * 3 + i] * unit[e];
                }
            }
            const auto read = [&](auto& h) {
                std::fill(h.gy.begin(), h.gy.end(), typename std::decay_t<decltype(h)>::Value{});
                for (int k = 0; k < plan.dim_out; k++) {
                    Vec<S> g = {};
                    for (int e = 0; e < n; e++) g[e] = o[(at + e) * plan.dim_out + k];
                    h.gy[plan.chosen[k]] += g;
                }
            };
            if (order < 2) {
                plain.forward(x, keep);
                Vec<S> gv[3];
                if (order == 1) read(plain), plain.backward(gv);
                const int width = order ? 3 : plan.dim_out;
                for (int k = 0; k < width; k++)
                    for (int e = 0; e < n; e++) out[(at + e) * width + k] = order ? gv[k][e] * unit[e] : plain.y[plan.chosen[k]][e];
            } else {
                const Dual<S> moved[3] = {{x[0], direction[0]}, {x[1], direction[1]}, {x[2], direction[2]}};
                Dual<S> gv[3];
                twice.forward(moved, keep);
                read(twice);
                twice.backward(gv);
                for (int e = 0; e < n; e++) {
                    for (int k = 0; k < plan.dim_out; k++) go[(at + e) * plan.dim_out + k] = twice.y[plan.chosen[k]].b[e];
                    for (int i = 0; i < 3; i++) out[(at + e) * 3 + i] = gv[i].b[e] * unit[e];
                }
            }
        }
    }
}

}  // namespace E3_ISA
