// SPDX-License-Identifier: Apache-2.0
// Is an index of these keys? Lengths cannot tell: another head has as many, and a slot that is used again had.
#if defined(SKIM_INDEX_VERIFY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_VERIFY_INL_H_
#undef SKIM_INDEX_VERIFY_INL_H_
#else
#define SKIM_INDEX_VERIFY_INL_H_
#endif

#include <algorithm>
#include <string>
#include <type_traits>

#include "skim/core/buffer.h"
#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/core/random.h"
#include "skim/core/validate.h"
#include "skim/index/fingerprint-inl.h"
#include "skim/index/indexed_kv.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// An index that remembers what it has seen: `piece()` positions to each of its `fingerprints()`.
template <class Index>
concept Fingerprinted = requires(const Index& index) {
  index.fingerprints();
  index.piece();
};

/// Whether the keys of piece i are those that the index has seen.
template <class Index, class Kv>
bool is_of_piece(const Index& index, const Kv& kv, std::size_t i) {
  const auto first = static_cast<Position>(i * index.piece());
  return fingerprint<Index>(kv, {first, first + static_cast<Position>(index.piece())}) == index.fingerprints()[i];
}

/// Throws the std::invalid_argument that says so of piece i. whose: " of KV view 3", for instance.
template <class Index>
[[noreturn]] SKIM_COLD void fail_to_verify(const char* caller, const Index& index, const std::string& whose,
                                           std::size_t i) {
  const std::size_t first = i * index.piece();
  fail(caller, ": the ", index.kName, whose, " has seen other ", kOfValues<Index> ? "keys or values" : "keys",
       " than those at positions [", first, ", ", first + index.piece(), "), piece ", i, " of ",
       index.fingerprints().size(), ": if they were overwritten, truncate it to ", first,
       " and append again (skim::truncate, skim::append); otherwise it is the index of another KV head");
}

/// Throws std::invalid_argument unless `index` is of the keys of `kv` (page means: of its keys and values), comparing a
/// hash of each piece of its own (a segment of a sketch, a page, 64 positions of LSH tables); the text names the first
/// that differs, its positions and the mend. Of the newest positions, which no piece holds, an index has nothing that
/// could be wrong: they are read from the keys. Reads every key once. Also throws on shapes that do not fit.
template <KvIndex Index, KvHead Kv>
void verify(const Index& index, const Kv& kv) {
  Buffer<std::uint64_t> page_marks;
  check_kv(plain(kv), page_marks);
  check_covers("skim::verify", index, kv);
  if constexpr (Fingerprinted<Index>) {
    for (std::size_t i = 0; i < index.fingerprints().size(); ++i) {
      if (!is_of_piece(index, kv, i)) fail_to_verify("skim::verify", index, "", i);
    }
  }
}

/// The same for each index that `kv` carries. (Scores that the caller brings are of no keys: only their number is
/// compared.)
template <KvHead Kv>
void verify(const Kv& kv) {
  for_each_index(kv, [&](const auto& index) { verify(index, kv); });
}

/// The same for some pieces of each index of KV view `view` of a layer: always the newest, so that an index of another head
/// is noticed at once, and so is that of a sequence with the same beginning; and as many drawn ones as hold 256 positions.
template <class Kv>
void verify_some(std::size_t view, const Kv& kv, const Draws& draws) {
  constexpr std::size_t kPositions = 256;
  for_each_index(kv, [&](const auto& index) {
    if constexpr (Fingerprinted<std::remove_cvref_t<decltype(index)>>) {
      const std::size_t pieces = index.fingerprints().size();
      if (pieces == 0) return;
      const auto check = [&](std::size_t i) {
        if (!is_of_piece(index, kv, i)) fail_to_verify("skim::attend", index, " of KV view " + std::to_string(view), i);
      };
      check(pieces - 1);
      const std::size_t drawn = std::min(pieces - 1, (kPositions + index.piece() - 1) / index.piece());
      for (std::size_t i = 0; i < drawn; ++i) check(static_cast<std::size_t>(draws.below(i, pieces - 1)));
    }
  });
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_VERIFY_INL_H_
