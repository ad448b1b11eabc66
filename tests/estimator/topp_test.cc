// SPDX-License-Identifier: Apache-2.0
// Does top-p keep the fewest positions that hold the mass asked for?
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// All positions of a selection, ascending.
std::vector<Position> all_of(std::size_t n) { return middle_of(n, 0, 0); }

/// Full sort, in double: what top-p is. Positions of `held` are selected already.
struct Reference {
  std::vector<std::vector<double>> share;  // [heads][n]
  std::vector<double> best;                // [n], the largest share of any head
  std::vector<Position> order;             // what is not held, as it is taken
  std::vector<std::vector<double>> mass;   // [heads][taken], held and taken so far

  template <class Real>
  Reference(const GivenLogits<Real>& p, const std::vector<Position>& held) : best(p.size(), 0) {
    std::vector<bool> is_held(p.size(), false);
    for (const Position i : held) is_held[static_cast<std::size_t>(i)] = true;
    for (const auto& logits : p.logits) share.push_back(reference_shares(logits, all_of(p.size())));
    for (std::size_t i = 0; i < p.size(); ++i) {
      for (const auto& of_head : share) best[i] = std::max(best[i], of_head[i]);
      if (!is_held[i]) order.push_back(static_cast<Position>(i));
    }
    // With one head the order is that of the logits themselves.
    const auto key = [&](Position i) {
      const auto at = static_cast<std::size_t>(i);
      const double x = p.heads() == 1 ? p.logits[0][at] : best[at];
      return std::isnan(x) ? -INFINITY : x;
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](Position a, Position b) { return key(a) > key(b); });
    for (const auto& of_head : share) {
      mass.push_back({0});
      for (const Position i : held) mass.back()[0] += of_head[static_cast<std::size_t>(i)];
      for (const Position i : order)
        mass.back().push_back(mass.back().back() + of_head[static_cast<std::size_t>(i)]);
    }
  }

  /// The least mass any head holds after `taken` positions.
  double least_mass(std::size_t taken) const {
    double least = 1;
    for (const auto& of_head : mass) least = std::min(least, of_head[taken]);
    return least;
  }

  /// The fewest positions after which every head holds p.
  std::size_t count(double p) const {
    std::size_t taken = 0;
    while (taken < order.size() && least_mass(taken) < p) ++taken;
    return taken;
  }

  std::vector<Position> selected(const std::vector<Position>& held, std::size_t taken) const {
    std::vector<Position> all(held);
    all.insert(all.end(), order.begin(), order.begin() + static_cast<std::ptrdiff_t>(taken));
    std::sort(all.begin(), all.end());
    return all;
  }
};

/// Masses p whose cut falls after exactly `taken` positions, in the middle of the last one's share: as far from the
/// threshold as can be. Negative when the last one has too small a share.
double mass_for(const Reference& r, std::size_t taken, double smallest_share) {
  const double before = r.least_mass(taken - 1), after = r.least_mass(taken);
  return after - before >= smallest_share ? (before + after) / 2 : -1;
}

template <class Real>
class TopPOf : public testing::Test {
 public:
  // Shares below this drown in the rounding of sums of n of them.
  static constexpr double kSmallestShare = sizeof(Real) == sizeof(double) ? 1e-9 : 2e-5;
};
using Reals = testing::Types<double, float>;
TYPED_TEST_SUITE(TopPOf, Reals);

TYPED_TEST(TopPOf, SameSetAsAFullSort) {
  std::mt19937_64 generator(1);
  int compared = 0;
  for (const std::size_t n : {2u, 3u, 17u, 64u, 100u, 1000u, 4097u}) {
    for (const double spread : {0.3, 1.5, 6.0, 30.0}) {
      const auto p = normal_logits<TypeParam>(1, n, spread, n + static_cast<std::size_t>(spread));
      const Reference reference(p, {});
      for (int cut = 0; cut < 12; ++cut) {
        const std::size_t taken = 1 + (cut < 4 ? static_cast<std::size_t>(cut) : generator() % n);
        if (taken > n) continue;
        const double mass = mass_for(reference, taken, TestFixture::kSmallestShare);
        if (mass < 0) continue;
        ++compared;
        ASSERT_EQ(reference.count(mass), taken);
        ASSERT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())), reference.selected({}, taken))
            << "n " << n << ", spread " << spread << ", mass " << mass;
      }
    }
  }
  EXPECT_GT(compared, 100);
}

TYPED_TEST(TopPOf, ManyKeys) {
  for (const std::size_t n : {30000u, 100000u}) {
    const auto p = normal_logits<TypeParam>(1, n, 3, n);
    const Reference reference(p, {});
    int compared = 0;
    for (const std::size_t taken :
         {std::size_t{1}, std::size_t{2}, std::size_t{10}, std::size_t{100}, n / 200, n / 10}) {
      const double mass = mass_for(reference, taken, TestFixture::kSmallestShare);
      if (mass < 0) continue;
      ++compared;
      ASSERT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())), reference.selected({}, taken))
          << "mass " << mass;
    }
    EXPECT_GE(compared, 4);
  }
}

// Whatever the cut: the mass is held, and without the last one taken it would not be.
TYPED_TEST(TopPOf, HoldsTheMassWithTheFewest) {
  const double rounding = sizeof(TypeParam) == sizeof(double) ? 1e-12 : 4e-6;
  for (const std::size_t heads : {1u, 3u}) {
    for (const double spread : {0.5, 1.5, 4.0}) {
      const auto p = normal_logits<TypeParam>(heads, 3000, spread, 77);
      const Reference reference(p, {});
      for (const double mass : {0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.999999}) {
        const std::size_t taken = unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())).size();
        ASSERT_GT(taken, 0u);
        EXPECT_GE(reference.least_mass(taken), mass - rounding);
        EXPECT_LT(reference.least_mass(taken - 1), mass + rounding);
      }
    }
  }
}

TYPED_TEST(TopPOf, TiesGoToTheLowerPosition) {
  // Logits 0..3 many times each: the cut falls among equal ones.
  const std::size_t n = 4000;
  std::mt19937_64 generator(4);
  std::vector<TypeParam> s(n);
  for (TypeParam& x : s) x = static_cast<TypeParam>(generator() % 4);
  const GivenLogits<TypeParam> p({s});
  const Reference reference(p, {});
  for (const std::size_t taken :
       {std::size_t{1}, std::size_t{5}, std::size_t{800}, std::size_t{1500}, std::size_t{2500}}) {
    const double mass = mass_for(reference, taken, 0);
    ASSERT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())), reference.selected({}, taken))
        << taken;
  }
}

TYPED_TEST(TopPOf, AllEqual) {
  for (const std::size_t n : {1u, 2u, 100u, 100000u}) {
    const GivenLogits<TypeParam> p({std::vector<TypeParam>(n, TypeParam(-7))});
    for (const double share : {0.001, 0.5, 0.9, 1.0}) {
      const auto taken =
          std::max<std::size_t>(1, static_cast<std::size_t>(share * static_cast<double>(n)));
      const double mass = (static_cast<double>(taken) - 0.5) / static_cast<double>(n);
      EXPECT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())), all_of(taken))
          << n << ", " << mass;
    }
  }
}

// What is selected already counts, and is not selected again.
TYPED_TEST(TopPOf, EarlierStagesCount) {
  for (const std::size_t heads : {1u, 2u}) {
    const auto p = normal_logits<TypeParam>(heads, 500, 2, 30 + heads);
    std::vector<Position> held;
    for (Position i = 0; i < 500; ++i) {
      if (i < 4 || i >= 468) held.push_back(i);
    }
    const Reference reference(p, held);
    for (const std::size_t taken : {1u, 2u, 7u, 40u, 200u}) {
      const double mass = mass_for(reference, taken, TestFixture::kSmallestShare);
      if (mass < 0) continue;
      const Selection selection = select(stack(Sinks{4}, Window{32}, TopP{mass}), p.query(), p.kv());
      ASSERT_EQ(unweighted_positions_of(selection), reference.selected(held, taken))
          << heads << " heads, mass " << mass;
    }
    const double held_already = reference.least_mass(0);
    EXPECT_EQ(
        unweighted_positions_of(select(stack(Sinks{4}, Window{32}, TopP{held_already * 0.99}), p.query(), p.kv())),
        held)
        << "enough is selected already";
  }
}

// However small the mass: 1 less it, what may be dropped, rounds to 1, and nothing may be kept by that. Every head gets its
// likeliest position, of equal ones the first, and holds the mass.
TYPED_TEST(TopPOf, SmallMasses) {
  for (const std::size_t heads : {1u, 2u, 5u}) {
    for (const std::size_t n : {1u, 17u, 1024u, 20000u}) {
      for (const double spread : {1e-3, 1.0, 8.0, 300.0}) {
        const auto p = normal_logits<TypeParam>(heads, n, spread, n + heads);
        const Reference reference(p, {});
        for (const double mass : {1e-300, 1e-100, 1e-30, 1e-12, 1e-9, 3e-8, 1e-7, 3e-7, 9e-7, 2e-6, 1e-5, 1e-4}) {
          SCOPED_TRACE(testing::Message() << heads << " heads, n " << n << ", spread " << spread << ", mass " << mass);
          const auto kept = unweighted_positions_of(select(TopP{mass}, p.query(), p.kv()));
          ASSERT_FALSE(kept.empty());
          if (mass < 1e-6) {
            ASSERT_LE(kept.size(), heads);
          }
          for (std::size_t h = 0; h < heads; ++h) {
            double held = 0;
            for (const Position i : kept) held += reference.share[h][static_cast<std::size_t>(i)];
            EXPECT_GE(held, 0.4 * mass) << "head " << h;
            if (mass >= 1e-6) continue;
            const auto& logits = p.logits[h];
            const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
            EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), best)) << "head " << h;
          }
        }
      }
    }
  }
}

// ... but where earlier stages hold it already, nothing more is taken.
TYPED_TEST(TopPOf, SmallMassesThatAreHeld) {
  const auto p = normal_logits<TypeParam>(3, 500, 2, 1);
  for (const double mass : {1e-300, 1e-30, 1e-7}) {
    EXPECT_EQ(unweighted_positions_of(select(stack(Sinks{4}, TopP{mass}), p.query(), p.kv())), (std::vector<Position>{0, 1, 2, 3}));
  }
}

// A group takes positions by their largest probability under any head, until every head holds the mass.
TYPED_TEST(TopPOf, Groups) {
  std::mt19937_64 generator(2);
  int compared = 0;
  for (const std::size_t heads : {2u, 3u, 4u, 7u, 8u}) {
    for (const std::size_t n : {5u, 40u, 700u}) {
      const auto p = normal_logits<TypeParam>(heads, n, 2.5, heads * 1000 + n);
      const Reference reference(p, {});
      for (int cut = 0; cut < 10; ++cut) {
        const std::size_t taken = 1 + generator() % n;
        const double mass = mass_for(reference, taken, TestFixture::kSmallestShare);
        if (mass < 0 || reference.count(mass) != taken) continue;
        ++compared;
        ASSERT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())), reference.selected({}, taken))
            << heads << " heads, n " << n << ", mass " << mass;
      }
    }
  }
  EXPECT_GT(compared, 50);
}

// Heads that look at different ends: a group needs both.
TYPED_TEST(TopPOf, EveryHeadOfAGroupHoldsTheMass) {
  const std::size_t n = 64;
  std::vector<std::vector<TypeParam>> s(2, std::vector<TypeParam>(n));
  for (std::size_t i = 0; i < n; ++i) {
    s[0][i] = static_cast<TypeParam>(-static_cast<double>(i));
    s[1][i] = static_cast<TypeParam>(static_cast<double>(i) - 63.0) / 4;
  }
  const GivenLogits<TypeParam> p(s);
  const std::vector<Position> held = unweighted_positions_of(select(TopP{0.9}, p.query(), p.kv()));
  for (const auto& logits : s) {
    const std::vector<double> share = reference_shares(logits, all_of(n));
    double mass = 0;
    for (const Position i : held) mass += share[static_cast<std::size_t>(i)];
    EXPECT_GE(mass, 0.9 - 1e-6);
  }
}

TYPED_TEST(TopPOf, ZeroIsNothingAndOneIsDense) {
  for (const std::size_t heads : {1u, 3u}) {
    const auto p = normal_logits<TypeParam>(heads, 200, 20, 5);
    EXPECT_TRUE(unweighted_positions_of(select(TopP{0}, p.query(), p.kv())).empty());
    EXPECT_EQ(unweighted_positions_of(select(TopP{1}, p.query(), p.kv())), all_of(200));
    EXPECT_EQ(unweighted_positions_of(select(stack(Sinks{3}, TopP{1}), p.query(), p.kv())), all_of(200));
    EXPECT_EQ(unweighted_positions_of(select(stack(Sinks{3}, TopP{0}), p.query(), p.kv())), all_of(3));
  }
}

TYPED_TEST(TopPOf, NanAndMinusInfinityHaveNoMass) {
  constexpr auto kNanReal = std::numeric_limits<TypeParam>::quiet_NaN();
  constexpr auto kNone = -std::numeric_limits<TypeParam>::infinity();
  const GivenLogits<TypeParam> p({{kNanReal, 1, kNone, 2, kNanReal, 0, kNone, 1, 3, kNanReal}});
  const Reference reference(p, {});
  for (const double mass : {0.1, 0.6, 0.9, 0.98}) {
    EXPECT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())),
              reference.selected({}, reference.count(mass)));
  }
  // Whatever the mass below 1: five positions hold all of it.
  EXPECT_EQ(unweighted_positions_of(select(TopP{0.999999}, p.query(), p.kv())),
            (std::vector<Position>{1, 3, 5, 7, 8}));
}

TYPED_TEST(TopPOf, NothingHasAMass) {
  constexpr auto kNone = -std::numeric_limits<TypeParam>::infinity();
  const GivenLogits<TypeParam> p({std::vector<TypeParam>(20, kNone)});
  EXPECT_TRUE(unweighted_positions_of(select(TopP{0.5}, p.query(), p.kv())).empty());
  const auto state = attend(TopP{0.5}, p.query(), p.kv());
  EXPECT_EQ(state.out()[0], 0);
  EXPECT_EQ(state.lse(), kNone);
}

// One logit of +inf holds all the mass. Of several each does, so all are kept and give NaN as dense attention does.
TYPED_TEST(TopPOf, InfiniteLogits) {
  constexpr auto kAll = std::numeric_limits<TypeParam>::infinity();
  const GivenLogits<TypeParam> one({{1, 50, kAll, 3, 2}});
  EXPECT_EQ(unweighted_positions_of(select(TopP{0.99}, one.query(), one.kv())), std::vector<Position>{2});
  const GivenLogits<TypeParam> two({{1, kAll, 50, kAll, 2}});
  EXPECT_EQ(unweighted_positions_of(select(TopP{0.4}, two.query(), two.kv())), (std::vector<Position>{1, 3}));
}

// A sink e^100 above the rest; far from zero, in both directions; and a mass that no bin of a histogram resolves.
TYPED_TEST(TopPOf, Extremes) {
  const GivenLogits<TypeParam> sink({{0, 1, 100, -1, 0}});
  EXPECT_EQ(unweighted_positions_of(select(TopP{0.999999}, sink.query(), sink.kv())), std::vector<Position>{2});
  for (const double shift : {-1e4, 1e4}) {
    std::vector<TypeParam> s(300);
    for (std::size_t i = 0; i < s.size(); ++i)
      s[i] = static_cast<TypeParam>(shift - static_cast<double>(i) / 8);
    const GivenLogits<TypeParam> p({s});
    const Reference reference(p, {});
    for (const std::size_t taken : {1u, 5u, 20u, 40u}) {
      const double mass = mass_for(reference, taken, 0);
      EXPECT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())), reference.selected({}, taken))
          << mass;
    }
  }
  std::vector<TypeParam> s(5000);  // all within one bin
  for (std::size_t i = 0; i < s.size(); ++i)
    s[i] = static_cast<TypeParam>(static_cast<double>(i * 7919 % 5000) * 0x1p-20);
  const GivenLogits<TypeParam> p({s});
  const Reference reference(p, {});
  for (const std::size_t taken : {1u, 2u, 2500u, 4999u}) {
    const double mass = mass_for(reference, taken, 0);
    EXPECT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())), reference.selected({}, taken))
        << mass;
  }
}

// Logits that differ by less than the rounding of their shares are no ties.
TYPED_TEST(TopPOf, OrderIsThatOfTheLogits) {
  const double step = sizeof(TypeParam) == sizeof(double) ? 1e-18 : 1e-9;
  std::vector<TypeParam> s(64);
  for (std::size_t i = 0; i < s.size(); ++i)
    s[i] = static_cast<TypeParam>(static_cast<double>(i) * step);
  const GivenLogits<TypeParam> p({s});
  for (const std::size_t taken : {1u, 20u, 63u}) {
    const double mass = (static_cast<double>(taken) - 0.5) / 64;
    EXPECT_EQ(unweighted_positions_of(select(TopP{mass}, p.query(), p.kv())),
              middle_of(64, static_cast<Position>(64 - taken), 0));
  }
}

TYPED_TEST(TopPOf, VisibleRange) {
  const auto p = normal_logits<TypeParam>(1, 300, 2, 8);
  auto q = p.query();
  q.visible = {50, 200};
  std::vector<TypeParam> visible(p.logits[0].begin() + 50, p.logits[0].begin() + 200);
  const GivenLogits<TypeParam> part({visible});
  const Reference reference(part, {});
  for (const std::size_t taken : {1u, 10u, 60u}) {
    const double mass = mass_for(reference, taken, TestFixture::kSmallestShare);
    if (mass < 0) continue;
    std::vector<Position> truth = reference.selected({}, taken);
    for (Position& i : truth) i += 50;
    EXPECT_EQ(unweighted_positions_of(select(TopP{mass}, q, p.kv())), truth);
  }
}

TEST(TopP, MassOutOfRangeIsAnError) {
  for (const double mass : {-0.1, 1.1, static_cast<double>(NAN)})
    EXPECT_THROW(TopP{mass}.validate(), std::invalid_argument);
  for (const double mass : {0.0, 0.5, 1.0}) EXPECT_NO_THROW(TopP{mass}.validate());
}

}  // namespace
}  // namespace skim::test
