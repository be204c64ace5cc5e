// The C interface: which instruction set to use, and how edges are grouped.
#include <algorithm>

#include "plan.hpp"

extern "C" {
const e3_kernels* e3_kernels_base(int float64);
#ifdef E3_X86
const e3_kernels* e3_kernels_avx2(int float64);
const e3_kernels* e3_kernels_avx512(int float64);
#endif

#define E3_API __attribute__((visibility("default")))

// To be raised with every change of the structures and functions in plan.hpp.
E3_API int e3_interface() { return 2; }

// The best instruction set of this processor: 0 base, 1 avx2, 2 avx512.
E3_API int e3_best_isa() {
#ifdef E3_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

// The functions for an instruction set, float32 or float64.
E3_API const e3_kernels* e3_kernels_for(int isa, int float64) {
#ifdef E3_X86
    if (isa >= 2) return e3_kernels_avx512(float64);
    if (isa == 1) return e3_kernels_avx2(float64);
#else
    (void)isa;
#endif
    return e3_kernels_base(float64);
}

// Groups edges (or rows) by node, in their order: those of node n are order[ptr[n]] ... order[ptr[n + 1] - 1].
// Returns the first edge whose node is out of range, or -1.
E3_API int64_t e3_group(const int64_t* node, int64_t num_edges, int64_t num_nodes, int64_t* ptr, int64_t* order) {
    std::fill_n(ptr, num_nodes + 1, int64_t(0));
    for (int64_t e = 0; e < num_edges; e++) {
        if (node[e] < 0 || node[e] >= num_nodes) return e;
        ptr[node[e] + 1]++;
    }
    for (int64_t n = 0; n < num_nodes; n++) ptr[n + 1] += ptr[n];
    for (int64_t e = 0; e < num_edges; e++) order[ptr[node[e]]++] = e;
    for (int64_t n = num_nodes; n > 0; n--) ptr[n] = ptr[n - 1];
    ptr[0] = 0;
    return -1;
}
}
