// Memory that does not cost more than what is done with it: the system clears every new page.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lovasz {

inline size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Memory on the boundary of a cache line, the first bytes of it zero. A thread keeps its last, if that is not much, for
// its next call.
class Buffer {
 public:
  Buffer(size_t bytes, size_t zeros) {
    if (kept().size >= bytes + 64) {
      std::swap(block_, kept());
      std::memset(get(), 0, zeros);
    } else {
      block_.memory = zeros ? std::calloc(bytes + 64, 1) : std::malloc(bytes + 64);
      if (block_.memory == nullptr) throw std::bad_alloc();
      block_.size = bytes + 64;
    }
  }
  ~Buffer() {
    if (block_.size <= kMostKept && block_.size > kept().size) std::swap(block_, kept());
    std::free(block_.memory);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  char* get() const { return reinterpret_cast<char*>(whole_lines(reinterpret_cast<uintptr_t>(block_.memory))); }

 private:
  struct Block {
    void* memory = nullptr;
    size_t size = 0;
  };
  struct Kept : Block {
    ~Kept() { std::free(memory); }
  };
  static constexpr size_t kMostKept = 4 << 20;
  static Block& kept() {
    static thread_local Kept one;
    return one;
  }

  Block block_;
};

// Of memory that is about to be written, all of it: pages of 2 MiB, where there may be, are cleared in a fraction of
// the time of 4 KiB.
inline void ask_for_large_pages(void* memory, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const uintptr_t page = uintptr_t(2) << 20, begin = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t first = (begin + page - 1) / page * page, end = (begin + bytes) / page * page;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);  // may be refused
#else
  (void)memory, (void)bytes;
#endif
}

}  // namespace lovasz
