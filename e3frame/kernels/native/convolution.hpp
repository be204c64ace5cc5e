// Tiles of edges, chunks of nodes, threads: everything around the innermost loops.
//
// Nodes are cut into chunks by their edges alone, and each chunk is one thread's from beginning to end. So every sum
// runs in an order that does not depend on the number of threads, and nothing is atomic.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "paths.hpp"
#include "plan.hpp"

namespace E3_ISA {

constexpr int CHUNK_NODES = 64, CHUNK_EDGES = 256;

template <class T> struct Free {
    void operator()(T* p) const { std::free(p); }
};
template <class T> struct Buffer : std::unique_ptr<T[], Free<T>> {
    explicit Buffer(int64_t count) : std::unique_ptr<T[], Free<T>>(allocate(count)) {}
    static T* allocate(int64_t count) {
        const size_t bytes = (std::max<int64_t>(count, 1) * sizeof(T) + 63) / 64 * 64;
        void* p = std::aligned_alloc(64, bytes);
        if (!p) throw std::bad_alloc();
        return static_cast<T*>(p);
    }
};

// Rows with the copies of an irrep last, padded with zeros to whole vectors.
template <class S>
struct Layout {
    struct Term {
        int offset, mul, dim, begin, padded;
    };
    std::vector<Term> terms;
    int width = 0, plain = 0;

    Layout(const e3_term* given, int count) {
        for (int n = 0; n < count; n++) {
            const int padded = (given[n].mul + W<S> - 1) / W<S> * W<S>;
            terms.push_back({given[n].offset, given[n].mul, given[n].dim, width, padded});
            width += padded * given[n].dim;
            plain += given[n].mul * given[n].dim;
        }
    }
    void pack(const S* from, S* to) const {
        for (const Term& t : terms)
            for (int i = 0; i < t.dim; i++) {
                S* row = to + t.begin + i * t.padded;
                for (int u = 0; u < t.mul; u++) row[u] = from[t.offset + u * t.dim + i];
                std::fill(row + t.mul, row + t.padded, S(0));
            }
    }
    void unpack(const S* from, S* to) const {
        for (const Term& t : terms)
            for (int u = 0; u < t.mul; u++)
                for (int i = 0; i < t.dim; i++) to[t.offset + u * t.dim + i] = from[t.begin + i * t.padded + u];
    }
};

// A tensor of node features in that layout. No tensor: one row of zeros, read by every node.
template <class S>
struct Packed {
    Buffer<S> rows;
    int64_t step;
    Packed(const void* from, int64_t n, const Layout<S>& layout, int threads)
        : rows((from ? n : 1) * layout.width), step(from ? layout.width : 0) {
        if (!from) {
            std::fill_n(rows.get(), layout.width, S(0));
            return;
        }
        const S* x = static_cast<const S*>(from);
#pragma omp parallel for num_threads(threads) if (threads > 1 && n > CHUNK_NODES) schedule(static)
        for (int64_t k = 0; k < n; k++) layout.pack(x + k * layout.plain, rows.get() + k * step);
    }
    const S* operator[](int64_t n) const { return rows.get() + n * step; }
};

template <class S, bool DOUBLE, bool BACKWARD>
struct Convolution {
    static constexpr int N = W<S>;
    const e3_plan& plan;
    const e3_edges& edges;
    const e3_tensors& given;
    Layout<S> in, out;
    std::vector<Path> paths;
    std::vector<Run<S>> runs;
    int matrix_rows = 0, widest = 0, deepest = 0;
    std::vector<int64_t> chunks;  // first nodes, and the end

    // The nodes that own the groups of edges, and the others.
    const int64_t *order, *ptr, *mine, *theirs;
    int64_t num_mine, num_theirs;

    Convolution(const e3_plan& plan, const e3_edges& edges, const e3_tensors& given)
        : plan(plan), edges(edges), given(given), in(plan.in, plan.num_in), out(plan.out, plan.num_out) {
        order = BACKWARD ? edges.by_source : edges.by_target;
        ptr = BACKWARD ? edges.source_ptr : edges.target_ptr;
        mine = BACKWARD ? edges.source : edges.target;
        theirs = BACKWARD ? edges.target : edges.source;
        num_mine = BACKWARD ? edges.num_sources : edges.num_targets;
        num_theirs = BACKWARD ? edges.num_targets : edges.num_sources;
        for (int n = 0; n < plan.num_paths; n++) {
            const e3_path& p = plan.paths[n];
            const auto &a = in.terms[p.in], &b = out.terms[p.out];
            paths.push_back({a.mul, a.padded, a.dim, b.dim, a.begin, b.begin, p.weight, matrix_rows});
            runs.push_back(Table<S, DOUBLE, BACKWARD>::find(paths.back(), p.diagonal));
            matrix_rows += p.diagonal ? 1 : a.dim * b.dim;
            widest = std::max(widest, a.padded * a.dim);
            deepest = std::max(deepest, a.dim * b.dim);
        }
        for (int64_t n = 0, first = 0; n <= num_mine; n++)
            if (n == 0 || n == num_mine || n - first == CHUNK_NODES || ptr[n] - ptr[first] >= CHUNK_EDGES)
                chunks.push_back(first = n);
    }

    void run(int threads) const {
        const Layout<S>& other_layout = BACKWARD ? out : in;
        const Packed<S> other(BACKWARD ? given.o : given.x, num_theirs, other_layout, threads);
        const Packed<S> other_a(BACKWARD ? nullptr : given.ax, num_theirs, other_layout, threads);
        const Packed<S> own(BACKWARD ? given.x : nullptr, BACKWARD ? num_mine : 1, in, threads);
        const Packed<S> own_a(BACKWARD ? given.ax : nullptr, BACKWARD ? num_mine : 1, in, threads);
        const int64_t count = static_cast<int64_t>(chunks.size()) - 1;
        const bool shared = BACKWARD && given.gw && given.w_step == 0;
        Buffer<S> partial_gw(shared ? count * plan.weight_numel : 0);
        if (shared) std::fill_n(partial_gw.get(), count * plan.weight_numel, S(0));
        const int team = static_cast<int>(std::clamp<int64_t>(count, 1, std::max(threads, 1)));
        std::vector<Workspace> spaces;
        spaces.reserve(team);
        for (int n = 0; n < team; n++) spaces.emplace_back(*this);
#pragma omp parallel num_threads(team) if (team > 1)
        {
            Workspace& space = spaces[this_thread()];
#pragma omp for schedule(dynamic)
            for (int64_t c = 0; c < count; c++) {
                space.gw = shared ? partial_gw.get() + c * plan.weight_numel : static_cast<S*>(given.gw);
                chunk(chunks[c], chunks[c + 1], other, other_a, own, own_a, space);
            }
        }
        if (shared) {
            S* gw = static_cast<S*>(given.gw);
            std::fill_n(gw, plan.weight_numel, S(0));
            for (int64_t c = 0; c < count; c++)
                for (int n = 0; n < plan.weight_numel; n++) gw[n] += partial_gw[c * plan.weight_numel + n];
        }
    }

    // What a thread works with.
    struct Workspace {
        Buffer<S> sums, m, m_a, g, y, zero_weights;
        Buffer<Vec<S>> partial, scaled;
        S* gw = nullptr;
        explicit Workspace(const Convolution& c)
            : sums(int64_t(CHUNK_NODES) * (BACKWARD ? c.in : c.out).width),
              m(c.matrix_rows * N), m_a(c.matrix_rows * N), g(c.matrix_rows * N), y(c.plan.dim_y * N),
              zero_weights(c.plan.weight_numel),
              partial(int64_t(std::max(c.deepest, 1)) * N), scaled(c.widest) {
            std::fill_n(zero_weights.get(), c.plan.weight_numel, S(0));
            std::fill_n(partial.get(), int64_t(std::max(c.deepest, 1)) * N, Vec<S>{});
        }
    };

    void chunk(int64_t first, int64_t last, const Packed<S>& other, const Packed<S>& other_a, const Packed<S>& own,
               const Packed<S>& own_a, Workspace& space) const {
        const Layout<S>& layout = BACKWARD ? in : out;
        std::fill_n(space.sums.get(), (last - first) * layout.width, S(0));
        Tile<S> t;
        t.m = space.m.get(), t.m_a = space.m_a.get(), t.g = BACKWARD && given.gy ? space.g.get() : nullptr;
        t.partial = space.partial.get(), t.scaled = space.scaled.get();
        t.add_gw = given.w_step == 0;
        for (int64_t at = ptr[first]; at < ptr[last]; at += N) {
            t.n = static_cast<int>(std::min<int64_t>(N, ptr[last] - at));
            t.runs = 0;
            int64_t previous = -1;
            for (int e = 0; e < t.n; e++) {
                const int64_t edge = order[at + e], node = mine[edge], far = theirs[edge];
                if (node != previous) {
                    t.start[t.runs] = e;
                    t.sum[t.runs] = space.sums.get() + (node - first) * layout.width;
                    t.own[t.runs] = own[BACKWARD ? node : 0];
                    t.own_a[t.runs] = own_a[BACKWARD ? node : 0];
                    t.runs++;
                    previous = node;
                }
                t.other[e] = other[far];
                t.other_a[e] = other_a[far];
                t.w[e] = static_cast<const S*>(given.w) + edge * given.w_step;
                t.aw[e] = given.aw ? static_cast<const S*>(given.aw) + edge * given.aw_step : space.zero_weights.get();
                t.gw[e] = space.gw ? space.gw + edge * given.w_step : nullptr;
            }
            t.start[t.runs] = t.n;
            matrices(given.y, at, t.n, space.y.get(), t.m);
            if (DOUBLE) matrices(given.ay, at, t.n, space.y.get(), t.m_a);
            for (int64_t next = at + N; next < std::min(at + 2 * N, edges.num_edges); next++)
                prefetch(order[next], space.gw);
            for (size_t p = 0; p < paths.size(); p++) runs[p](t, paths[p]);
            if (t.g) scatter_gy(at, t.n, space.y.get(), t.g);
        }
        S* sums = static_cast<S*>(BACKWARD ? given.gx : given.out);
        if (sums)
            for (int64_t n = first; n < last; n++)
                layout.unpack(space.sums.get() + (n - first) * layout.width, sums + n * layout.plain);
    }

    // Ask for the weights of the next tile while this one is computed, row by row: paths read pieces of rows, too short
    // and too many at once for the processor to foresee.
    void prefetch(int64_t edge, S* gw) const {
        if (given.w_step == 0) return;
        const int64_t row = edge * given.w_step;
        prefetch_row<0>(static_cast<const S*>(given.w) + row);
        if (DOUBLE && given.aw) prefetch_row<0>(static_cast<const S*>(given.aw) + row);
        if (BACKWARD && gw) prefetch_row<1>(gw + row);
    }
    template <int WRITE> void prefetch_row(const S* row) const {
        for (int n = 0; n < plan.weight_numel; n += 64 / sizeof(S)) __builtin_prefetch(row + n, WRITE, 2);
    }

    // M_ki = Σ_j C_ijk y_j of a tile's edges, one edge a lane.
    void matrices(const void* from, int64_t at, int n, S* y, S* m) const {
        std::fill_n(m, matrix_rows * N, S(0));
        if (!from) return;
        std::fill_n(y, plan.dim_y * N, S(0));
        for (int e = 0; e < n; e++) {
            const S* row = static_cast<const S*>(from) + order[at + e] * plan.dim_y;
            for (int j = 0; j < plan.dim_y; j++) y[j * N + e] = row[j];
        }
        for (size_t p = 0; p < paths.size(); p++) {
            const e3_path& path = plan.paths[p];
            for (const e3_entry* c = plan.entries + path.first; c < plan.entries + path.first + path.count; c++) {
                S* row = m + (paths[p].matrix + c->element) * N;
                store(row, load(row) + S(c->c) * load(y + (path.y + c->j) * N));
            }
        }
    }

    void scatter_gy(int64_t at, int n, S* y, const S* g) const {
        std::fill_n(y, plan.dim_y * N, S(0));
        for (size_t p = 0; p < paths.size(); p++) {
            const e3_path& path = plan.paths[p];
            for (const e3_entry* c = plan.entries + path.first; c < plan.entries + path.first + path.count; c++) {
                S* row = y + (path.y + c->j) * N;
                store(row, load(row) + S(c->c) * load(g + (paths[p].matrix + c->element) * N));
            }
        }
        for (int e = 0; e < n; e++) {
            S* row = static_cast<S*>(given.gy) + order[at + e] * plan.dim_y;
            for (int j = 0; j < plan.dim_y; j++) row[j] = y[j * N + e];
        }
    }
};

template <class S>
void convolve(const e3_plan& p, const e3_edges& e, const e3_tensors& t, bool backward, bool twice, int threads) {
    if (backward && twice) Convolution<S, true, true>(p, e, t).run(threads);
    else if (backward) Convolution<S, false, true>(p, e, t).run(threads);
    else if (twice) Convolution<S, true, false>(p, e, t).run(threads);
    else Convolution<S, false, false>(p, e, t).run(threads);
}

}  // namespace E3_ISA
