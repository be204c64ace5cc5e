// The gradient of weights that edges share.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "memory.hpp"
#include "plan.hpp"

namespace E3_ISA {

// Where each edge, in the order by target, puts its part of gw when edges share rows: a row is the task's that meets it
// first, which writes it once and then adds. The parts of other tasks wait in rows of their own.
template <class S>
struct SharedRows {
    static constexpr int64_t WRITE = -2, ADD = -1;
    std::vector<int64_t> place, waiting;  // of each edge: one of these, or its place in waiting, a list of rows
    std::vector<int32_t> owner;           // of each row its task; -1: no edge has it
    Buffer<S> parts;

    SharedRows(const e3_edges& edges, const e3_tensors& given, const std::vector<int64_t>& ends, int64_t numel)
        : place(edges.num_edges), owner(given.num_rows, -1), parts(0) {
        for (size_t task = 0, at = 0; task < ends.size(); task++)
            for (; static_cast<int64_t>(at) < ends[task]; at++) {
                const int64_t row = given.rows[edges.by_target[at]];
                if (owner[row] < 0) owner[row] = static_cast<int32_t>(task), place[at] = WRITE;
                else if (owner[row] == static_cast<int32_t>(task)) place[at] = ADD;
                else place[at] = static_cast<int64_t>(waiting.size()), waiting.push_back(row);
            }
        parts = Buffer<S>(static_cast<int64_t>(waiting.size()) * numel);
    }
    // Each thread has columns of its own, and goes through the parts in order.
    void finish(S* gw, int64_t numel, int threads) const {
        const int64_t blocks = (numel + 63) / 64;
#pragma omp parallel for num_threads(threads) if (threads > 1 && waiting.size() > 64) schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t begin = b * 64, count = std::min<int64_t>(64, numel - begin);
            for (size_t k = 0; k < waiting.size(); k++) {
                S* to = gw + waiting[k] * numel + begin;
                const S* part = parts.get() + static_cast<int64_t>(k) * numel + begin;
                for (int64_t n = 0; n < count; n++) to[n] += part[n];
            }
        }
        for (size_t row = 0; row < owner.size(); row++)
            if (owner[row] < 0) std::fill_n(gw + static_cast<int64_t>(row) * numel, numel, S(0));
    }
};

}  // namespace E3_ISA
