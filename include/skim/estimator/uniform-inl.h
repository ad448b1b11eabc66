// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_UNIFORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_UNIFORM_INL_H_
#undef SKIM_ESTIMATOR_UNIFORM_INL_H_
#else
#define SKIM_ESTIMATOR_UNIFORM_INL_H_
#endif

#include "skim/core/random.h"
#include "skim/estimator/select-inl.h"
#include "skim/estimator/uniform.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Floyd's algorithm: b of the ranks [0, n) so that every subset of b is equally likely. below(i, m) is
/// uniform on [0, m). `marked` holds n bits; on return the chosen ones are set.
template <class Below>
void choose_subset(std::size_t n, std::size_t b, const Below& below, std::uint64_t* marked) {
  std::fill_n(marked, (n + 63) / 64, std::uint64_t{0});
  const auto test = [marked](std::size_t i) { return (marked[i / 64] >> (i % 64) & 1) != 0; };
  for (std::size_t j = n - b; j < n; ++j) {
    const auto draw = static_cast<std::size_t>(below(j - (n - b), j + 1));
    const std::size_t rank = test(draw) ? j : draw;
    marked[rank / 64] |= std::uint64_t{1} << (rank % 64);
  }
}

template <>
struct Select<UniformTail> {
  template <class Real, class Kv>
  static void run(const UniformTail& e, const BasicQuery<Real>& q, const Kv&, Selection& selection, Workspace& ws) {
    const std::size_t b = e.budget.count(q.visible.size());
    const auto left = static_cast<std::size_t>(count_gaps(selection, q.visible));
    if (b == 0 || left == 0) return;
    if (b >= left) return add_gaps(selection, q.visible);
    const Draws draws(q.stream, q.position);
    auto* marked = ws.get<std::uint64_t>(Workspace::kSurvivors, (left + 63) / 64);
    choose_subset(left, b, [&](std::size_t i, std::size_t bound) { return draws.below(i, bound); }, marked);
    auto* ranks = ws.get<std::size_t>(Workspace::kRanks, b);
    std::size_t count = 0;
    for (std::size_t word = 0; word < (left + 63) / 64; ++word) {
      for (std::uint64_t bits = marked[word]; bits != 0; bits &= bits - 1) {
        ranks[count++] = word * 64 + hwy::Num0BitsBelowLS1Bit_Nonzero64(bits);
      }
    }
    const double log_weight = std::log(static_cast<double>(left) / static_cast<double>(b));
    add_ranks(selection, q.visible, ranks, count, [=](std::size_t) { return log_weight; });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_UNIFORM_INL_H_
