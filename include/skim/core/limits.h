// SPDX-License-Identifier: Apache-2.0
// How large a size from outside may be, so that no product of sizes leaves its type on the way to memory.
#ifndef SKIM_CORE_LIMITS_H_
#define SKIM_CORE_LIMITS_H_

#include <cstddef>

#include "skim/core/config.h"
#include "skim/core/error.h"
#include "skim/core/position.h"

namespace skim::inline SKIM_ABI {

/// Positions that a KV head, an index or a workspace can be asked to hold. With it and kMostColumns every number of bytes
/// that a call works out fits in 63 bits; how much of that there is, `new` says.
inline constexpr Position kMostPositions = Position{1} << 36;
/// Columns of keys, values and queries; query heads that share a KV head.
inline constexpr std::size_t kMostColumns = std::size_t{1} << 20;
/// Pages that the numbers in a page table can name.
inline constexpr std::size_t kMostPages = std::size_t{1} << 31;
/// Positions of a segment or a page of an index.
inline constexpr std::size_t kMostInPiece = 65536;

/// Throws std::invalid_argument, naming all three numbers, unless least <= have <= most. what: "skim::Thing: name".
template <class Number>
void check_between(const char* what, Number have, Number least, Number most) {
  if (have < least || have > most) fail(what, " is ", have, " but must be between ", least, " and ", most);
}

/// a * b; std::bad_alloc when that is no number of bytes of any memory.
inline std::size_t checked_product(std::size_t a, std::size_t b) {
  std::size_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) fail_to_allocate();
  return product;
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_LIMITS_H_
