// SPDX-License-Identifier: Apache-2.0
// How page boxes grow and shrink with the keys of their head.
#if defined(SKIM_INDEX_BOXES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_BOXES_INL_H_
#undef SKIM_INDEX_BOXES_INL_H_
#else
#define SKIM_INDEX_BOXES_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/core/limits.h"
#include "skim/core/scratch.h"
#include "skim/index/boxes.h"
#include "skim/index/fingerprint-inl.h"
#include "skim/index/sketch-inl.h"
#include "skim/kernel/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Longer rows would need another bound of what rounding does to a sum.
constexpr std::size_t kMostBoxColumns = 16384;

/// The least bfloat16 that is not below a - b >= 0, both floats: the difference may have more digits than a double.
inline BF16 bf16_above_difference(double a, double b) {
  const double difference = a - b;
  const double minus_b = difference - a;
  const double lost = (a - (difference - minus_b)) - (b + minus_b);  // Knuth's two-sum: exact
  return bf16_above(lost > 0 ? std::nextafter(difference, HUGE_VAL) : difference);
}

/// The smallest and the largest value of each channel over `count` rows more. least, most: [d].
inline void widen_range(const float* rows, std::size_t count, std::size_t d, float* least, float* most) {
  const Tag<float> tag;
  for (std::size_t c = 0; c < d; c += kLanes<float>) {
    auto low = load_padded(least, c, d), high = load_padded(most, c, d);
    for (std::size_t t = 0; t < count; ++t) {
      const auto x = load_padded(rows + t * d, c, d);
      low = hn::Min(low, x);
      high = hn::Max(high, x);
    }
    if (c + kLanes<float> <= d) {
      hn::StoreU(low, tag, least + c);
      hn::StoreU(high, tag, most + c);
    } else {
      float padded[2][kLanes<float>];
      hn::StoreU(low, tag, padded[0]);
      hn::StoreU(high, tag, padded[1]);
      std::memcpy(least + c, padded[0], (d - c) * sizeof(float));
      std::memcpy(most + c, padded[1], (d - c) * sizeof(float));
    }
  }
}

/// The box of the values from least to most, [d] each, into centres and widths, [d]. Returns its reach: +infinity when
/// it cannot be said in finite numbers.
inline float make_box(const float* least, const float* most, std::size_t d, BF16* centres, BF16* widths) {
  double of_centres = 0, of_widths = 0;
  for (std::size_t c = 0; c < d; ++c) {
    const double low = static_cast<double>(least[c]), high = static_cast<double>(most[c]);
    centres[c] = from_float<BF16>(static_cast<float>(low / 2 + high / 2));
    const double centre = static_cast<double>(to_float(centres[c]));
    // A centre that is rounded out of the range is far from one end only.
    const BF16 above = high > centre ? bf16_above_difference(high, centre) : BF16{};
    const BF16 below = centre > low ? bf16_above_difference(centre, low) : BF16{};
    widths[c] = above.bits > below.bits ? above : below;
    const double width = static_cast<double>(to_float(widths[c]));
    of_centres += centre * centre;
    of_widths += width * width;
  }
  // NaN or infinite if any centre or width is infinite.
  const double reach = (std::sqrt(of_centres) + std::sqrt(of_widths)) * (1 + 1e-6);
  return reach < static_cast<double>(std::numeric_limits<float>::max()) ? static_cast<float>(reach) : kInfinity<float>;
}

/// Bytes that box_page works in.
constexpr std::size_t box_scratch(std::size_t d) { return (kBlock + 2) * d * sizeof(float); }

/// Writes the box and the reach of the complete page that starts at `first`.
/// scratch: (kBlock + 2) d values.
template <class Kv>
void box_page(const Kv& kv, Span page, std::size_t d, BF16* box, float* reach, float* scratch) {
  float* least = scratch + kBlock * d;
  float* most = least + d;
  std::fill(least, least + d, kInfinity<float>);
  std::fill(most, most + d, -kInfinity<float>);
  bool finite = true;
  for (Position at = page.first; at < page.last && finite; at += static_cast<Position>(kBlock)) {
    const Span run{at, std::min(page.last, at + static_cast<Position>(kBlock))};
    const auto count = static_cast<std::size_t>(run.size());
    const float* rows = widen_run<float>(kv, run, d, [](const auto& block) { return block.keys; }, scratch);
    finite = all_finite(rows, count * d);
    widen_range(rows, count, d, least, most);
  }
  *reach = finite ? make_box(least, most, d, box, box + d) : kInfinity<float>;
  if (!(*reach < kInfinity<float>)) std::memset(static_cast<void*>(box), 0, 2 * d * sizeof(BF16));
}

/// Forgets all positions from n on, as if they had never been. `kv`: the keys of the head, of which at least the first
/// n are still what they were. Throws std::invalid_argument if there are fewer than n. Allocates nothing.
template <KvHead Kv>
void truncate(PageBoxes& boxes, const Kv& kv, Position n) {
  if (n < 0 || n > boxes.size()) {
    fail("skim::truncate: the ", boxes.kName, " cover ", boxes.size(), " positions and cannot be cut to ", n);
  }
  (void)kv;  // keys of an incomplete page are read when they are asked for
  const std::size_t pages = static_cast<std::size_t>(n) / boxes.page_size();
  BoxAccess::boxes(boxes).resize(pages * 2 * boxes.key_dim());
  BoxAccess::reach(boxes).resize(pages);
  BoxAccess::fingerprints(boxes).resize(pages);
  BoxAccess::size(boxes) = n;
}

/// Takes in the positions of `kv` from `from` on; what the boxes held of them before is forgotten. Appended one by one,
/// in bulk or after a truncate, equal keys give equal bits. Reads the keys of each page once, when it is complete;
/// allocates while the boxes grow (`reserve`), and changes nothing if there is no memory. Throws std::invalid_argument if
/// positions would be left out, and on keys of another size.
template <KvHead Kv>
void append(PageBoxes& boxes, const Kv& kv, Position from) {
  static_assert(!std::is_same_v<typename Kv::Key, double>, "skim::append: boxes are of keys in float, F16, BF16 or I8");
  if (from < 0 || from > boxes.size()) {
    fail("skim::append: the ", boxes.kName, " cover ", boxes.size(), " positions and cannot go on from ", from);
  }
  if (kv.size() < from) fail("skim::append: from is ", from, " but there are ", kv.size(), " keys");
  check_between("skim::append: number of keys", kv.size(), Position{0}, kMostPositions);
  const std::size_t d = kv.key_dim();
  if (d == 0) fail("skim::append: keys have 0 columns but need at least 1");
  if (d > kMostBoxColumns) {
    fail("skim::append: keys have ", d, " columns but the ", boxes.kName, " take at most ", kMostBoxColumns);
  }
  if (boxes.size() != 0 && d != boxes.key_dim()) {
    fail("skim::append: keys have ", d, " columns but the ", boxes.kName, " are of keys with ", boxes.key_dim());
  }
  const std::size_t page = boxes.page_size(), pages = static_cast<std::size_t>(kv.size()) / page;
  std::size_t done = static_cast<std::size_t>(from) / page;
  auto& all = BoxAccess::boxes(boxes);
  auto& reach = BoxAccess::reach(boxes);
  auto& fingerprints = BoxAccess::fingerprints(boxes);
  // All memory first: boxes that cannot grow are the ones they were.
  const Scratch scratch(BoxAccess::scratch(boxes), done < pages ? box_scratch(d) : 0);
  all.reserve(pages * 2 * d);
  reach.reserve(pages);
  fingerprints.reserve(pages);
  all.resize(pages * 2 * d);
  reach.resize(pages);
  fingerprints.resize(pages);
  BoxAccess::d(boxes) = d;
  BoxAccess::size(boxes) = kv.size();
  for (; done < pages; ++done) {
    const auto first = static_cast<Position>(done * page);
    const Span positions{first, first + static_cast<Position>(page)};
    fingerprints[done] = fingerprint<PageBoxes>(kv, positions);
    box_page(plain(kv), positions, d, all.data() + done * 2 * d, reach.data() + done,
             reinterpret_cast<float*>(scratch.data()));
  }
}

/// Room for `positions` positions of keys of d columns: until there are more, append and truncate allocate nothing,
/// however they come. Beside what `bytes` will count it sets aside 72 d bytes to work in. Copies are not reserved. Throws
/// std::invalid_argument on sizes out of range; without memory nothing has changed.
inline void reserve(PageBoxes& boxes, Position positions, std::size_t d) {
  check_between("skim::reserve: positions", positions, Position{0}, kMostPositions);
  check_between("skim::reserve: d", d, std::size_t{1}, kMostBoxColumns);
  const std::size_t pages = static_cast<std::size_t>(positions) / boxes.page_size();
  BoxAccess::boxes(boxes).reserve_exactly(pages * 2 * d);
  BoxAccess::reach(boxes).reserve_exactly(pages);
  BoxAccess::fingerprints(boxes).reserve_exactly(pages);
  BoxAccess::scratch(boxes).reserve_exactly(box_scratch(d));
}

/// All positions that the boxes do not cover yet.
template <KvHead Kv>
void append(PageBoxes& boxes, const Kv& kv) {
  append(boxes, kv, boxes.size());
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_BOXES_INL_H_
