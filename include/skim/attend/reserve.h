// SPDX-License-Identifier: Apache-2.0
// How large calls get, said before the first one.
#ifndef SKIM_ATTEND_RESERVE_H_
#define SKIM_ATTEND_RESERVE_H_

#include <cstddef>

#include "skim/core/config.h"
#include "skim/core/limits.h"
#include "skim/core/position.h"

namespace skim::inline SKIM_ABI {

/// The most that calls ask of a workspace: of layers, or, with one row and one KV head, of query groups.
struct CallSize {
  Position positions = 0;      ///< of the longest KV head
  std::size_t q_heads = 1;
  std::size_t kv_heads = 1;
  std::size_t d = 1;           ///< columns of queries and keys
  std::size_t d_v = 1;         ///< columns of values
  std::size_t rows = 1;        ///< query rows of a call, all sequences together
  std::size_t pool_pages = 0;  ///< pages of the pool, where KV heads are paged
  std::size_t lsh_tables = 0;  ///< where KV heads carry LSH tables: how many the estimator asks

  /// Throws std::invalid_argument where a number is out of range.
  void validate() const {
    check_between("skim::reserve: positions", positions, Position{0}, kMostPositions);
    check_between("skim::reserve: kv_heads", kv_heads, std::size_t{1}, kMostColumns);
    check_between("skim::reserve: q_heads", q_heads, kv_heads, kMostColumns);
    check_between("skim::reserve: d", d, std::size_t{1}, kMostColumns);
    check_between("skim::reserve: d_v", d_v, std::size_t{1}, kMostColumns);
    check_between("skim::reserve: rows", rows, std::size_t{0}, static_cast<std::size_t>(kMostPositions));
    check_between("skim::reserve: pool_pages", pool_pages, std::size_t{0}, kMostPages);
    check_between("skim::reserve: lsh_tables", lsh_tables, std::size_t{0}, kMostColumns);
    if (q_heads % kv_heads != 0) {
      fail("skim::reserve: ", q_heads, " query heads cannot share ", kv_heads, " KV heads evenly");
    }
  }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ATTEND_RESERVE_H_
