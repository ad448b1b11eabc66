// SPDX-License-Identifier: Apache-2.0
// Memory without content, and calls that may not read it. What lies between rows, behind the last position and in the
// workspaces has none; what a call has written must have some.
#ifndef SKIM_TESTS_MSAN_BARE_H_
#define SKIM_TESTS_MSAN_BARE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include <sanitizer/msan_interface.h>

#include "skim/skim.h"

namespace skim::msan {

/// Memory without content, exactly as much as is asked for.
template <class T>
class Bare {
 public:
  explicit Bare(std::size_t count) : count_(count), data_(static_cast<T*>(::operator new(count * sizeof(T)))) {
    __msan_allocated_memory(data_, count * sizeof(T));
  }
  Bare(Bare&& other) : count_(other.count_), data_(other.data_) { other.data_ = nullptr; }
  ~Bare() { ::operator delete(data_); }

  T* data() const { return data_; }
  void expect_written() const { __msan_check_mem_is_initialized(data_, count_ * sizeof(T)); }

 private:
  std::size_t count_;
  T* data_;
};

inline float noise() {
  static std::uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-30f;
}

/// Rows with a gap behind each, which has no content.
template <class T>
struct Stored {
  Bare<T> memory;
  Rows<const T> rows;

  Stored(std::size_t n, std::size_t cols, std::size_t gap) : memory(n * (row_values<T>(cols) + gap)) {
    const std::size_t stride = row_values<T>(cols) + gap;
    std::vector<float> row(cols);
    for (std::size_t i = 0; i < n; ++i) {
      for (float& x : row) x = noise();
      T* to = memory.data() + i * stride;
      if constexpr (std::is_same_v<T, I8>) {
        quantize_row(row.data(), cols, to);
      } else {
        for (std::size_t c = 0; c < cols; ++c) to[c] = from_float<T>(row[c]);
      }
    }
    rows = {memory.data(), n, cols, static_cast<std::ptrdiff_t>(stride)};
  }
};

/// A workspace gets used; what is left in it is content no more.
inline void forget(Workspace& ws) {
  constexpr std::size_t kBytes = 1 << 18;
  for (int slot = 0; slot < Workspace::kSlots; ++slot) {
    __msan_allocated_memory(ws.get<std::byte>(static_cast<Workspace::Slot>(slot), kBytes), kBytes);
  }
}

}  // namespace skim::msan

#endif  // SKIM_TESTS_MSAN_BARE_H_
