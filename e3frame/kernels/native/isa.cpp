// The kernels for one instruction set: compiled once for each, with E3_ISA as the name of the set.
#include "convolution.hpp"

#define E3_JOIN_(a, b) a##b
#define E3_JOIN(a, b) E3_JOIN_(a, b)

// which: bit 0 backward, bit 1 twice differentiated, bit 2 float64. Returns 0, or 1 if memory ran out.
extern "C" __attribute__((visibility("hidden"))) int E3_JOIN(e3_convolve_, E3_ISA)(
    const e3_plan* plan, const e3_edges* edges, const e3_tensors* tensors, int which, int threads) {
    try {
        const bool twice = which & 2;
        if (which & 4)
            (which & 1 ? E3_ISA::backward<double> : E3_ISA::forward<double>)(*plan, *edges, *tensors, twice, threads);
        else
            (which & 1 ? E3_ISA::backward<float> : E3_ISA::forward<float>)(*plan, *edges, *tensors, twice, threads);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
