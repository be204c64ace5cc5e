// The C interface: which instruction set to use, and how edges are grouped.
#include <algorithm>
#include <vector>

#include "plan.hpp"

namespace {

template <class S> bool opposite(const S* a, const S* b) { return a[0] == -b[0] && a[1] == -b[1] && a[2] == -b[2]; }

// The reverse of an edge s -> t is among the edges into s, which have their rows if s < t.
template <class S> int64_t pairs(const e3_edges& edges, const S* shift, int64_t* rows, int64_t* firsts) {
    std::vector<int64_t> sources(edges.num_edges);
    for (int64_t at = 0; at < edges.num_edges; at++) sources[at] = edges.source[edges.by_target[at]];
    int64_t count = 0;
    for (int64_t at = 0; at < edges.num_edges; at++) {
        const int64_t edge = edges.by_target[at], source = edges.source[edge], target = edges.target[edge];
        int64_t row = -1;
        if (source <= target && source < edges.num_targets) {
            const int64_t end = std::min(edges.target_ptr[source + 1], at);
            for (int64_t other = edges.target_ptr[source]; other < end && row < 0; other++)
                if (sources[other] == target && opposite(shift + 3 * edge, shift + 3 * edges.by_target[other]))
                    row = rows[edges.by_target[other]];
        }
        if (row < 0) firsts[row = count++] = edge;
        rows[edge] = row;
    }
    return count;
}

}  // namespace

extern "C" {
const e3_kernels* e3_kernels_base(int float64);
#ifdef E3_X86
const e3_kernels* e3_kernels_avx2(int float64);
const e3_kernels* e3_kernels_avx512(int float64);
#endif

#define E3_API __attribute__((visibility("default")))

// To be raised with every change of the structures and functions in plan.hpp.
E3_API int e3_interface() { return 6; }

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

// Each edge and its reverse, whose shift is the negative, get one row, numbered in the order by target: the row of each
// edge, and the first edge of each row. Returns the number of rows.
E3_API int64_t e3_pairs(const e3_edges* edges, const void* shift, int float64, int64_t* rows, int64_t* firsts) {
    return float64 ? pairs(*edges, static_cast<const double*>(shift), rows, firsts)
                   : pairs(*edges, static_cast<const float*>(shift), rows, firsts);
}
}
