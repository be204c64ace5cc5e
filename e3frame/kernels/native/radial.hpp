// Radial functions b_n(r) = e_n(r) u(r) of edge vectors, with two derivatives by r.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "plan.hpp"
#include "simd.hpp"

namespace E3_ISA {

// A function of r and its derivatives.
template <class S> struct Jet {
    S f, f1, f2;
};
template <class S> inline Jet<S> operator*(const Jet<S>& x, const Jet<S>& y) {
    return {x.f * y.f, x.f1 * y.f + x.f * y.f1, x.f2 * y.f + 2 * x.f1 * y.f1 + x.f * y.f2};
}

// k sin(t)/t with t = k r, given sin t and cos t; near zero by its series, where the quotients would cancel.
template <class S> inline Jet<S> sine_over(S r, S k, S sine, S cosine) {
    const S t = k * r;
    if (t < S(1)) {
        const S z = t * t;
        S f = 0, f1 = 0, f2 = 0, c = 1;  // c = (-1)^m / (2m + 1)!
        S power = 1;                     // z^(m - 1)
        for (int m = 0; m < 9; m++) {
            const S n = S(2 * m);
            if (m == 0) f = 1;
            else f += c * power * z, f1 += n * c * power * t, f2 += n * (n - 1) * c * power, power *= z;
            c *= -S(1) / ((n + 2) * (n + 3));
        }
        return {k * f, k * k * f1, k * k * k * f2};
    }
    const S f = sine / r, f1 = (k * cosine - f) / r;
    return {f, f1, (-k * k * sine - 2 * f1) / r};
}

template <class S> inline Jet<S> envelope(const e3_radial& plan, S r) {
    const S a = S(1 / plan.r_max), x = r * a;
    if (x >= 1) return {0, 0, 0};
    if (plan.envelope == 1) {  // (cos(π x) + 1) / 2
        const S w = S(M_PI) * a, sine = std::sin(S(M_PI_2) * (1 - x));
        return {sine * sine, S(-0.5) * w * std::sin(w * r), S(-0.5) * w * w * std::cos(w * r)};
    }
    // (1 - x)³ Σ_(k<p) (k + 1)(k + 2)/2 x^k
    Jet<S> series = {0, 0, 0};
    for (int k = plan.p - 1; k >= 0; k--)
        series = {series.f * x + S((k + 1) * (k + 2) / 2), series.f1 * x + series.f, series.f2 * x + 2 * series.f1};
    const S y = 1 - x;
    const Jet<S> u = Jet<S>{y * y * y, -3 * y * y, 6 * y} * series;
    return {u.f, u.f1 * a, u.f2 * a * a};
}

template <class S> inline void basis(const e3_radial& plan, S r, const Jet<S>& u, Jet<S>* b) {
    if (plan.basis == 1) {  // exp(-(x - n)² / 2), x = r / width
        const S a = S(std::max(plan.num - 1, 1) / plan.r_max);
        for (int n = 0; n < plan.num; n++) {
            const S x = r * a - n, f = std::exp(S(-0.5) * x * x);
            b[n] = Jet<S>{f, -a * x * f, a * a * (x * x - 1) * f} * u;
        }
        return;
    }
    const S k = S(M_PI / plan.r_max), c = S(std::sqrt(2 / plan.r_max));
    const Jet<S> scaled = {c * u.f, c * u.f1, c * u.f2};
    for (int n = 1; n <= plan.num; n++) b[n - 1] = sine_over(r, n * k, std::sin(n * k * r), std::cos(n * k * r)) * scaled;
}

// Orders as for the harmonics. A zero vector has derivatives of zero.
template <class S>
void radial(const e3_radial& plan, int order, const S* v, const S* o, const S* a, S* out, S* go, int64_t count, int threads) {
    const int num = plan.num;
    const S smallest = std::pow(std::numeric_limits<S>::min(), S(2) / 3);  // below it, second derivatives could overflow
#pragma omp parallel num_threads(threads) if (threads > 1 && count > 128)
    {
        std::vector<Jet<S>> b(num);
#pragma omp for schedule(static)
        for (int64_t e = 0; e < count; e++) {
            const S* x = v + 3 * e;
            const S r = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
            basis(plan, r, envelope(plan, r), b.data());
            if (order == 0) {
                for (int n = 0; n < num; n++) out[e * num + n] = b[n].f;
                continue;
            }
            const bool keep = !(r * r <= smallest);
            const S inverse = keep ? 1 / r : S(0);
            S first = 0, second = 0;
            for (int n = 0; n < num; n++) first += o[e * num + n] * b[n].f1, second += o[e * num + n] * b[n].f2;
            if (order == 1) {
                for (int i = 0; i < 3; i++) out[3 * e + i] = first * inverse * x[i];
                continue;
            }
            const S* d = a + 3 * e;
            const S along = (d[0] * x[0] + d[1] * x[1] + d[2] * x[2]) * inverse;
            for (int n = 0; n < num; n++) go[e * num + n] = b[n].f1 * along;
            for (int i = 0; i < 3; i++)
                out[3 * e + i] = second * along * inverse * x[i] + first * inverse * (d[i] - along * inverse * x[i]);
        }
    }
}

}  // namespace E3_ISA
