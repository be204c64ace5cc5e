// The kernels for one instruction set: compiled once for each, with E3_ISA as the name of the set.
#include "convolution.hpp"
#include "differences.hpp"
#include "harmonics.hpp"
#include "linear.hpp"
#include "pointwise.hpp"
#include "radial.hpp"
#include "symmetric_product.hpp"

#define E3_JOIN_(a, b) a##b
#define E3_JOIN(a, b) E3_JOIN_(a, b)

namespace E3_ISA {

template <class F> int guarded(F run) {
    try {
        return run(), 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

template <class S>
struct Kernels {
    static const S* in(const void* p) { return static_cast<const S*>(p); }
    static S* out(void* p) { return static_cast<S*>(p); }

    static int convolve(const e3_plan* p, const e3_edges* e, const e3_tensors* t, int twice, int threads) {
        return guarded([&] { E3_ISA::convolve<S>(*p, *e, *t, twice, threads); });
    }
    static int linear(const e3_linear* p, const e3_rows* r, const void* x, const void* w, void* y, int transposed, int threads) {
        return guarded([&] { Linear<S>(*p, *r, transposed).run(in(x), in(w), out(y), threads); });
    }
    static int linear_weights(const e3_linear* p, const e3_rows* r, const void* x, const void* o, void* gw, int threads) {
        return guarded([&] { Linear<S>(*p, *r, false).weights(in(x), in(o), out(gw), threads); });
    }
    static int activate(const e3_act* p, int order, const void* x, const void* o, const void* a, void* y, void* go, int64_t n, int threads) {
        return guarded([&] { E3_ISA::activate<S>(*p, order, in(x), in(o), in(a), out(y), out(go), n, threads); });
    }
    static int gate(const e3_gate* p, int order, const void* x, const void* o, const void* a, void* y, void* go, int64_t n, int threads) {
        return guarded([&] { apply_gate<S>(*p, order, in(x), in(o), in(a), out(y), out(go), n, threads); });
    }
    static int harmonics(const e3_harmonics* p, int order, const void* v, const void* o, const void* a, void* y, void* go, int64_t n, int threads) {
        return guarded([&] { E3_ISA::harmonics<S>(*p, order, in(v), in(o), in(a), out(y), out(go), n, threads); });
    }
    static int radial(const e3_radial* p, int order, const void* v, const void* o, const void* a, void* y, void* go, int64_t n, int threads) {
        return guarded([&] { E3_ISA::radial<S>(*p, order, in(v), in(o), in(a), out(y), out(go), n, threads); });
    }
    static int differences(const e3_edges* e, const void* x, const void* shift, void* y, int threads) {
        return guarded([&] { E3_ISA::differences<S>(*e, in(x), in(shift), out(y), threads); });
    }
    static int differences_transposed(const e3_edges* e, const void* o, void* x, int threads) {
        return guarded([&] { E3_ISA::differences_transposed<S>(*e, in(o), out(x), threads); });
    }
    static int symmetric_product(const e3_symmetric* p, const e3_rows* r, const e3_symmetric_tensors* t, int twice, int threads) {
        return guarded([&] { Symmetric<S>{*p, *r, *t, twice != 0}.run(threads); });
    }
    static constexpr e3_kernels table = {convolve,  linear, linear_weights, activate,               gate,
                                         harmonics, radial, differences,    differences_transposed, symmetric_product};
};

}  // namespace E3_ISA

extern "C" __attribute__((visibility("hidden"))) const e3_kernels* E3_JOIN(e3_kernels_, E3_ISA)(int float64) {
    return float64 ? &E3_ISA::Kernels<double>::table : &E3_ISA::Kernels<float>::table;
}
