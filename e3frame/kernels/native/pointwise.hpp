// Activations with two derivatives, and what applies them: elementwise, and the gate.
#pragma once
#include <cstdint>

#include "plan.hpp"
#include "simd.hpp"

namespace E3_ISA {

template <class S> struct Exponent;
template <> struct Exponent<float> {
    typedef int32_t Int;
    static constexpr float LIMIT = 87.0f, MAGIC = 12582912.0f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
    static constexpr int BIAS = 127, SHIFT = 23;
};
template <> struct Exponent<double> {
    typedef int64_t Int;
    static constexpr double LIMIT = 700.0, MAGIC = 6755399441055744.0, LN2_HIGH = 6.93145751953125e-1, LN2_LOW = 1.42860682030941723212e-6;
    static constexpr int BIAS = 1023, SHIFT = 52;
};

// e^r for |r| <= ln 2 / 2: the approximations of the Cephes library, within one unit in the last place.
inline Vec<float> exp_small(Vec<float> r) {
    Vec<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r + 1.0f;
}
inline Vec<double> exp_small(Vec<double> r) {
    const Vec<double> z = r * r;
    const Vec<double> p = r * ((z * 1.26177193074810590878e-4 + 3.02994407707441961300e-2) * z + 9.99999999999999999910e-1);
    const Vec<double> q = ((z * 3.00198505138664455042e-6 + 2.52448340349684104192e-3) * z + 2.27265548208155028766e-1) * z + 2.0;
    return 2.0 * (p / (q - p)) + 1.0;
}
template <class S> inline Vec<S> exp(Vec<S> x) {
    using E = Exponent<S>;
    typedef typename E::Int Ints __attribute__((vector_size(E3_BYTES)));
    const Vec<S> top = Vec<S>{} + E::LIMIT, bottom = -top;
    x = x > top ? top : x;
    x = x < bottom ? bottom : x;
    const Vec<S> n = (x * S(1.44269504088896341) + E::MAGIC) - E::MAGIC;
    const Vec<S> r = (x - n * E::LN2_HIGH) - n * E::LN2_LOW;
    const Ints bits = (__builtin_convertvector(n, Ints) + E::BIAS) << E::SHIFT;
    Vec<S> scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return exp_small(r) * scale;
}

// c φ(a x) and its derivatives by x.
template <class S>
struct Act {
    Vec<S> f, f1, f2;
    Act(Vec<S> x, const e3_act& act) {
        const S a = S(act.a), c = S(act.c);
        const Vec<S> t = a * x;
        if (act.kind == 0) {
            f = c * t, f1 = Vec<S>{} + c * a, f2 = Vec<S>{};
            return;
        }
        const Vec<S> s = S(1) / (S(1) + exp<S>(-t)), slope = s * (S(1) - s);
        if (act.kind == 1) f = c * s, f1 = (c * a) * slope, f2 = (c * a * a) * slope * (S(1) - 2 * s);
        else f = c * (t * s), f1 = (c * a) * (s + t * slope), f2 = (c * a * a) * slope * (S(2) + t * (S(1) - 2 * s));
    }
};

// order 0: out = f(x); 1: out = o f'(x); 2: go = a f'(x), out = a o f''(x).
template <class S>
void activate(const e3_act& act, int order, const S* x, const S* o, const S* a, S* out, S* go, int64_t count, int threads) {
    const int64_t blocks = (count + W<S> - 1) / W<S>;
#pragma omp parallel for num_threads(threads) if (threads > 1 && blocks > 1024) schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * W<S>;
        const int n = static_cast<int>(count - at < W<S> ? count - at : W<S>);
        const Act<S> f(load_n(x + at, n), act);
        if (order == 0) {
            store_n(out + at, f.f, n);
        } else if (order == 1) {
            store_n(out + at, load_n(o + at, n) * f.f1, n);
        } else {
            const Vec<S> v = load_n(a + at, n);
            store_n(go + at, v * f.f1, n);
            store_n(out + at, v * load_n(o + at, n) * f.f2, n);
        }
    }
}

// The gate of one row: scalars f(x), and gated f(g_u) x_ui. Orders as above.
template <class S>
void gate_row(const e3_gate& gate, int order, const S* x, const S* o, const S* a, S* out, S* go) {
    for (int k = 0; k < gate.num_scalars; k++) {
        const e3_scalars& b = gate.scalars[k];
        for (int u = 0; u < b.mul; u += W<S>) {
            const int n = b.mul - u < W<S> ? b.mul - u : W<S>;
            const S* at = x + b.in + u;
            const Act<S> f(load_n(at, n), b.act);
            if (order == 0) store_n(out + b.out + u, f.f, n);
            else if (order == 1) store_n(out + b.in + u, load_n(o + b.out + u, n) * f.f1, n);
            else {
                const Vec<S> v = load_n(a + b.in + u, n);
                store_n(go + b.out + u, v * f.f1, n);
                store_n(out + b.in + u, v * load_n(o + b.out + u, n) * f.f2, n);
            }
        }
    }
    for (int k = 0; k < gate.num_gated; k++) {
        const e3_gated& b = gate.gated[k];
        for (int u = 0; u < b.mul; u += W<S>) {
            const int n = b.mul - u < W<S> ? b.mul - u : W<S>;
            const Act<S> f(load_n(x + b.gate + u, n), b.act);
            Vec<S> gradient = {};
            for (int l = 0; l < n; l++) {
                const int from = b.in + (u + l) * b.dim, to = b.out + (u + l) * b.dim;
                const S f0 = f.f[l], f1 = f.f1[l], f2 = f.f2[l];
                S sum = 0, twice = 0;
                for (int i = 0; i < b.dim; i++) {
                    if (order == 0) {
                        out[to + i] = f0 * x[from + i];
                    } else if (order == 1) {
                        out[from + i] = f0 * o[to + i];
                        sum += o[to + i] * x[from + i];
                    } else {
                        const S ag = a[b.gate + u + l];
                        go[to + i] = f0 * a[from + i] + ag * f1 * x[from + i];
                        out[from + i] = ag * f1 * o[to + i];
                        sum += a[from + i] * o[to + i];
                        twice += o[to + i] * x[from + i];
                    }
                }
                gradient[l] = order == 1 ? f1 * sum : order == 2 ? f1 * sum + a[b.gate + u + l] * f2 * twice : S(0);
            }
            if (order) store_n(out + b.gate + u, gradient, n);
        }
    }
}

template <class S>
void apply_gate(const e3_gate& gate, int order, const S* x, const S* o, const S* a, S* out, S* go, int64_t rows, int threads) {
    const int64_t in = gate.dim_in, to = gate.dim_out, step = order ? in : to;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows > 32) schedule(static)
    for (int64_t n = 0; n < rows; n++)
        gate_row(gate, order, x + n * in, o + n * to, a + n * in, out + n * step, go + n * to);
}

}  // namespace E3_ISA
