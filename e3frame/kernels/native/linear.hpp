// L(x, w, o) = Σ_n Σ_path c Σ_uvi x[n,u,i] w[s(n),u,v] o[n,v,i] and its partial derivatives: two of them are linear maps
// of rows (with the matrices or their transposes), the third is a sum over rows.
#pragma once
#include "convolution.hpp"

namespace E3_ISA {

// Rows of two vectors at a time: out[r] += c x[r][u step] * w[u], over all u.
template <class S, int ROWS>
inline void multiply(const S* const* x, int step, const S* w, int width, int count, S c, S* const* out) {
    using V = Vec<S>;
    for (int v = 0; v < width; v += 2 * W<S>) {
        const bool two = v + W<S> < width;
        V acc[ROWS][2];
        E3_UNROLL for (int r = 0; r < ROWS; r++) acc[r][0] = acc[r][1] = V{};
        if (two) {
            for (int u = 0; u < count; u++) {
                const S* row = w + int64_t(u) * width + v;
                const V w0 = load(row), w1 = load(row + W<S>);
                E3_UNROLL for (int r = 0; r < ROWS; r++) acc[r][0] += x[r][u * step] * w0, acc[r][1] += x[r][u * step] * w1;
            }
            E3_UNROLL for (int r = 0; r < ROWS; r++) store(out[r] + v + W<S>, load(out[r] + v + W<S>) + c * acc[r][1]);
        } else {
            for (int u = 0; u < count; u++) {
                const V w0 = load(w + int64_t(u) * width + v);
                E3_UNROLL for (int r = 0; r < ROWS; r++) acc[r][0] += x[r][u * step] * w0;
            }
        }
        E3_UNROLL for (int r = 0; r < ROWS; r++) store(out[r] + v, load(out[r] + v) + c * acc[r][0]);
    }
}

// Sums over the rows of a matrix: out[v] += c Σ_u x[u] w[v step + u].
template <class S> inline void dots(const S* x, const S* w, int64_t step, int width, int count, S c, S* out) {
    for (int v = 0; v < width; v += W<S>) {
        const int held = std::min(W<S>, width - v);
        Vec<S> acc[W<S>] = {};
        for (int u = 0; u < count; u += W<S>) {
            const S* column = w + v * step + u;
            const Vec<S> x_u = load(x + u);
            if (held == W<S>) {
                E3_UNROLL for (int r = 0; r < W<S>; r++) acc[r] += x_u * load(column + r * step);
            } else {
                for (int r = 0; r < held; r++) acc[r] += x_u * load(column + r * step);
            }
        }
        store(out + v, load(out + v) + c * sum_lanes<S>(acc));
    }
}

template <class S>
struct Linear {
    static constexpr int ROWS = 6, FEW = 16, MANY = 64, PIECES = 8;
    const e3_linear& plan;
    const e3_rows& rows;
    const bool transposed;
    const Layout<S> in, out;  // of what is read, and of what is written

    Linear(const e3_linear& plan, const e3_rows& rows, bool transposed)
        : plan(plan), rows(rows), transposed(transposed),
          in(transposed ? plan.out : plan.in, transposed ? plan.num_out : plan.num_in),
          out(transposed ? plan.in : plan.out, transposed ? plan.num_in : plan.num_out) {}

    const typename Layout<S>::Term& from(const e3_map& p) const { return in.terms[transposed ? p.out : p.in]; }
    const typename Layout<S>::Term& to(const e3_map& p) const { return out.terms[transposed ? p.in : p.out]; }
    int64_t row(int64_t k) const { return rows.order ? rows.order[k] : k; }

    void run(const S* x, const S* w, S* result, int threads) const {
        // The matrices of each index and path, [u][v padded]: as they are, where they are read so, or packed.
        std::vector<const S*> matrices;
        int64_t size = 0;
        for (int p = 0; p < plan.num_paths; p++)
            if (!stays(plan.paths[p])) size += int64_t(from(plan.paths[p]).mul) * to(plan.paths[p]).padded;
        Buffer<S> packed(size * plan.num_indices);
        S* next = packed.get();
        for (int64_t s = 0; s < plan.num_indices; s++)
            for (int p = 0; p < plan.num_paths; p++) {
                const e3_map& path = plan.paths[p];
                const S* own = w + path.weight + s * path.index_step;
                matrices.push_back(stays(path) ? own : next);
                if (!stays(path)) pack(path, own, next), next += int64_t(from(path).mul) * to(path).padded;
            }
        if (!rows.ptr && rows.count <= FEW && plan.num_paths >= MANY) by_paths(x, matrices, result, threads);
        else by_rows(x, matrices, result, threads);
    }

    // Chunks of rows of one index side by side, so small that threads find some to share.
    void by_rows(const S* x, const std::vector<const S*>& matrices, S* result, int threads) const {
        const int64_t length = std::clamp<int64_t>(rows.count / 8, 2 * ROWS, CHUNK_NODES);
        std::vector<std::array<int64_t, 3>> chunks;
        for (int64_t s = 0; s < plan.num_indices; s++)
            for (int64_t k = rows.ptr ? rows.ptr[s] : 0, end = rows.ptr ? rows.ptr[s + 1] : rows.count; k < end; k += length)
                chunks.push_back({s, k, std::min<int64_t>(k + length, end)});
        const int64_t count = static_cast<int64_t>(chunks.size());
        const int team = static_cast<int>(std::clamp<int64_t>(count, 1, std::max(threads, 1)));
        const int64_t room = int64_t(CHUNK_NODES) * (out.width + W<S>);  // no two threads on one cache line
        Buffer<S> all_sums(team * room);
#pragma omp parallel num_threads(team) if (team > 1)
        {
            S* sums = all_sums.get() + this_thread() * room;
#pragma omp for schedule(static)
            for (int64_t c = 0; c < count; c++) {
                const auto [s, first, last] = chunks[c];
                std::fill_n(sums, (last - first) * out.width, S(0));
                for (int p = 0; p < plan.num_paths; p++)
                    apply(plan.paths[p], x, matrices[s * plan.num_paths + p], first, last, sums, out.width);
                for (int64_t k = first; k < last; k++) out.unpack(sums + (k - first) * out.width, result + row(k) * out.plain);
            }
        }
    }

    // Few rows but many paths: pieces of the paths side by side, each with sums of its own of the columns it writes.
    void by_paths(const S* x, const std::vector<const S*>& matrices, S* result, int threads) const {
        int first[PIECES + 1] = {}, begin[PIECES], width[PIECES];
        std::vector<Buffer<S>> sums;
        for (int k = 0; k < PIECES; k++) {
            first[k + 1] = (k + 1) * plan.num_paths / PIECES;
            int end = 0;
            begin[k] = out.width;
            for (int p = first[k]; p < first[k + 1]; p++) {
                const auto& term = to(plan.paths[p]);
                begin[k] = std::min(begin[k], term.begin), end = std::max(end, term.begin + term.dim * term.padded);
            }
            width[k] = end - begin[k];
            sums.emplace_back(rows.count * width[k]);
        }
        const int team = std::clamp(threads, 1, PIECES);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(static)
        for (int k = 0; k < PIECES; k++) {
            std::fill_n(sums[k].get(), rows.count * width[k], S(0));
            for (int p = first[k]; p < first[k + 1]; p++)
                apply(plan.paths[p], x, matrices[p], 0, rows.count, sums[k].get() - begin[k], width[k]);
        }
        Buffer<S> total(out.width);
        for (int64_t n = 0; n < rows.count; n++) {
            std::fill_n(total.get(), out.width, S(0));
            for (int k = 0; k < PIECES; k++)
                for (int i = 0; i < width[k]; i++) total[begin[k] + i] += sums[k][n * width[k] + i];
            out.unpack(total.get(), result + row(n) * out.plain);
        }
    }

    // Whether a matrix is read where it lies: rows of whole vectors, or transposed for so few rows of scalars that sums
    // over its rows cost less than a copy.
    bool stays(const e3_map& p) const { return transposed ? summed(p) : to(p).padded == to(p).mul && p.row_step == to(p).mul; }
    bool summed(const e3_map& p) const {
        return transposed && from(p).dim == 1 && from(p).padded == from(p).mul && rows.count <= FEW;
    }

    void pack(const e3_map& p, const S* own, S* matrix) const {
        const int u_count = from(p).mul, v_count = to(p).mul, padded = to(p).padded;
        for (int u = 0; u < u_count; u++) std::fill(matrix + int64_t(u) * padded + v_count, matrix + int64_t(u + 1) * padded, S(0));
        // Either way the weights are read in their order.
        if (!transposed)
            for (int u = 0; u < u_count; u++)
                for (int v = 0; v < v_count; v++) matrix[int64_t(u) * padded + v] = own[u * p.row_step + v];
        else
            for (int v = 0; v < v_count; v++)
                for (int u = 0; u < u_count; u++) matrix[int64_t(u) * padded + v] = own[v * p.row_step + u];
    }

    // Adds what a path makes of rows to sums, rows of `width`.
    void apply(const e3_map& p, const S* x, const S* matrix, int64_t first, int64_t last, S* sums, int64_t width) const {
        const auto &a = from(p), &b = to(p);
        if (summed(p)) {
            for (int64_t k = first; k < last; k++)
                dots(x + row(k) * in.plain + a.offset, matrix, p.row_step, b.mul, a.mul, S(p.c), sums + (k - first) * width + b.begin);
            return;
        }
        const S* source[ROWS];
        S* target[ROWS];
        int held = 0;
        const auto flush = [&] {
            switch (held) {
                case 1: multiply<S, 1>(source, a.dim, matrix, b.padded, a.mul, S(p.c), target); break;
                case 2: multiply<S, 2>(source, a.dim, matrix, b.padded, a.mul, S(p.c), target); break;
                case 3: multiply<S, 3>(source, a.dim, matrix, b.padded, a.mul, S(p.c), target); break;
                case 4: multiply<S, 4>(source, a.dim, matrix, b.padded, a.mul, S(p.c), target); break;
                case 5: multiply<S, 5>(source, a.dim, matrix, b.padded, a.mul, S(p.c), target); break;
                case 6: multiply<S, 6>(source, a.dim, matrix, b.padded, a.mul, S(p.c), target); break;
            }
            held = 0;
        };
        for (int64_t k = first; k < last; k++)
            for (int i = 0; i < a.dim; i++) {
                source[held] = x + row(k) * in.plain + a.offset + i;
                target[held] = sums + (k - first) * width + b.begin + i * b.padded;
                if (++held == ROWS) flush();
            }
        flush();
    }

    // gw[s,u,v] = c Σ_{n of s, i} x[n,u,i] o[n,v,i]; not transposed. Each piece of gw is one thread's.
    void weights(const S* x, const S* o, S* gw, int threads) const {
        const Packed<S> packed(o, rows.count, out, threads);
        struct Task {
            int p, u;
            int64_t s;
        };
        std::vector<Task> tasks;
        for (int64_t s = 0; s < plan.num_indices; s++)
            for (int p = 0; p < plan.num_paths; p++)
                for (int u = 0; u < from(plan.paths[p]).mul; u += ROWS) tasks.push_back({p, u, s});
        const int64_t count = static_cast<int64_t>(tasks.size());
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows.count > 16) schedule(dynamic)
        for (int64_t t = 0; t < count; t++) {
            const e3_map& p = plan.paths[tasks[t].p];
            const int held = std::min(ROWS, from(p).mul - tasks[t].u);
            switch (held) {
                case 1: outer<1>(p, tasks[t].u, tasks[t].s, x, packed, gw); break;
                case 2: outer<2>(p, tasks[t].u, tasks[t].s, x, packed, gw); break;
                case 3: outer<3>(p, tasks[t].u, tasks[t].s, x, packed, gw); break;
                case 4: outer<4>(p, tasks[t].u, tasks[t].s, x, packed, gw); break;
                case 5: outer<5>(p, tasks[t].u, tasks[t].s, x, packed, gw); break;
                default: outer<6>(p, tasks[t].u, tasks[t].s, x, packed, gw); break;
            }
        }
    }

    template <int HELD>
    void outer(const e3_map& p, int u, int64_t s, const S* x, const Packed<S>& o, S* gw) const {
        const auto &a = from(p), &b = to(p);
        const int64_t first = rows.ptr ? rows.ptr[s] : 0, last = rows.ptr ? rows.ptr[s + 1] : rows.count;
        for (int v = 0; v < b.padded; v += W<S>) {
            Vec<S> acc[HELD];
            E3_UNROLL for (int r = 0; r < HELD; r++) acc[r] = Vec<S>{};
            for (int64_t k = first; k < last; k++) {
                const int64_t n = row(k);
                const S *own = x + n * in.plain + a.offset + u * a.dim, *other = o[n] + b.begin + v;
                for (int i = 0; i < a.dim; i++) {
                    const Vec<S> o_i = load(other + i * b.padded);
                    E3_UNROLL for (int r = 0; r < HELD; r++) acc[r] += own[r * a.dim + i] * o_i;
                }
            }
            for (int r = 0; r < HELD; r++)
                store_n(gw + p.weight + s * p.index_step + (u + r) * p.row_step + v, S(p.c) * acc[r], std::min(W<S>, b.mul - v));
        }
    }
};

}  // namespace E3_ISA
