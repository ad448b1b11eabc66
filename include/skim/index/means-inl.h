// SPDX-License-Identifier: Apache-2.0
// How a table of page means grows and shrinks with the keys and values of its head.
#if defined(SKIM_INDEX_MEANS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_MEANS_INL_H_
#undef SKIM_INDEX_MEANS_INL_H_
#else
#define SKIM_INDEX_MEANS_INL_H_
#endif

#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/core/limits.h"
#include "skim/core/scratch.h"
#include "skim/index/fingerprint-inl.h"
#include "skim/index/means.h"
#include "skim/index/sketch-inl.h"
#include "skim/kernel/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

inline bool all_finite(const BF16* row, std::size_t count) {
  for (std::size_t c = 0; c < count; ++c) {
    if ((row[c].bits & 0x7F80u) == 0x7F80u) return false;
  }
  return true;
}

/// Bytes that add_page works in.
inline std::size_t page_scratch(const PageMeans& means, std::size_t d, std::size_t d_v) {
  return means.page() * ((d + d_v) * sizeof(float) + sizeof(bool)) + centre_scratch(means.page(), d) * sizeof(float);
}

/// Calls visit(buffer, size) for all that a table keeps of so many pages, of whose positions so many are left out.
template <class Visit>
void for_each_buffer(PageMeans& means, std::size_t pages, std::size_t left_out, std::size_t d, std::size_t d_v,
                     const Visit& visit) {
  using Access = MeansAccess;
  visit(Access::keys(means), pages * d);
  visit(Access::values(means), pages * d_v);
  visit(Access::left_out(means), left_out);
  visit(Access::fingerprints(means), pages);
}

/// Adds the page that follows; it must be complete, and there must be room for it. memory: page_scratch, aligned to 64
/// bytes.
template <class Kv>
void add_page(PageMeans& means, const Kv& kv, std::byte* memory) {
  using Access = MeansAccess;
  const std::size_t count = means.page(), d = means.key_dim(), d_v = means.value_dim(), number = means.pages();
  const Position first = means.summarised();
  const Span run{first, first + static_cast<Position>(count)};
  float* room = reinterpret_cast<float*>(memory);
  float* of_outliers = room + count * (d + d_v);
  bool* in = reinterpret_cast<bool*>(of_outliers + centre_scratch(count, d));
  auto& left_out = Access::left_out(means);

  const float* keys = widen_run<float>(kv, run, d, [](const auto& block) { return block.keys; }, room);
  const float* values =
      widen_run<float>(kv, run, d_v, [](const auto& block) { return block.values; }, room + count * d);
  for (std::size_t t = 0; t < count; ++t) {
    in[t] = all_finite(keys + t * d, d) && all_finite(values + t * d_v, d_v);
  }
  Access::keys(means).resize((number + 1) * d);
  Access::values(means).resize((number + 1) * d_v);
  BF16* key = Access::keys(means).data() + number * d;
  BF16* value = Access::values(means).data() + number * d_v;
  centre_of(keys, in, count, d, key, of_outliers);
  mean_of(values, in, count, d_v, value);
  // The largest floats are infinite in bfloat16.
  const bool says_something = all_finite(key, d) && all_finite(value, d_v);
  for (std::size_t t = 0; t < count; ++t) {
    if (!in[t] || !says_something) left_out.push_back(first + static_cast<Position>(t));
  }
  Access::fingerprints(means).push_back(fingerprint<PageMeans>(kv, run));
  Access::pages(means) = number + 1;
}

/// Forgets all positions from n on, as if they had never been. `kv`: the head, of which at least the first n positions
/// are still what they were. Throws std::invalid_argument if there are fewer than n. Allocates nothing.
template <KvHead Kv>
void truncate(PageMeans& means, const Kv&, Position n) {
  if (n < 0 || n > means.size()) {
    fail("skim::truncate: the ", means.kName, " covers ", means.size(), " positions and cannot be cut to ", n);
  }
  using Access = MeansAccess;
  const std::size_t pages = std::min(means.pages(), static_cast<std::size_t>(n) / means.page());
  Access::pages(means) = pages;
  Access::keys(means).resize(pages * means.key_dim());
  Access::values(means).resize(pages * means.value_dim());
  Access::fingerprints(means).resize(pages);
  auto& left_out = Access::left_out(means);
  left_out.resize(count_below(left_out, means.summarised()));
  Access::size(means) = n;
}

/// Takes in the positions of `kv` from `from` on; what the table held of them before is forgotten. Appended one by one,
/// in bulk or after a truncate, equal keys and values give equal bits. Reads each new key and value once, when its page
/// is complete; allocates while the table grows (`reserve`), and changes nothing if there is no memory. Throws
/// std::invalid_argument if positions would be left out, and on keys or values of another size.
template <KvHead Kv>
void append(PageMeans& means, const Kv& kv, Position from) {
  static_assert(!std::is_same_v<typename Kv::Key, double> && !std::is_same_v<typename Kv::Value, double>,
                "skim::append: means are of keys and values in float, F16, BF16 or I8");
  using Access = MeansAccess;
  if (from < 0 || from > means.size()) {
    fail("skim::append: the ", means.kName, " covers ", means.size(), " positions and cannot go on from ", from);
  }
  if (kv.size() < from) fail("skim::append: from is ", from, " but there are ", kv.size(), " keys");
  check_between("skim::append: number of keys", kv.size(), Position{0}, kMostPositions);
  check_between("skim::append: columns of the keys", kv.key_dim(), std::size_t{1}, kMostColumns);
  check_between("skim::append: columns of the values", kv.value_dim(), std::size_t{1}, kMostColumns);
  const auto check_columns = [&](const char* what, std::size_t have, std::size_t had) {
    if (means.size() == 0 || have == had) return;
    fail("skim::append: ", what, " have ", have, " columns but the ", means.kName, " is of ", what, " with ", had);
  };
  check_columns("keys", kv.key_dim(), means.key_dim());
  check_columns("values", kv.value_dim(), means.value_dim());
  // All memory first: a table that cannot grow is the one it was.
  const std::size_t pages = static_cast<std::size_t>(kv.size()) / means.page();
  const std::size_t kept = static_cast<std::size_t>(from) / means.page();
  const Scratch memory(Access::scratch(means), pages > kept ? page_scratch(means, kv.key_dim(), kv.value_dim()) : 0);
  const std::size_t left_out =
      count_below(means.left_out(), static_cast<Position>(kept * means.page())) + (pages - kept) * means.page();
  for_each_buffer(means, pages, left_out, kv.key_dim(), kv.value_dim(),
                  [](auto& buffer, std::size_t size) { buffer.reserve(size); });
  Access::d(means) = kv.key_dim();
  Access::d_v(means) = kv.value_dim();
  truncate(means, kv, from);
  while (kv.size() - means.summarised() >= static_cast<Position>(means.page())) add_page(means, kv, memory.data());
  Access::size(means) = kv.size();
}

/// Room for `positions` positions of keys of d columns and values of d_v: until there are more, append and truncate
/// allocate nothing, however they come. Beside what `bytes` will count it sets aside 4 page (d + d_v) bytes to work in, 66
/// KB at d = d_v = 128, and 8 a position for those that may have to be left out; pages of these that nobody touches take no
/// memory on most systems. Copies are not reserved. Throws std::invalid_argument on sizes out of range; without memory
/// nothing has changed.
inline void reserve(PageMeans& means, Position positions, std::size_t d, std::size_t d_v) {
  check_between("skim::reserve: positions", positions, Position{0}, kMostPositions);
  check_between("skim::reserve: d", d, std::size_t{1}, kMostColumns);
  check_between("skim::reserve: d_v", d_v, std::size_t{1}, kMostColumns);
  const std::size_t pages = static_cast<std::size_t>(positions) / means.page();
  for_each_buffer(means, pages, pages * means.page(), d, d_v,
                  [](auto& buffer, std::size_t size) { buffer.reserve_exactly(size); });
  MeansAccess::scratch(means).reserve_exactly(page_scratch(means, d, d_v));
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_MEANS_INL_H_
