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

/// Adds the page that follows; it must be complete. When memory runs out the table is the one it was.
template <class Kv>
void add_page(PageMeans& means, const Kv& kv) {
  using Access = MeansAccess;
  const std::size_t count = means.page(), d = means.key_dim(), d_v = means.value_dim(), number = means.pages();
  const Position first = means.summarised();
  const Span run{first, first + static_cast<Position>(count)};
  Buffer<float> room;
  room.resize(count * (d + d_v) + centre_scratch(count, d));
  Buffer<bool> marks;
  marks.resize(count);
  bool* in = marks.data();
  auto& left_out = Access::left_out(means);
  Access::keys(means).reserve((number + 1) * d);
  Access::values(means).reserve((number + 1) * d_v);
  left_out.reserve(left_out.size() + count);

  const float* keys = widen_run<float>(kv, run, d, [](const auto& block) { return block.keys; }, room.data());
  const float* values =
      widen_run<float>(kv, run, d_v, [](const auto& block) { return block.values; }, room.data() + count * d);
  for (std::size_t t = 0; t < count; ++t) {
    in[t] = all_finite(keys + t * d, d) && all_finite(values + t * d_v, d_v);
  }
  Access::keys(means).resize((number + 1) * d);
  Access::values(means).resize((number + 1) * d_v);
  BF16* key = Access::keys(means).data() + number * d;
  BF16* value = Access::values(means).data() + number * d_v;
  centre_of(keys, in, count, d, key, room.data() + count * (d + d_v));
  mean_of(values, in, count, d_v, value);
  // The largest floats are infinite in bfloat16.
  const bool says_something = all_finite(key, d) && all_finite(value, d_v);
  for (std::size_t t = 0; t < count; ++t) {
    if (!in[t] || !says_something) left_out.push_back(first + static_cast<Position>(t));
  }
  Access::pages(means) = number + 1;
}

/// Forgets all positions from n on, as if they had never been. `kv`: the head, of which at least the first n positions
/// are still what they were. Throws std::invalid_argument if there are fewer than n.
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
  auto& left_out = Access::left_out(means);
  while (!left_out.empty() && left_out[left_out.size() - 1] >= means.summarised()) left_out.resize(left_out.size() - 1);
  Access::size(means) = n;
}

/// Takes in the positions of `kv` from `from` on; what the table held of them before is forgotten. Appended one by one,
/// in bulk or after a truncate, equal keys and values give equal bits. Reads each new key and value once, when its page
/// is complete; allocates while the table grows. Throws std::invalid_argument if positions would be left out, and on
/// keys or values of another size.
template <KvHead Kv>
void append(PageMeans& means, const Kv& kv, Position from) {
  static_assert(!std::is_same_v<typename Kv::Key, double> && !std::is_same_v<typename Kv::Value, double>,
                "skim::append: means are of keys and values in float, F16, BF16 or I8");
  using Access = MeansAccess;
  if (from < 0 || from > means.size()) {
    fail("skim::append: the ", means.kName, " covers ", means.size(), " positions and cannot go on from ", from);
  }
  if (kv.size() < from) fail("skim::append: from is ", from, " but there are ", kv.size(), " keys");
  if (kv.key_dim() == 0) fail("skim::append: keys have 0 columns but need at least 1");
  if (kv.value_dim() == 0) fail("skim::append: values have 0 columns but need at least 1");
  const auto check_columns = [&](const char* what, std::size_t have, std::size_t had) {
    if (means.size() == 0 || have == had) return;
    fail("skim::append: ", what, " have ", have, " columns but the ", means.kName, " is of ", what, " with ", had);
  };
  check_columns("keys", kv.key_dim(), means.key_dim());
  check_columns("values", kv.value_dim(), means.value_dim());
  Access::d(means) = kv.key_dim();
  Access::d_v(means) = kv.value_dim();
  truncate(means, kv, from);
  while (kv.size() - means.summarised() >= static_cast<Position>(means.page())) {
    add_page(means, kv);
    Access::size(means) = means.summarised();
  }
  Access::size(means) = kv.size();
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_MEANS_INL_H_
