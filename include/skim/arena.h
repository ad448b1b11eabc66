// SPDX-License-Identifier: Apache-2.0
// Memory for keys and values, in huge pages where the operating system has them. Optional: skim reads any
// memory. The only file that knows the operating system.
//
// Reading rows here and there in 4 KiB pages misses the TLB at nearly every row; a page of 2 MiB holds
// thousands of rows.
#ifndef SKIM_ARENA_H_
#define SKIM_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "skim/core/error.h"

// Elsewhere than on Linux, or with SKIM_ARENA_PLAIN (in all of a program), the arena is an aligned `new`.
#if defined(__linux__) && !defined(SKIM_ARENA_PLAIN)
#define SKIM_ARENA_MAPS 1
#include <sys/mman.h>
#else
#define SKIM_ARENA_MAPS 0
#endif

namespace skim::inline SKIM_ABI {

/// One block of memory, aligned to 2 MiB, that hands out arrays until it is full. Arrays live as long as the
/// arena does and move with it. On Linux pages come into being, as zeros, when they are first touched, by the
/// thread that touches them; `touch` does it ahead of time.
class Arena {
 public:
  static constexpr std::size_t kAlign = 64;  ///< of every array
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  Arena() = default;
  /// Throws std::bad_alloc when there is no room for `bytes`.
  explicit Arena(std::size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    map();
    if (data_ != nullptr) return;
    // libstdc++ 12 rounds the largest sizes up to 0, and then has memory for them.
    const std::size_t possible = bytes < SIZE_MAX / 2 ? bytes : SIZE_MAX / 2;
    data_ = static_cast<std::byte*>(::operator new(possible, std::align_val_t{kHugePage}));
  }
  Arena(Arena&& other) noexcept { swap(other); }
  Arena& operator=(Arena&& other) noexcept {
    Arena(std::move(other)).swap(*this);  // what was here goes now, not when `other` does
    return *this;
  }
  ~Arena() {
#if SKIM_ARENA_MAPS
    if (mapped_ != 0) {
      munmap(data_, mapped_);
      return;
    }
#endif
    ::operator delete(data_, std::align_val_t{kHugePage});
  }

  /// `count` values without a defined content, aligned to 64 bytes. What lies between two arrays is less than
  /// that, so that arrays of whole cache lines fill an arena of their joint size.
  /// Throws std::invalid_argument, naming both numbers, when they do not fit any more.
  template <class T>
  std::span<T> allocate(std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>,
                  "skim: an arena makes and destroys nothing, it only holds plain values");
    static_assert(alignof(T) <= kAlign);
    const std::size_t gap = (kAlign - used_ % kAlign) % kAlign;
    const std::size_t left = size_ - used_ < gap ? 0 : size_ - used_ - gap;
    if (count > left / sizeof(T)) {  // no product that could overflow
      fail("skim::Arena: ", count, " values of ", sizeof(T), " bytes asked for but ", left,
           " bytes are left");
    }
    if (count == 0) return {};
    T* values = reinterpret_cast<T*>(data_ + used_ + gap);
    used_ += gap + count * sizeof(T);
    return {values, count};
  }

  /// Makes every page exist that holds no array yet: then no read or write of it waits for the system.
  void touch() {
    constexpr std::size_t kSmallestPage = 4096;
    // A read alone would only borrow a page of zeros that the system lends to everybody.
    for (std::size_t i = used_; i < size_; i += kSmallestPage) data_[i] = std::byte{0};
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t used() const { return used_; }  ///< gaps included

  /// Whether the system was asked for huge pages and did not refuse. How many it gives is its own affair and
  /// can change: on Linux, AnonHugePages in /proc/self/smaps tells.
  bool advised() const { return advised_; }

 private:
  void swap(Arena& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(used_, other.used_);
    std::swap(mapped_, other.mapped_);
    std::swap(advised_, other.advised_);
  }

  /// Leaves data_ null where there is nothing to map or the system refuses.
  void map() {
#if SKIM_ARENA_MAPS
    if (size_ > SIZE_MAX - 2 * kHugePage) return;
    // Whole huge pages, the last one too, and one more to cut both ends to size.
    mapped_ = (size_ + kHugePage - 1) / kHugePage * kHugePage;
    void* const all =
        mmap(nullptr, mapped_ + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
      mapped_ = 0;
      return;
    }
    const std::size_t head =
        (kHugePage - reinterpret_cast<std::uintptr_t>(all) % kHugePage) % kHugePage;
    data_ = static_cast<std::byte*>(all) + head;
    if (head != 0) munmap(all, head);
    munmap(data_ + mapped_, kHugePage - head);
    advised_ = madvise(data_, mapped_, MADV_HUGEPAGE) == 0;
#endif
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t used_ = 0;
  std::size_t mapped_ = 0;  // 0: by operator new
  bool advised_ = false;
};

}  // namespace skim::inline SKIM_ABI

#undef SKIM_ARENA_MAPS

#endif  // SKIM_ARENA_H_
