// A convolution as flat data: what Python packs, and what the kernels read.
#pragma once
#include <cstdint>

extern "C" {

// An input term, in multiplicity-major order: x[offset + u dim + i].
struct e3_term {
    int32_t offset, mul, dim;
};

// out[out, u, k] += Σ_ij w[weight + u] C_ijk x[in, u, i] y[y + j], C by its nonzero entries.
struct e3_path {
    int32_t in, out, y, weight;  // terms of x and out; where y and w begin; no weight: -1
    int32_t diagonal;            // C_ijk = c δ_ik: l of y is 0
    int32_t first, count;        // its entries
};

// A nonzero entry: matrix element k dim_in + i (0 if diagonal), component j of y.
struct e3_entry {
    int32_t element, j;
    double c;
};

struct e3_plan {
    int32_t num_in, num_out, num_paths, dim_in, dim_y, dim_out, weight_numel;
    const e3_term* in;
    const e3_term* out;
    const e3_path* paths;
    const e3_entry* entries;
};

// Edges in groups, one for each node: those of node n are order[ptr[n]] ... order[ptr[n + 1] - 1].
struct e3_edges {
    int64_t num_edges, num_sources, num_targets;
    const int64_t *source, *target;
    const int64_t *by_target, *target_ptr, *by_source, *source_ptr;
};

// The tensors of T(x, y, w, o), row-major. ax, ay, aw are the cotangents of gx, gy, gw; a null pointer is zero.
// Steps between rows are counted in elements; 0 repeats one row.
struct e3_tensors {
    const void *x, *y, *w, *o, *ax, *ay, *aw;
    int64_t w_step, aw_step;
    void *out, *gx, *gy, *gw;  // null where not wanted; gw is summed over the edges where w_step is 0
};
}
