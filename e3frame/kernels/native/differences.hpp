// Differences of rows of three numbers along edges, and their transpose.
#pragma once
#include "plan.hpp"

namespace E3_ISA {

// out[e] = x[source] - x[target] (+ shift[e])
template <class S> void differences(const e3_edges& edges, const S* x, const S* shift, S* out, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && edges.num_edges > 4096) schedule(static)
    for (int64_t e = 0; e < edges.num_edges; e++) {
        const S *a = x + 3 * edges.source[e], *b = x + 3 * edges.target[e];
        for (int i = 0; i < 3; i++) out[3 * e + i] = a[i] - b[i];
        if (shift)
            for (int i = 0; i < 3; i++) out[3 * e + i] += shift[3 * e + i];
    }
}

// x[n] = Σ o[e] over the edges from n, less those into n.
template <class S> void differences_transposed(const e3_edges& edges, const S* o, S* x, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && edges.num_edges > 4096) schedule(static)
    for (int64_t n = 0; n < edges.num_sources; n++) {
        S sum[3] = {};
        for (int64_t at = edges.source_ptr[n]; at < edges.source_ptr[n + 1]; at++)
            for (int i = 0; i < 3; i++) sum[i] += o[3 * edges.by_source[at] + i];
        for (int64_t at = edges.target_ptr[n]; at < edges.target_ptr[n + 1]; at++)
            for (int i = 0; i < 3; i++) sum[i] -= o[3 * edges.by_target[at] + i];
        for (int i = 0; i < 3; i++) x[3 * n + i] = sum[i];
    }
}

}  // namespace E3_ISA
