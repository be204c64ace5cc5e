// What one path does to one tile of edges: the innermost loops. Copies u lie in the lanes of vectors.
//
// With M_ki = Σ_j C_ijk y_j of an edge, the form is T = Σ_e Σ_u w_u o_ku M_ki x_iu, and its derivatives are
//   out_k += w M_ki x_i,   V_i = M_ki o_k:  gx_i += w V_i,  gw = x_i V_i,   G_ki = Σ_u w x_i o_k:  gy_j = C_ijk G_ki.
// The twice differentiated form T(ax, y, w, o) + T(x, ay, w, o) + T(x, y, aw, o) has, with M' of ay,
//   out_k += M_ki (w ax_i + aw x_i) + M'_ki w x_i,   gx_i += w V'_i + aw V_i,   gw = ax_i V_i + x_i V'_i,
//   G_ki = Σ_u (w ax_i + aw x_i) o_k for y's gradient.
#pragma once
#include "simd.hpp"

#define E3_UNROLL _Pragma("GCC unroll 16")

namespace E3_ISA {

constexpr int MAX_DIM = 23;  // l <= 11

// One path of a plan, with its place in the layouts of a tile.
struct Path {
    int mul, padded, d_in, d_out;
    int in, out;                // where its terms begin in a row of x and of out
    int weight;                 // where its weights begin; -1: none, that is w = 1 and aw = 0
    int matrix;                 // its first matrix row in a tile
};

// At most W edges, those of one node side by side ("runs"), as the lanes of the matrices.
template <class S>
struct Tile {
    int n, runs;
    int start[W<S> + 1];
    S* sum[W<S>];                             // for each run: out, or gx where runs are of sources
    const S *x[W<S>], *ax[W<S>], *o[W<S>];    // for each edge
    S* gx[W<S>];                              // for each edge: where its part of gx is added; null: nowhere
    const S *w[W<S>], *aw[W<S>];
    S* gw[W<S>];                              // null: not wanted
    bool add_gw;                              // one row of gw for all edges
    S *m, *m_a, *g;                           // matrices of y and ay, and their gradients: [row][edge]
    Vec<S>*partial, *scaled;                  // room for sums over lanes, and for w x
};

template <class S> inline Vec<S> weights(const S* w, const Path& p, int u) {
    return p.weight < 0 ? Vec<S>{} + S(1) : load_n(w + p.weight + u, p.mul - u);
}

template <class S> inline void store_weights(S* gw, const Path& p, int u, Vec<S> v, bool add) {
    S* at = gw + p.weight + u;
    store_n(at, add ? v + load_n(at, p.mul - u) : v, p.mul - u);
}

// D_IN = 0: dimensions known at run time alone.
template <class S, int D_IN, int D_OUT, bool DIAGONAL, bool DOUBLE>
struct PathKernel {
    using V = Vec<S>;
    static constexpr int N = W<S>;
    static constexpr int REGISTERS = E3_BYTES == 64 ? 26 : 10;
    static constexpr int ROOM_IN = D_IN ? D_IN : MAX_DIM, ROOM_OUT = D_IN ? D_OUT : MAX_DIM;
    // Rows k whose sums over u are held in registers at once.
    static constexpr int ROWS = D_IN == 0 ? 1 : D_IN * D_OUT <= REGISTERS ? D_OUT : D_OUT == 9 && 3 * D_IN <= REGISTERS + 1 ? 3 : 1;

    static V second_weights(const Tile<S>& t, const Path& p, int e, int u) {
        return DOUBLE && p.weight >= 0 ? weights(t.aw[e], p, u) : V{};
    }

    // out, where runs are of targets.
    static void forward(const Tile<S>& t, const Path& p) {
        const int d_in = D_IN ? D_IN : p.d_in, d_out = D_IN ? D_OUT : p.d_out;
        const S *m = t.m + p.matrix * N, *m_a = t.m_a + p.matrix * N;
        for (int run = 0; run < t.runs; run++) {
            for (int u = 0; u < p.padded; u += N) {
                S* out = t.sum[run] + p.out + u;
                V sum[ROOM_OUT];
                E3_UNROLL for (int k = 0; k < d_out; k++) sum[k] = load(out + k * p.padded);
                for (int e = t.start[run]; e < t.start[run + 1]; e++) {
                    const V w = weights(t.w[e], p, u), aw = second_weights(t, p, e, u);
                    const S *x = t.x[e] + p.in + u, *ax = t.ax[e] + p.in + u;
                    V z[ROOM_IN], z_a[ROOM_IN];
                    E3_UNROLL for (int i = 0; i < d_in; i++) {
                        const V x_i = load(x + i * p.padded);
                        z[i] = w * x_i;
                        if constexpr (DOUBLE) {
                            z_a[i] = z[i];
                            z[i] = w * load(ax + i * p.padded) + aw * x_i;
                        }
                    }
                    E3_UNROLL for (int k = 0; k < d_out; k++) {
                        if constexpr (DIAGONAL) {
                            sum[k] += m[e] * z[k];
                            if constexpr (DOUBLE) sum[k] += m_a[e] * z_a[k];
                        } else {
                            E3_UNROLL for (int i = 0; i < d_in; i++) {
                                sum[k] += m[(k * d_in + i) * N + e] * z[i];
                                if constexpr (DOUBLE) sum[k] += m_a[(k * d_in + i) * N + e] * z_a[i];
                            }
                        }
                    }
                }
                E3_UNROLL for (int k = 0; k < d_out; k++) store(out + k * p.padded, sum[k]);
            }
        }
    }

    // V and V' of an edge.
    static inline void pull(const Tile<S>& t, const Path& p, int e, const V* o, V* v, V* v_a) {
        const int d_in = D_IN ? D_IN : p.d_in, d_out = D_IN ? D_OUT : p.d_out;
        const S *m = t.m + p.matrix * N + e, *m_a = t.m_a + p.matrix * N + e;
        E3_UNROLL for (int i = 0; i < d_in; i++) {
            if constexpr (DIAGONAL) {
                v[i] = *m * o[i];
                if constexpr (DOUBLE) v_a[i] = *m_a * o[i];
            } else {
                v[i] = m[i * N] * o[0];
                if constexpr (DOUBLE) v_a[i] = m_a[i * N] * o[0];
                E3_UNROLL for (int k = 1; k < d_out; k++) {
                    v[i] += m[(k * d_in + i) * N] * o[k];
                    if constexpr (DOUBLE) v_a[i] += m_a[(k * d_in + i) * N] * o[k];
                }
            }
        }
    }

    // gw, G and, edge by edge, gx, where runs are of targets.
    static void backward(const Tile<S>& t, const Path& p) {
        const int d_in = D_IN ? D_IN : p.d_in, d_out = D_IN ? D_OUT : p.d_out;
        for (int run = 0; run < t.runs; run++) {
            for (int u = 0; u < p.padded; u += N) {
                V o[ROOM_OUT];
                E3_UNROLL for (int k = 0; k < d_out; k++) o[k] = load(t.o[t.start[run]] + p.out + k * p.padded + u);
                for (int e = t.start[run]; e < t.start[run + 1]; e++) {
                    V v[ROOM_IN], v_a[ROOM_IN];
                    pull(t, p, e, o, v, v_a);
                    if (t.gw[e] && p.weight >= 0) {
                        const S *x = t.x[e] + p.in + u, *ax = t.ax[e] + p.in + u;
                        V gw = {};
                        E3_UNROLL for (int i = 0; i < d_in; i++) {
                            if constexpr (DOUBLE) gw += load(ax + i * p.padded) * v[i] + load(x + i * p.padded) * v_a[i];
                            else gw += load(x + i * p.padded) * v[i];
                        }
                        store_weights(t.gw[e], p, u, gw, t.add_gw);
                    }
                    if (t.gx[e]) add_gx(t, p, e, u, v, v_a, t.gx[e]);
                }
            }
        }
        if (t.g) matrices(t, p);
    }

    static inline void add_gx(const Tile<S>& t, const Path& p, int e, int u, const V* v, const V* v_a, S* to) {
        const int d_in = D_IN ? D_IN : p.d_in;
        const V w = weights(t.w[e], p, u), aw = second_weights(t, p, e, u);
        S* gx = to + p.in + u;
        E3_UNROLL for (int i = 0; i < d_in; i++) {
            V sum = load(gx + i * p.padded);
            if constexpr (DOUBLE) sum += w * v_a[i] + aw * v[i];
            else sum += w * v[i];
            store(gx + i * p.padded, sum);
        }
    }

    // gx, where runs are of sources.
    static void gather(const Tile<S>& t, const Path& p) {
        const int d_out = D_IN ? D_OUT : p.d_out;
        for (int run = 0; run < t.runs; run++)
            for (int u = 0; u < p.padded; u += N)
                for (int e = t.start[run]; e < t.start[run + 1]; e++) {
                    V o[ROOM_OUT], v[ROOM_IN], v_a[ROOM_IN];
                    E3_UNROLL for (int k = 0; k < d_out; k++) o[k] = load(t.o[e] + p.out + k * p.padded + u);
                    pull(t, p, e, o, v, v_a);
                    add_gx(t, p, e, u, v, v_a, t.sum[run]);
                }
    }

    // G: first w x of each edge, then for some rows k at a time the sums over u of all edges, and over their lanes.
    static inline void matrices(const Tile<S>& t, const Path& p) {
        const int d_in = D_IN ? D_IN : p.d_in, d_out = D_IN ? D_OUT : p.d_out, blocks = p.padded / N;
        for (int e = 0; e < t.n; e++) {
                for (int b = 0; b < blocks; b++) {
                    const V w = weights(t.w[e], p, b * N), aw = second_weights(t, p, e, b * N);
                    const S *x = t.x[e] + p.in + b * N, *ax = t.ax[e] + p.in + b * N;
                    V* z = t.scaled + (e * blocks + b) * d_in;
                    E3_UNROLL for (int i = 0; i < d_in; i++) {
                        if constexpr (DOUBLE) z[i] = w * load(ax + i * p.padded) + aw * load(x + i * p.padded);
                        else z[i] = w * load(x + i * p.padded);
                    }
                }
        }
        S* g = t.g + p.matrix * N;
        if constexpr (DIAGONAL) {
            for (int e = 0; e < t.n; e++) {
                V sum = {};
                for (int b = 0; b < blocks; b++)
                    E3_UNROLL for (int i = 0; i < d_in; i++)
                        sum += load(t.o[e] + p.out + i * p.padded + b * N) * t.scaled[(e * blocks + b) * d_in + i];
                t.partial[e] = sum;
            }
            store(g, sum_lanes<S>(t.partial));
        } else {
            for (int k = 0; k < d_out; k += ROWS) {
                for (int e = 0; e < t.n; e++) {
                    V sum[ROWS * ROOM_IN];
                    E3_UNROLL for (int n = 0; n < ROWS * d_in; n++) sum[n] = V{};
                    for (int b = 0; b < blocks; b++) {
                        const V* z = t.scaled + (e * blocks + b) * d_in;
                        E3_UNROLL for (int r = 0; r < ROWS; r++) {
                            const V o_k = load(t.o[e] + p.out + (k + r) * p.padded + b * N);
                            E3_UNROLL for (int i = 0; i < d_in; i++) sum[r * d_in + i] += o_k * z[i];
                        }
                    }
                    E3_UNROLL for (int n = 0; n < ROWS * d_in; n++) t.partial[n * N + e] = sum[n];
                }
                for (int n = 0; n < ROWS * d_in; n++) store(g + (k * d_in + n) * N, sum_lanes<S>(t.partial + n * N));
            }
        }
    }
};

template <class S> using Run = void (*)(const Tile<S>&, const Path&);

constexpr int dim_index(int dim) { return dim > 9 ? 0 : (dim + 1) / 2; }  // 1, 3, 5, 7, 9 -> 1 ... 5; more -> 0

// What a pass does to a tile.
enum Pass { FORWARD, BACKWARD, GATHER };

template <class S, bool DOUBLE, Pass PASS>
struct Table {
    template <int D_IN, int D_OUT, bool DIAGONAL> static constexpr Run<S> one() {
        using K = PathKernel<S, D_IN, D_OUT, DIAGONAL, DOUBLE>;
        return PASS == FORWARD ? K::forward : PASS == BACKWARD ? K::backward : K::gather;
    }
    template <int D_IN> static Run<S> row(int out) {
        constexpr Run<S> runs[] = {one<0, 0, false>(), one<D_IN, 1, false>(), one<D_IN, 3, false>(),
                                   one<D_IN, 5, false>(), one<D_IN, 7, false>(), one<D_IN, 9, false>()};
        return runs[out];
    }
    static Run<S> find(const Path& p, bool diagonal) {
#ifdef E3_SMALL
        return diagonal ? one<0, 0, true>() : one<0, 0, false>();
#endif
        const int in = dim_index(p.d_in), out = dim_index(p.d_out);
        if (diagonal) {
            constexpr Run<S> runs[] = {one<0, 0, true>(), one<1, 1, true>(), one<3, 3, true>(),
                                       one<5, 5, true>(), one<7, 7, true>(), one<9, 9, true>()};
            return runs[in];
        }
        switch (out ? in : 0) {
            case 1: return row<1>(out);
            case 2: return row<3>(out);
            case 3: return row<5>(out);
            case 4: return row<7>(out);
            case 5: return row<9>(out);
            default: return one<0, 0, false>();
        }
    }
};

}  // namespace E3_ISA
