// SPDX-License-Identifier: Apache-2.0
// Rows of the caller's memory: any row stride, inner stride 1.
#ifndef SKIM_CORE_ROWS_H_
#define SKIM_CORE_ROWS_H_

#include <cstddef>
#include <type_traits>

#include "skim/core/config.h"
#include "skim/core/storage.h"

namespace skim::inline SKIM_ABI {

/// `rows` rows of `cols` values; row r starts at data + r * stride. The stride is in T and may be anything
/// for what is only read (0 repeats one row, negative walks backwards), but that quantised rows, which are longer
/// than `cols`, must not overlap.
template <class T>
struct Rows {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(row_values<std::remove_const_t<T>>(cols));

  constexpr T* row(std::size_t r) const { return data + static_cast<std::ptrdiff_t>(r) * stride; }

  /// Rows that may be written are rows that may be read.
  template <class U>
    requires(std::is_same_v<U, const T> && !std::is_const_v<T>)
  constexpr operator Rows<U>() const {
    return {data, rows, cols, stride};
  }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_ROWS_H_
