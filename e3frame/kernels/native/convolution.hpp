// Tiles of edges, chunks of nodes, threads: everything around the innermost loops.
//
// Nodes are cut into chunks by their edges alone, and each chunk is one thread's from beginning to end. So every sum
// runs in an order that does not depend on the number of threads, and nothing is atomic.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "memory.hpp"
#include "paths.hpp"
#include "plan.hpp"
#include "shared_rows.hpp"

namespace E3_ISA {

constexpr int CHUNK_NODES = 64, CHUNK_EDGES = 256;

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
        for (const Term& t : terms) {
            const S* own = from + t.offset;
            S* rows = to + t.begin;
            const int done = transpose<S, true>(own, rows, t.padded, t.mul, t.dim);
            for (int i = 0; i < t.dim; i++) {
                for (int u = done; u < t.mul; u++) rows[i * t.padded + u] = own[u * t.dim + i];
                std::fill(rows + i * t.padded + t.mul, rows + (i + 1) * t.padded, S(0));
            }
        }
    }
    void unpack(const S* from, S* to) const {
        for (const Term& t : terms) {
            const S* rows = from + t.begin;
            S* own = to + t.offset;
            for (int u = transpose<S, false>(rows, own, t.padded, t.mul, t.dim); u < t.mul; u++)
                for (int i = 0; i < t.dim; i++) own[u * t.dim + i] = rows[i * t.padded + u];
        }
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

// Where a task adds its part of gx: rows for the sources between first and last alone.
template <class S>
struct Part {
    int64_t first, last;
    std::unique_ptr<Buffer<S>> rows;
};

template <class S, bool DOUBLE>
struct Convolution {
    static constexpr int N = W<S>;
    const e3_plan& plan;
    const e3_edges& edges;
    const e3_tensors& given;
    const Layout<S> in, out;
    const int threads;
    const Packed<S> x, ax, o;
    std::vector<Path> paths;
    int matrix_rows = 0, widest = 0, deepest = 1;

    Convolution(const e3_plan& plan, const e3_edges& edges, const e3_tensors& given, int threads)
        : plan(plan), edges(edges), given(given), in(plan.in, plan.num_in), out(plan.out, plan.num_out), threads(threads),
          x(given.x, edges.num_sources, in, threads), ax(DOUBLE ? given.ax : nullptr, edges.num_sources, in, threads),
          o(given.o, edges.num_targets, out, threads) {
        for (int n = 0; n < plan.num_paths; n++) {
            const e3_path& p = plan.paths[n];
            const auto &a = in.terms[p.in], &b = out.terms[p.out];
            paths.push_back({a.mul, a.padded, a.dim, b.dim, a.begin, b.begin, p.weight, matrix_rows});
            matrix_rows += p.diagonal ? 1 : a.dim * b.dim;
            widest = std::max(widest, a.padded * a.dim);
            deepest = std::max(deepest, a.dim * b.dim);
        }
    }

    template <Pass PASS> std::vector<Run<S>> functions() const {
        std::vector<Run<S>> found;
        for (int n = 0; n < plan.num_paths; n++) found.push_back(Table<S, DOUBLE, PASS>::find(paths[n], plan.paths[n].diagonal));
        return found;
    }

    // Nodes in chunks of about equal work: the first node of each, and the end.
    static std::vector<int64_t> chunks(const int64_t* ptr, int64_t nodes) {
        std::vector<int64_t> found;
        for (int64_t n = 0, first = 0; n <= nodes; n++)
            if (n == 0 || n == nodes || n - first == CHUNK_NODES || ptr[n] - ptr[first] >= CHUNK_EDGES)
                found.push_back(first = n);
        return found;
    }

    void run() const {
        large_pages(given.out, edges.num_targets * out.plain * sizeof(S));
        large_pages(given.gx, edges.num_sources * in.plain * sizeof(S));
        large_pages(given.gy, edges.num_edges * plan.dim_y * sizeof(S));
        large_pages(given.gw, given.num_rows * given.w_step * sizeof(S));
        if (given.gw && edges.num_edges == 0) std::fill_n(static_cast<S*>(given.gw), given.num_rows * given.w_step, S(0));
        const std::vector<int64_t> bounds = chunks(edges.target_ptr, edges.num_targets);
        const int64_t count = static_cast<int64_t>(bounds.size()) - 1;
        std::vector<Part<S>> parts = given.gx ? partition(bounds) : std::vector<Part<S>>();
        const int64_t tasks = parts.empty() ? count : static_cast<int64_t>(parts.size());
        const bool shared = given.gw && given.w_step == 0;
        Buffer<S> partial_gw(shared ? tasks * plan.weight_numel : 0);
        if (shared) std::fill_n(partial_gw.get(), tasks * plan.weight_numel, S(0));
        std::unique_ptr<SharedRows<S>> rows;
        if (given.gw && given.rows && !shared) {
            std::vector<int64_t> ends;
            for (int64_t k = 1; k <= tasks; k++) ends.push_back(edges.target_ptr[bounds[k * count / tasks]]);
            rows = std::make_unique<SharedRows<S>>(edges, given, ends, plan.weight_numel);
        }
        const auto forward = given.out ? functions<FORWARD>() : std::vector<Run<S>>();
        const bool of_edges = given.gy || given.gw || !parts.empty();
        const auto backward = of_edges ? functions<BACKWARD>() : std::vector<Run<S>>();
        if (given.out || of_edges) {
            const int team = team_for(tasks);
            std::vector<Workspace> spaces = workspaces(team, out.width);
#pragma omp parallel num_threads(team) if (team > 1)
            {
                Workspace& space = spaces[this_thread()];
#pragma omp for schedule(dynamic)
                for (int64_t k = 0; k < tasks; k++) {
                    S* gw = shared ? partial_gw.get() + k * plan.weight_numel : static_cast<S*>(given.gw);
                    Part<S>* part = parts.empty() ? nullptr : &parts[k];
                    if (part) std::fill_n(part->rows->get(), (part->last - part->first) * in.width, S(0));
                    for (int64_t c = k * count / tasks; c < (k + 1) * count / tasks; c++)
                        targets(bounds[c], bounds[c + 1], forward, backward, space, gw, part, rows.get());
                }
            }
        }
        if (rows) rows->finish(static_cast<S*>(given.gw), plan.weight_numel, threads);
        if (shared) {
            S* gw = static_cast<S*>(given.gw);
            std::fill_n(gw, plan.weight_numel, S(0));
            for (int64_t k = 0; k < tasks; k++)
                for (int n = 0; n < plan.weight_numel; n++) gw[n] += partial_gw[k * plan.weight_numel + n];
        }
        if (given.gx && !parts.empty()) add_parts(parts);
        else if (given.gx) by_source();
    }

    // Tasks of consecutive targets that may each have a gx of their own, since together their sources are not many more
    // than there are nodes; as many as possible, and in any case independent of the number of threads. Or none.
    std::vector<Part<S>> partition(const std::vector<int64_t>& bounds) const {
        const int64_t count = static_cast<int64_t>(bounds.size()) - 1;
        for (int64_t tasks = std::min<int64_t>(64, count); tasks > 0; tasks /= 2) {
            std::vector<Part<S>> parts;
            int64_t rows = 0;
            for (int64_t k = 0; k < tasks; k++) {
                Part<S> part{edges.num_sources, 0, nullptr};
                for (int64_t at = edges.target_ptr[bounds[k * count / tasks]]; at < edges.target_ptr[bounds[(k + 1) * count / tasks]]; at++) {
                    const int64_t source = edges.source[edges.by_target[at]];
                    part.first = std::min(part.first, source), part.last = std::max(part.last, source + 1);
                }
                part.last = std::max(part.first, part.last);
                rows += part.last - part.first;
                parts.push_back(std::move(part));
            }
            if ((rows <= 4 * edges.num_sources || rows * in.width <= (1 << 21)) && (tasks >= 8 || tasks == count)) {
                for (Part<S>& part : parts)
                    part.rows = std::make_unique<Buffer<S>>((part.last - part.first) * in.width);
                return parts;
            }
        }
        return {};
    }

    void add_parts(const std::vector<Part<S>>& parts) const {
        const int team = team_for(edges.num_sources / CHUNK_NODES);
        Buffer<S> sums(int64_t(team) * in.width);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
        for (int64_t n = 0; n < edges.num_sources; n++) {
            S* sum = sums.get() + this_thread() * in.width;
            std::fill_n(sum, in.width, S(0));
            for (const Part<S>& part : parts) {
                if (n < part.first || n >= part.last) continue;
                const S* row = part.rows->get() + (n - part.first) * in.width;
                for (int i = 0; i < in.width; i++) sum[i] += row[i];
            }
            in.unpack(sum, static_cast<S*>(given.gx) + n * in.plain);
        }
    }

    void by_source() const {
        const std::vector<int64_t> bounds = chunks(edges.source_ptr, edges.num_sources);
        const int64_t count = static_cast<int64_t>(bounds.size()) - 1;
        const auto gather = functions<GATHER>();
        const int team = team_for(count);
        std::vector<Workspace> spaces = workspaces(team, in.width);
#pragma omp parallel num_threads(team) if (team > 1)
        {
            Workspace& space = spaces[this_thread()];
#pragma omp for schedule(dynamic)
            for (int64_t c = 0; c < count; c++) sources(bounds[c], bounds[c + 1], gather, space);
        }
    }

    // What a thread works with.
    struct Workspace {
        Buffer<S> sums, m, m_a, g, y, gw, zero_weights;
        Buffer<Vec<S>> partial, scaled;
        explicit Workspace(const Convolution& c, int width)
            : sums(int64_t(CHUNK_NODES) * width), m(c.matrix_rows * N), m_a(c.matrix_rows * N), g(c.matrix_rows * N),
              y(c.plan.dim_y * N), gw(c.given.w_step * N), zero_weights(c.plan.weight_numel),
              partial(int64_t(c.deepest) * N), scaled(c.widest) {
            std::fill_n(zero_weights.get(), c.plan.weight_numel, S(0));
            std::fill_n(partial.get(), int64_t(c.deepest) * N, Vec<S>{});
        }
    };

    int64_t row(int64_t edge) const { return given.rows ? given.rows[edge] : edge; }
    int team_for(int64_t tasks) const { return static_cast<int>(std::clamp<int64_t>(tasks, 1, std::max(threads, 1))); }
    // Allocated before threads start: an exception must not leave one of them.
    std::vector<Workspace> workspaces(int team, int width) const {
        std::vector<Workspace> spaces;
        spaces.reserve(team);
        for (int n = 0; n < team; n++) spaces.emplace_back(*this, width);
        return spaces;
    }

    void targets(int64_t first, int64_t last, const std::vector<Run<S>>& forward, const std::vector<Run<S>>& backward,
                 Workspace& space, S* gw, Part<S>* part, const SharedRows<S>* rows) const {
        if (given.out) std::fill_n(space.sums.get(), (last - first) * out.width, S(0));
        for (int64_t at = edges.target_ptr[first]; at < edges.target_ptr[last]; at += N) {
            Tile<S> t;
            fill(t, edges.by_target, edges.target, at, edges.target_ptr[last], first, out.width, space);
            t.g = given.gy ? space.g.get() : nullptr;
            t.add_gw = given.w_step == 0;
            S* to[N] = {};
            bool add[N];
            for (int e = 0; e < t.n; e++) {
                const int64_t edge = edges.by_target[at + e], place = rows ? rows->place[at + e] : SharedRows<S>::WRITE;
                t.gw[e] = !gw ? nullptr : given.w_step == 0 ? gw : space.gw.get() + e * given.w_step;
                if (gw) to[e] = place < 0 ? gw + row(edge) * given.w_step : rows->parts.get() + place * plan.weight_numel;
                add[e] = place == SharedRows<S>::ADD;
                t.gx[e] = part ? part->rows->get() + (edges.source[edge] - part->first) * in.width : nullptr;
            }
            for (size_t p = 0; p < paths.size(); p++) {
                prefetch(edges.by_target, at + N, p, edges.source, x, gw);
                if (!forward.empty()) forward[p](t, paths[p]);
                if (!backward.empty()) backward[p](t, paths[p]);
            }
            if (gw && given.w_step)
                for (int e = 0; e < t.n; e++) put(t.gw[e], to[e], add[e]);
            if (t.g) scatter_gy(edges.by_target + at, t.n, space.y.get(), t.g);
        }
        if (given.out) unpack(out, space.sums.get(), first, last, static_cast<S*>(given.out));
    }

    void sources(int64_t first, int64_t last, const std::vector<Run<S>>& gather, Workspace& space) const {
        std::fill_n(space.sums.get(), (last - first) * in.width, S(0));
        for (int64_t at = edges.source_ptr[first]; at < edges.source_ptr[last]; at += N) {
            Tile<S> t;
            fill(t, edges.by_source, edges.source, at, edges.source_ptr[last], first, in.width, space);
            for (size_t p = 0; p < paths.size(); p++) {
                prefetch(edges.by_source, at + N, p, edges.target, o, nullptr);
                gather[p](t, paths[p]);
            }
        }
        unpack(in, space.sums.get(), first, last, static_cast<S*>(given.gx));
    }

    // The next edges in the order of their nodes, up to end, with what every pass reads of them.
    void fill(Tile<S>& t, const int64_t* order, const int64_t* nodes, int64_t at, int64_t end, int64_t first, int width,
              Workspace& space) const {
        t.m = space.m.get(), t.m_a = space.m_a.get();
        t.partial = space.partial.get(), t.scaled = space.scaled.get();
        t.n = static_cast<int>(std::min<int64_t>(N, end - at));
        t.runs = 0;
        int64_t previous = -1;
        for (int e = 0; e < t.n; e++) {
            const int64_t edge = order[at + e], node = nodes[edge];
            if (node != previous) {
                t.start[t.runs] = e;
                t.sum[t.runs++] = space.sums.get() + (node - first) * width;
                previous = node;
            }
            t.x[e] = x[edges.source[edge]], t.ax[e] = ax[edges.source[edge]], t.o[e] = o[edges.target[edge]];
            t.w[e] = met(static_cast<const S*>(given.w) + row(edge) * given.w_step, given.w_step);
            t.aw[e] = space.zero_weights.get();
            if (given.aw) t.aw[e] = met(static_cast<const S*>(given.aw) + row(edge) * given.aw_step, given.aw_step);
        }
        t.start[t.runs] = t.n;
        matrices(given.y, order + at, t.n, space.y.get(), t.m);
        if (DOUBLE) matrices(given.ay, order + at, t.n, space.y.get(), t.m_a);
    }

    // Reads a row that the paths of a tile will read in pieces, in turn with those of other edges: in one go, the
    // processor foresees what comes next.
    static const S* met(const S* from, int64_t count) {
        for (int64_t n = 0; n < count; n += 64 / sizeof(S)) static_cast<void>(*static_cast<const volatile S*>(from + n));
        return from;
    }

    // Likewise the gradient of an edge's weights, which paths write in pieces, is put together before it goes out.
    void put(const S* gw, S* to, bool add) const {
        if (!add) std::memcpy(to, gw, given.w_step * sizeof(S));
        else for (int64_t n = 0; n < given.w_step; n++) to[n] += gw[n];
    }

    void unpack(const Layout<S>& layout, const S* rows, int64_t first, int64_t last, S* to) const {
        for (int64_t n = first; n < last; n++) layout.unpack(rows + (n - first) * layout.width, to + n * layout.plain);
    }

    // Ask, while path p of a tile is computed, for a share of the rows that the next one, which begins at `next`, will read
    // and write.
    void prefetch(const int64_t* order, int64_t next, size_t p, const int64_t* nodes, const Packed<S>& rows, S* gw) const {
        const int64_t end = std::min(next + N, edges.num_edges);
        for (int64_t at = next + p; at < end; at += paths.size()) {
            const int64_t edge = order[at], begin = row(edge) * given.w_step;
            prefetch_row<0>(rows[nodes[edge]], rows.step);
            prefetch_row<0>(static_cast<const S*>(given.w) + begin, given.w_step);
            if (DOUBLE) prefetch_row<0>(static_cast<const S*>(given.aw) + row(edge) * given.aw_step, given.aw_step);
            if (gw) prefetch_row<1>(gw + begin, given.w_step);
        }
    }
    template <int WRITE> static void prefetch_row(const S* row, int64_t count) {
        for (int64_t n = 0; n < count; n += 64 / sizeof(S)) __builtin_prefetch(row + n, WRITE, 2);
    }

    // M_ki = Σ_j C_ijk y_j of a tile's edges, one edge a lane.
    void matrices(const void* from, const int64_t* order, int n, S* y, S* m) const {
        std::fill_n(m, matrix_rows * N, S(0));
        if (!from) return;
        std::fill_n(y, plan.dim_y * N, S(0));
        for (int e = 0; e < n; e++) {
            const S* row = static_cast<const S*>(from) + order[e] * plan.dim_y;
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

    void scatter_gy(const int64_t* order, int n, S* y, const S* g) const {
        std::fill_n(y, plan.dim_y * N, S(0));
        for (size_t p = 0; p < paths.size(); p++) {
            const e3_path& path = plan.paths[p];
            for (const e3_entry* c = plan.entries + path.first; c < plan.entries + path.first + path.count; c++) {
                S* row = y + (path.y + c->j) * N;
                store(row, load(row) + S(c->c) * load(g + (paths[p].matrix + c->element) * N));
            }
        }
        for (int e = 0; e < n; e++) {
            S* row = static_cast<S*>(given.gy) + order[e] * plan.dim_y;
            for (int j = 0; j < plan.dim_y; j++) row[j] = y[j * N + e];
        }
    }
};

template <class S> void convolve(const e3_plan& p, const e3_edges& e, const e3_tensors& t, bool twice, int threads) {
    if (twice) Convolution<S, true>(p, e, t, threads).run();
    else Convolution<S, false>(p, e, t, threads).run();
}

}  // namespace E3_ISA
