// Memory that the kernels allocate or fill.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace E3_ISA {

// Ask for large pages, where the system has them on request, before memory is touched for the first time: a gradient
// of a gigabyte comes fresh from the system at each call, and its faults, page by page, would cost more than what is
// computed. Less than 4 MiB is left alone, as NumPy does.
inline void large_pages(void* begin, size_t bytes) {
#ifdef MADV_HUGEPAGE
    constexpr uintptr_t PAGE = 1 << 21;
    const uintptr_t at = reinterpret_cast<uintptr_t>(begin);
    const uintptr_t first = (at + PAGE - 1) / PAGE * PAGE, last = (at + bytes) / PAGE * PAGE;
    if (begin && bytes >= 2 * PAGE && first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
    (void)begin, (void)bytes;
#endif
}

template <class T> struct Free {
    void operator()(T* p) const { std::free(p); }
};
template <class T> struct Buffer : std::unique_ptr<T[], Free<T>> {
    explicit Buffer(int64_t count) : std::unique_ptr<T[], Free<T>>(allocate(count)) {}
    static T* allocate(int64_t count) {
        const size_t bytes = (std::max<int64_t>(count, 1) * sizeof(T) + 63) / 64 * 64;
        void* p = std::aligned_alloc(64, bytes);
        if (!p) throw std::bad_alloc();
        large_pages(p, bytes);
        return static_cast<T*>(p);
    }
};

}  // namespace E3_ISA
