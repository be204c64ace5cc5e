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
    void *out, *gx, *gy, *gw;  // null where not wanted; out is go in the twice differentiated form; gw is summed over
                               // the edges that share a row, all of them where w_step is 0
    const int64_t* rows;       // of each edge its row of w, aw and gw; null: each edge has its own
    int64_t num_rows;
};

// A linear map: paths between terms of one irrep. The matrix of index s is w[weight + s index_step + u row_step + v].
struct e3_map {
    int32_t in, out;
    int64_t weight, index_step, row_step;
    double c;
};
struct e3_linear {
    int32_t num_in, num_out, num_paths, num_indices;
    const e3_term *in, *out;
    const e3_map* paths;
};
// Rows by index: those of index s are order[ptr[s]] ... order[ptr[s + 1] - 1]; null pointers: one index, in order.
struct e3_rows {
    int64_t count;
    const int64_t *order, *ptr;
};

// c φ(a x) with φ the identity (0), the logistic function (1), or x times it (2).
struct e3_act {
    int32_t kind;
    double a, c;
};
struct e3_scalars {
    int32_t in, out, mul;
    e3_act act;
};
struct e3_gated {
    int32_t gate, in, out, mul, dim;
    e3_act act;
};
struct e3_gate {
    int32_t dim_in, dim_out, num_scalars, num_gated;
    const e3_scalars* scalars;
    const e3_gated* gated;
};

// y[out] += c y[in] x[j], in the order of the steps, from y[0] = constant and y[1..3] = linear x.
struct e3_step {
    int32_t out, in, j;
    double c;
};
struct e3_harmonics {
    int32_t lmax, normalize, dim_out, num_steps;
    double constant, linear;
    const int32_t* chosen;  // dim_out components of y
    const e3_step* steps;
};

// num functions: Bessel (0) or Gaussian (1), times a polynomial (0) of exponent p or a cosine (1).
struct e3_radial {
    int32_t basis, num, envelope, p;
    double r_max;
};

// Values z are numbered: 0 is one, then the components of a channel, then products of two that are leaves. A head is a
// product of two values i and j, of which j may be one; a group is o_k z_a Σ c z_b over leaves first ... first + count - 1.
struct e3_pair {
    int32_t i, j;
};
struct e3_group {
    int32_t a, k, first, count;
};
// Leaf n is z_b with b[n]; its coefficient is c = Σ factor[e] w[coupling[e]] over e = ptr[n] ... ptr[n + 1] - 1.
struct e3_symmetric {
    int32_t mul, num_in, num_out, dim_in, dim_out;  // channels; terms; components of a channel
    int32_t num_values, num_groups, num_leaves, num_couplings;
    const e3_term *in, *out;
    const e3_pair* pairs;                     // products: first those that are leaves, then those that are heads alone
    const e3_group* groups;                   // a: number of a product; those of equal a side by side
    const int32_t *by_output, *output_ptr;    // groups of component k: by_output[output_ptr[k]] ...
    const int32_t *b, *ptr, *coupling;
    const double* factor;
};
// Null where there is none, or none is wanted; out is go in the twice differentiated form.
struct e3_symmetric_tensors {
    int64_t num_indices;
    const void *x, *w, *o, *ax, *aw;
    void *out, *gx, *gw;
};

// The functions above for one instruction set and type of numbers; each returns 0, or 1 if memory ran out.
struct e3_kernels {
    int (*convolve)(const e3_plan*, const e3_edges*, const e3_tensors*, int twice, int threads);
    int (*linear)(const e3_linear*, const e3_rows*, const void* x, const void* w, void* out, int transposed, int threads);
    int (*linear_weights)(const e3_linear*, const e3_rows*, const void* x, const void* o, void* gw, int threads);
    // order 0: value; 1: gradient given o; 2: gradients of a · (gradient), by the input (out) and by o (go).
    int (*activate)(const e3_act*, int order, const void* x, const void* o, const void* a, void* out, void* go, int64_t count, int threads);
    int (*gate)(const e3_gate*, int order, const void* x, const void* o, const void* a, void* out, void* go, int64_t rows, int threads);
    int (*harmonics)(const e3_harmonics*, int order, const void* v, const void* o, const void* a, void* out, void* go, int64_t count, int threads);
    int (*radial)(const e3_radial*, int order, const void* v, const void* o, const void* a, void* out, void* go, int64_t count, int threads);
    // Edges between nodes of one kind. A null shift is zero.
    int (*differences)(const e3_edges*, const void* x, const void* shift, void* out, int threads);
    int (*differences_transposed)(const e3_edges*, const void* o, void* x, int threads);
    // Without o: the value; with o: the gradients; twice: the gradients of ax · gx + aw · gw.
    int (*symmetric_product)(const e3_symmetric*, const e3_rows*, const e3_symmetric_tensors*, int twice, int threads);
};
}
