// SPDX-License-Identifier: Apache-2.0
// Growing array of plain values that never initialises and never shrinks.
//
// Not std::vector: its growth is a weak symbol with a copy loop, which the linker may take from a
// translation unit built for a newer machine; and it zeroes what is about to be overwritten.
#ifndef SKIM_CORE_BUFFER_H_
#define SKIM_CORE_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "skim/core/config.h"
#include "skim/core/error.h"

namespace skim::inline SKIM_ABI {

template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  static constexpr std::align_val_t kAlign{64};
  /// Elements whose bytes can be counted.
  static constexpr std::size_t kMost = static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(T);

  Buffer() = default;
  Buffer(const Buffer& other) { assign(other); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(const Buffer& other) {
    if (this != &other) assign(other);
    return *this;
  }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() { ::operator delete(data_, kAlign); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }

  void clear() { size_ = 0; }

  // Whatever grows throws std::bad_alloc where there is no memory, and has then changed nothing.

  /// New elements have no defined value.
  void resize(std::size_t size) {
    reserve(size);
    size_ = size;
  }

  void push_back(T value) {
    if (size_ == capacity_) reserve(size_ + 1);
    data_[size_++] = value;
  }

  /// At least so much, and half again, so that a cache that grows by one token does not allocate at each.
  void reserve(std::size_t capacity) {
    if (capacity <= capacity_) return;
    if (capacity > kMost) fail_to_allocate();
    const std::size_t more = capacity / 2 + 64 / sizeof(T) + 1;
    reserve_exactly(capacity < kMost - more ? capacity + more : kMost);
  }

  /// The same without the half, for somebody who knows how much it will be.
  void reserve_exactly(std::size_t capacity) {
    if (capacity <= capacity_) return;
    if (capacity > kMost) fail_to_allocate();
    T* fresh = static_cast<T*>(::operator new(capacity * sizeof(T), kAlign));
    if (size_ != 0) std::memcpy(fresh, data_, size_ * sizeof(T));
    ::operator delete(data_, kAlign);
    data_ = fresh;
    capacity_ = capacity;
  }

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  void assign(const Buffer& other) {
    resize(other.size_);
    if (size_ != 0) std::memcpy(data_, other.data_, size_ * sizeof(T));
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_BUFFER_H_
