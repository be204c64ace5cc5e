// The C interface: which instruction set to use, and how edges are grouped.
#include <algorithm>

#include "plan.hpp"

using Convolve = int(const e3_plan*, const e3_edges*, const e3_tensors*, int, int);
extern "C" {
Convolve e3_convolve_base;
#ifdef E3_X86
Convolve e3_convolve_avx2, e3_convolve_avx512;
#endif

#define E3_API __attribute__((visibility("default")))

// To be raised with every change of the structures in plan.hpp.
E3_API int e3_interface() { return 1; }

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

// which: bit 0 backward, bit 1 twice differentiated, bit 2 float64. Returns 0, or 1 if memory ran out.
E3_API int e3_convolve(const e3_plan* plan, const e3_edges* edges, const e3_tensors* tensors, int which, int threads,
                       int isa) {
#ifdef E3_X86
    if (isa >= 2) return e3_convolve_avx512(plan, edges, tensors, which, threads);
    if (isa == 1) return e3_convolve_avx2(plan, edges, tensors, which, threads);
#else
    (void)isa;
#endif
    return e3_convolve_base(plan, edges, tensors, which, threads);
}

// Groups edges by node, in their order: those of node n are order[ptr[n]] ... order[ptr[n + 1] - 1].
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
