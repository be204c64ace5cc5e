// F(x, w, o) = Σ_n Σ_k o[n,k] Σ_m c_km x^m of each channel, with monomials x^m of its components and c = U w folded from
// the weights of the couplings, and the derivatives of F.
//
// Every monomial is a product z_a z_b of a head a and a leaf b, each of which is the number one, a component, or a product
// of two. With groups of equal a and k, F = Σ_groups o_k z_a t, t = Σ_b c z_b, and with q = o_k z_a
//   gz_b += q c,   gc += Σ_n q z_b,   gz_a += o_k t;   gz of products of two goes on to their components.
// The twice differentiated form is the derivative of F at x + ε ax, w + ε aw by ε: all of this in dual numbers.
//
// Channels lie in the lanes of vectors. A task is a vector of channels of some nodes of one index: it folds the weights,
// reads each coefficient once for several nodes, and leaves a sum of gc of its own, so that nothing depends on threads.
#pragma once
#include <algorithm>
#include <vector>

#include "memory.hpp"
#include "paths.hpp"
#include "plan.hpp"

namespace E3_ISA {

// Nodes side by side in registers.
#ifdef E3_SMALL
constexpr int SIDE = 4, SIDE_TWICE = 4, SIDE_LEAST = 4;
#else
constexpr int SIDE = E3_BYTES == 64 ? 8 : 4, SIDE_TWICE = SIDE / 2, SIDE_LEAST = 1;
#endif

// A number and its derivative along ax and aw.
template <class S> struct Two {
    Vec<S> value, along;
};

template <class S>
struct Symmetric {
    using V = Vec<S>;
    static constexpr int N = W<S>;
    static constexpr int64_t CHUNK = 256, MOST_CHUNKS = 64, FEW = 1 << 16;
    const e3_symmetric& plan;
    const e3_rows& rows;
    const e3_symmetric_tensors& given;
    const bool twice;

    struct Task {
        int64_t index, first, last, partial;  // its nodes; its part of gw, or -1: the task writes gw
        int channel;
    };
    // What a thread works with.
    struct Workspace {
        Buffer<S> w, c, c_a, gc, z, z_a, gz, gz_a, o, out;
        Workspace(const e3_symmetric& p, bool twice)
            : w(p.num_couplings * N), c(p.num_leaves * N), c_a(twice ? p.num_leaves * N : 0), gc(p.num_leaves * N),
              z(p.num_values * SIDE * N), z_a(twice ? p.num_values * SIDE * N : 0), gz(p.num_values * SIDE * N),
              gz_a(twice ? p.num_values * SIDE * N : 0), o(p.dim_out * SIDE * N), out(p.dim_out * SIDE * N) {}
    };

    int64_t row(int64_t k) const { return rows.order ? rows.order[k] : k; }

    void run(int threads) const {
        const int64_t size = int64_t(plan.num_couplings) * plan.mul;
        std::vector<Task> tasks;
        int64_t partials = 0;
        for (int64_t s = 0; s < given.num_indices; s++) {
            const int64_t begin = rows.ptr ? rows.ptr[s] : 0, end = rows.ptr ? rows.ptr[s + 1] : rows.count;
            const int64_t length = std::max(CHUNK, (end - begin + MOST_CHUNKS - 1) / MOST_CHUNKS);
            if (begin == end && given.gw) std::fill_n(static_cast<S*>(given.gw) + s * size, size, S(0));
            for (int64_t first = begin; first < end; first += length)
                for (int u = 0; u < plan.mul; u += N) {
                    const bool alone = end - begin <= length;
                    tasks.push_back({s, first, std::min(first + length, end), alone ? -1 : partials++, u});
                }
        }
        const int64_t count = static_cast<int64_t>(tasks.size());
        const int64_t work = rows.count * plan.mul * plan.num_leaves;
        const int team = static_cast<int>(std::clamp<int64_t>(work < FEW ? 1 : count, 1, std::max(threads, 1)));
        Buffer<S> parts(given.gw ? partials * plan.num_couplings * N : 0);
        std::vector<Workspace> spaces;  // allocated before threads start: an exception must not leave one of them
        spaces.reserve(team);
        for (int n = 0; n < team; n++) spaces.emplace_back(plan, twice);
#pragma omp parallel for num_threads(team) if (team > 1) schedule(dynamic)
        for (int64_t n = 0; n < count; n++) perform(tasks[n], spaces[this_thread()], parts.get());
        if (!given.gw) return;
        for (const Task& task : tasks)
            if (task.partial >= 0) {
                const S* part = parts.get() + task.partial * plan.num_couplings * N;
                const bool begins = task.first == (rows.ptr ? rows.ptr[task.index] : 0);
                for (int c = 0; c < plan.num_couplings; c++) put_weights(task, c, load(part + c * N), !begins);
            }
    }

    void put_weights(const Task& task, int coupling, V g, bool add) const {
        const int held = plan.mul - task.channel;
        S* to = static_cast<S*>(given.gw) + (task.index * plan.num_couplings + coupling) * plan.mul + task.channel;
        store_n(to, add ? g + load_n(to, held) : g, held);
    }

    void perform(const Task& task, Workspace& space, S* parts) const {
        fold(task, given.w, space.w.get(), space.c.get());
        if (twice && given.aw) fold(task, given.aw, space.w.get(), space.c_a.get());
        if (given.gw) std::fill_n(space.gc.get(), plan.num_leaves * N, S(0));
        constexpr int DOUBLE = SIDE_TWICE, SINGLE = SIDE;
        const bool back = given.gx || given.gw;
        for (int64_t n = task.first; n < task.last;) {
            const int64_t held = task.last - n;
            if (twice) n += given.aw ? step<DOUBLE, true, true>(task, n, held, space) : step<DOUBLE, true, false>(task, n, held, space);
            else n += back ? step<SINGLE, false, true>(task, n, held, space) : step<SINGLE, false, false>(task, n, held, space);
        }
        if (given.gw) unfold(task, space, parts);
    }

    // Coefficients of the task's channels: c = Σ U w.
    void fold(const Task& task, const void* from, S* w, S* c) const {
        const S* own = static_cast<const S*>(from) + task.index * plan.num_couplings * plan.mul + task.channel;
        for (int n = 0; n < plan.num_couplings; n++) store(w + n * N, load_n(own + int64_t(n) * plan.mul, plan.mul - task.channel));
        for (int n = 0; n < plan.num_leaves; n++) {
            V sum = {};
            for (int e = plan.ptr[n]; e < plan.ptr[n + 1]; e++) sum += S(plan.factor[e]) * load(w + plan.coupling[e] * N);
            store(c + n * N, sum);
        }
    }
    void unfold(const Task& task, Workspace& space, S* parts) const {
        S* sums = task.partial < 0 ? space.w.get() : parts + task.partial * plan.num_couplings * N;
        std::fill_n(sums, plan.num_couplings * N, S(0));
        for (int n = 0; n < plan.num_leaves; n++) {
            const V gc = load(space.gc.get() + n * N);
            for (int e = plan.ptr[n]; e < plan.ptr[n + 1]; e++) {
                S* sum = sums + plan.coupling[e] * N;
                store(sum, load(sum) + S(plan.factor[e]) * gc);
            }
        }
        if (task.partial < 0)
            for (int c = 0; c < plan.num_couplings; c++) put_weights(task, c, load(sums + c * N), false);
    }

    // At most R nodes from n on, of `held` that are left; returns how many.
    template <int R, bool DOUBLE, bool FLAG> int64_t step(const Task& task, int64_t n, int64_t held, Workspace& space) const {
        if constexpr (R > SIDE_LEAST)
            if (held <= R / 2) return step<R / 2, DOUBLE, FLAG>(task, n, held, space);
        const int r = static_cast<int>(std::min<int64_t>(R, held));
        if constexpr (DOUBLE) {
            if (given.gw) differentiate<R, FLAG, true>(task, n, r, space);
            else differentiate<R, FLAG, false>(task, n, r, space);
        } else if constexpr (FLAG) {
            if (given.gw) backward<R, true>(task, n, r, space);
            else backward<R, false>(task, n, r, space);
        } else {
            forward<R>(task, n, r, space);
        }
        return r;
    }

    // The task's channels of terms of nodes n ... n + r - 1, as [component][node of R][lane]; zeros for other nodes.
    template <int R> void read(const void* from, const e3_term* terms, int count, int width, const Task& task, int64_t n, int r, S* to) const {
        for (int t = 0; t < count; t++) {
            const int d = terms[t].dim;
            for (int k = 0; k < R; k++, to += N) {
                if (k >= r || !from) {
                    for (int i = 0; i < d; i++) store(to + i * R * N, V{});
                    continue;
                }
                const S* own = static_cast<const S*>(from) + row(n + k) * width + terms[t].offset + task.channel * d;
                const int held = std::min(N, plan.mul - task.channel), done = transpose<S, true>(own, to, R * N, held, d);
                for (int i = 0; i < d && done < N; i++) {
                    for (int u = done; u < held; u++) to[i * R * N + u] = own[u * d + i];
                    std::fill(to + i * R * N + held, to + i * R * N + N, S(0));
                }
            }
            to += (d - 1) * R * N;
        }
    }
    template <int R> void write(const S* from, void* to, const e3_term* terms, int count, int width, const Task& task, int64_t n, int r) const {
        for (int t = 0; t < count; from += terms[t++].dim * R * N) {
            const int d = terms[t].dim, held = std::min(N, plan.mul - task.channel);
            for (int k = 0; k < r; k++) {
                const S* rows_of = from + k * N;
                S* own = static_cast<S*>(to) + row(n + k) * width + terms[t].offset + task.channel * d;
                for (int u = transpose<S, false>(rows_of, own, R * N, held, d); u < held; u++)
                    for (int i = 0; i < d; i++) own[u * d + i] = rows_of[i * R * N + u];
            }
        }
    }
    template <int R> void read_x(const void* x, const Task& task, int64_t n, int r, S* z) const {
        read<R>(x, plan.in, plan.num_in, plan.dim_in * plan.mul, task, n, r, z + R * N);
    }
    template <int R> void write_gx(const S* gz, const Task& task, int64_t n, int r) const {
        if (given.gx) write<R>(gz + R * N, given.gx, plan.in, plan.num_in, plan.dim_in * plan.mul, task, n, r);
    }
    template <int R> void write_out(const S* out, const Task& task, int64_t n, int r) const {
        if (given.out) write<R>(out, given.out, plan.out, plan.num_out, plan.dim_out * plan.mul, task, n, r);
    }

    // z: one, components, and products of two that are leaves; for dual numbers also their derivatives along ax.
    template <int R, bool DOUBLE> void values(const Task& task, int64_t n, int r, Workspace& space) const {
        S *z = space.z.get(), *z_a = space.z_a.get();
        for (int k = 0; k < R; k++) {
            store(z + k * N, V{} + S(1));
            if constexpr (DOUBLE) store(z_a + k * N, V{});
        }
        read_x<R>(given.x, task, n, r, z);
        if constexpr (DOUBLE) read_x<R>(given.ax, task, n, r, z_a);
        for (int p = 0, at = 1 + plan.dim_in; at < plan.num_values; p++, at++)
            E3_UNROLL for (int s = 0; s < R; s++) {
                const Two<S> v = head<R, DOUBLE>(plan.pairs[p], z, z_a, s);
                store(z + (at * R + s) * N, v.value);
                if constexpr (DOUBLE) store(z_a + (at * R + s) * N, v.along);
            }
    }

    // A product of two components (the second may be one), of node s.
    template <int R, bool DOUBLE> static Two<S> head(const e3_pair& p, const S* z, const S* z_a, int s) {
        const V i = load(z + (p.i * R + s) * N), j = load(z + (p.j * R + s) * N);
        if constexpr (DOUBLE) return {i * j, load(z_a + (p.i * R + s) * N) * j + i * load(z_a + (p.j * R + s) * N)};
        else return {i * j, V{}};
    }
    // Hands its gradient on to both.
    template <int R, bool DOUBLE> static void add(const e3_pair& p, const S* z, const S* z_a, int s, Two<S> g, S* gz) {
        const int64_t i = (p.i * R + s) * N, j = (p.j * R + s) * N;
        V to_i = g.value * load(z + j), to_j = g.value * load(z + i);
        if constexpr (DOUBLE) to_i = g.along * load(z + j) + g.value * load(z_a + j), to_j = g.along * load(z + i) + g.value * load(z_a + i);
        store(gz + i, load(gz + i) + to_i);
        store(gz + j, load(gz + j) + to_j);
    }

    template <int R> void forward(const Task& task, int64_t n, int r, Workspace& space) const {
        values<R, false>(task, n, r, space);
        const S *z = space.z.get(), *c = space.c.get();
        S* out = space.out.get();
        const int32_t *order = plan.by_output, *b = plan.b;
        for (int k = 0; k < plan.dim_out; k++, out += R * N) {
            V sum[R];
            E3_UNROLL for (int s = 0; s < R; s++) sum[s] = V{};
            for (const int32_t* end = plan.by_output + plan.output_ptr[k + 1]; order < end; order++) {
                const e3_group g = plan.groups[*order];
                V t[R];
                E3_UNROLL for (int s = 0; s < R; s++) t[s] = V{};
                for (int e = g.first, last = g.first + g.count; e < last; e++) {
                    const V c_e = load(c + e * N);
                    const S* z_b = z + b[e] * (R * N);
                    E3_UNROLL for (int s = 0; s < R; s++) t[s] += c_e * load(z_b + s * N);
                }
                const e3_pair a = plan.pairs[g.a];
                E3_UNROLL for (int s = 0; s < R; s++) sum[s] += head<R, false>(a, z, nullptr, s).value * t[s];
            }
            E3_UNROLL for (int s = 0; s < R; s++) store(out + s * N, sum[s]);
        }
        write_out<R>(space.out.get(), task, n, r);
    }

    template <int R, bool GW> void backward(const Task& task, int64_t n, int r, Workspace& space) const {
        values<R, false>(task, n, r, space);
        read<R>(given.o, plan.out, plan.num_out, plan.dim_out * plan.mul, task, n, r, space.o.get());
        const S *z = space.z.get(), *c = space.c.get(), *o = space.o.get();
        S *gz = space.gz.get(), *gc = space.gc.get();
        const int32_t* b = plan.b;
        std::fill_n(gz, plan.num_values * R * N, S(0));
        for (const e3_group *g = plan.groups, *end = g + plan.num_groups; g < end;) {
            const int a = g->a;
            const e3_pair pair = plan.pairs[a];
            V z_a[R], g_a[R];
            E3_UNROLL for (int s = 0; s < R; s++) z_a[s] = head<R, false>(pair, z, nullptr, s).value, g_a[s] = V{};
            for (; g < end && g->a == a; g++) {
                const S* o_k = o + g->k * (R * N);
                V q[R], t[R];
                E3_UNROLL for (int s = 0; s < R; s++) q[s] = load(o_k + s * N) * z_a[s], t[s] = V{};
                for (int e = g->first, last = g->first + g->count; e < last; e++) {
                    const V c_e = load(c + e * N);
                    const S* z_b = z + b[e] * (R * N);
                    S* gz_b = gz + b[e] * (R * N);
                    V sum = {};
                    E3_UNROLL for (int s = 0; s < R; s++) {
                        const V v = load(z_b + s * N);
                        t[s] += c_e * v;
                        if constexpr (GW) sum += q[s] * v;
                        store(gz_b + s * N, load(gz_b + s * N) + q[s] * c_e);
                    }
                    if constexpr (GW) store(gc + e * N, load(gc + e * N) + sum);
                }
                E3_UNROLL for (int s = 0; s < R; s++) g_a[s] += load(o_k + s * N) * t[s];
            }
            E3_UNROLL for (int s = 0; s < R; s++) add<R, false>(pair, z, nullptr, s, {g_a[s], V{}}, gz);
        }
        for (int p = 0, at = 1 + plan.dim_in; at < plan.num_values; p++, at++)
            E3_UNROLL for (int s = 0; s < R; s++) add<R, false>(plan.pairs[p], z, nullptr, s, {load(gz + (at * R + s) * N), V{}}, gz);
        write_gx<R>(gz, task, n, r);
    }

    template <int R, bool AW, bool GW> void differentiate(const Task& task, int64_t n, int r, Workspace& space) const {
        values<R, true>(task, n, r, space);
        read<R>(given.o, plan.out, plan.num_out, plan.dim_out * plan.mul, task, n, r, space.o.get());
        const S *z = space.z.get(), *z_a = space.z_a.get(), *c = space.c.get(), *c_a = space.c_a.get(), *o = space.o.get();
        S *gz = space.gz.get(), *gz_a = space.gz_a.get(), *gc = space.gc.get();  // gz of products that are leaves alone
        const int32_t* b = plan.b;
        const int stored = 1 + plan.dim_in;
        std::fill_n(gz, plan.num_values * R * N, S(0));
        std::fill_n(gz_a, plan.num_values * R * N, S(0));
        std::fill_n(space.out.get(), plan.dim_out * R * N, S(0));
        for (const e3_group *g = plan.groups, *end = g + plan.num_groups; g < end;) {
            const int a = g->a;
            const e3_pair pair = plan.pairs[a];
            Two<S> z_of[R], g_of[R];
            E3_UNROLL for (int s = 0; s < R; s++) z_of[s] = head<R, true>(pair, z, z_a, s), g_of[s] = Two<S>{};
            for (; g < end && g->a == a; g++) {
                const S* o_k = o + g->k * (R * N);
                V q[R], q_a[R], t[R], t_a[R];
                E3_UNROLL for (int s = 0; s < R; s++) {
                    const V o_s = load(o_k + s * N);
                    q[s] = o_s * z_of[s].value, q_a[s] = o_s * z_of[s].along, t[s] = t_a[s] = V{};
                }
                for (int e = g->first, last = g->first + g->count; e < last; e++) {
                    const V c_e = load(c + e * N), c_s = AW ? load(c_a + e * N) : V{};
                    const int64_t at = b[e] * (R * N);
                    V sum = {};
                    E3_UNROLL for (int s = 0; s < R; s++) {
                        const V v = load(z + at + s * N), v_a = load(z_a + at + s * N);
                        t[s] += c_e * v, t_a[s] += c_e * v_a;
                        if constexpr (GW) sum += q_a[s] * v + q[s] * v_a;
                        V g_a = load(gz_a + at + s * N) + q_a[s] * c_e;
                        if constexpr (AW) t_a[s] += c_s * v, g_a += q[s] * c_s;
                        store(gz_a + at + s * N, g_a);
                    }
                    if (b[e] >= stored)
                        E3_UNROLL for (int s = 0; s < R; s++) store(gz + at + s * N, load(gz + at + s * N) + q[s] * c_e);
                    if constexpr (GW) store(gc + e * N, load(gc + e * N) + sum);
                }
                S* out = space.out.get() + g->k * (R * N);
                E3_UNROLL for (int s = 0; s < R; s++) {
                    const V o_s = load(o_k + s * N);
                    store(out + s * N, load(out + s * N) + z_of[s].along * t[s] + z_of[s].value * t_a[s]);
                    g_of[s].value += o_s * t[s], g_of[s].along += o_s * t_a[s];
                }
            }
            E3_UNROLL for (int s = 0; s < R; s++) add<R, true>(pair, z, z_a, s, g_of[s], gz_a);
        }
        for (int p = 0, at = stored; at < plan.num_values; p++, at++)
            E3_UNROLL for (int s = 0; s < R; s++) {
                const int64_t here = (at * R + s) * N;
                add<R, true>(plan.pairs[p], z, z_a, s, {load(gz + here), load(gz_a + here)}, gz_a);
            }
        write_gx<R>(gz_a, task, n, r);
        write_out<R>(space.out.get(), task, n, r);
    }
};

}  // namespace E3_ISA
