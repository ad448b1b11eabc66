// SPDX-License-Identifier: Apache-2.0
// Does a stage that may take everything take all that is left, but for what the caller's scores rule out?
#include "skim/index/allowed-inl.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "support/problem.h"
#include "support/selections.h"

namespace skim::test {
namespace {

TEST(Allowed, AllIsWhatTheCallerLetsThrough) {
  const auto p = random_problem<float>({10, 8, 4, 1}, 1);
  const std::vector<float> numbers = {1, -INFINITY, 2, NAN, -INFINITY, -INFINITY, 3, INFINITY, 0, -INFINITY};
  const ExternalScores external{{numbers.data(), 1, 10}, 9};
  const auto base = p.kv();
  const auto kv = with_index(base, external);
  const Query q = p.query().resolved(10);
  const auto taken = [&](Source by, std::size_t count) {
    Workspace ws;
    Selection selection;
    selection.add(skim::Span{0, 1});
    HWY_NAMESPACE::commit(selection);
    const bool all = HWY_NAMESPACE::add_all_allowed(by, count, q, kv, selection, ws);
    HWY_NAMESPACE::commit(selection);
    std::vector<Position> positions;
    for (const Weighted& w : list_of(selection)) positions.push_back(w.position);
    EXPECT_EQ(all, positions.size() > 1);
    return positions;
  };
  EXPECT_EQ(taken(Source::kExternal, 4).size(), 1u) << "five are left";
  EXPECT_EQ(taken(Source::kExternal, 5), (std::vector<Position>{0, 2, 3, 6, 7, 8})) << "NaN ranks last, and is let through";
  EXPECT_EQ(taken(Source::kKeys, 8).size(), 1u);
  EXPECT_EQ(taken(Source::kKeys, 9).size(), 10u);
}

}  // namespace
}  // namespace skim::test
