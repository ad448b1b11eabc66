// SPDX-License-Identifier: Apache-2.0
// Are the gradients of blocks of rows against blocks of keys right for runs of any kind?
#include <random>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

/// Rows of one head that read one run each. All gradients through `Tiles` alone.
template <class Real>
struct TiledHead {
  TrainingProblem<Real> p;
  std::vector<skim::Span> runs;  // [rows]

  TiledHead(std::size_t rows, std::size_t n, std::size_t d, std::size_t d_v) : p({1, 1, d, d_v}, rows, n, rows + n) {}

  /// `stretch`: positions that one object takes.
  void expect_right(Position stretch) {
    TrainingStep<Real> step(p);
    Lists lists;
    for (const skim::Span& run : runs) lists.push_back(everything(run.first, run.last));
    std::fill_n(step.dq.data(), step.dq.size(), Real{0});
    std::fill_n(step.dk.data(), step.dk.size(), Real{0});
    std::fill_n(step.dv.data(), step.dv.size(), Real{0});
    const Numbers x = numbers_of(p);
    std::vector<HWY_NAMESPACE::BackwardRow<Real>> rows(p.rows);
    for (std::size_t r = 0; r < p.rows; ++r) {
      const ReferenceState state = ReferenceRow<Real>(p, x, r, 0).state(lists[r], false, 0);
      double delta = 0;
      for (std::size_t c = 0; c < p.shape.d_v; ++c)
        delta += static_cast<double>(p.dout[r * p.shape.d_v + c]) * state.out[c];
      const double lse = state.lse == -kInf ? kInf : state.lse;
      rows[r] = {p.q.data() + r * p.shape.d,
                 p.dout.data() + r * p.shape.d_v,
                 step.dq.data() + r * p.shape.d,
                 static_cast<Real>(lse),
                 static_cast<Real>(delta),
                 {},
                 p.position(r),
                 p.with_slopes ? p.slopes[0] : 0.0f};
    }
    LogitRule rule;
    rule.scale = 1 / std::sqrt(static_cast<double>(p.shape.d));
    rule.soft_cap = p.soft_cap;
    for (Position first = 0; first < static_cast<Position>(p.n); first += stretch) {
      const skim::Span keys{first, std::min(first + stretch, static_cast<Position>(p.n))};
      Workspace ws;
      HWY_NAMESPACE::Tiles<Real> tiles(step.views[0], rule, keys, ws);
      for (std::size_t r = 0; r < p.rows; ++r) rows[r].seen = intersect(runs[r], keys);
      tiles.add(rows.data(), p.rows);
      tiles.finish(step.kv_gradients[0]);
    }
    EXPECT_TRUE(agrees(step, lists));
    EXPECT_TRUE(step.all_written());
  }
};

template <class Real>
class TilesOf : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(TilesOf, Reals);

TYPED_TEST(TilesOf, RunsOfAnyKind) {
  std::mt19937 generator(1);
  for (const std::size_t rows : {1u, 11u, 12u, 13u, 131u, 133u, 200u}) {
    for (const Position stretch : {64, 300}) {
      TiledHead<TypeParam> head(rows, 290, 20, 12);
      for (int kind = 0; kind < 6; ++kind) {
        SCOPED_TRACE(testing::Message() << rows << " rows, stretches of " << stretch << ", kind " << kind);
        head.runs.clear();
        for (std::size_t r = 0; r < rows; ++r) {
          const auto at = static_cast<Position>(290 * (r + 1) / rows);
          const auto any = static_cast<Position>(generator() % 290);
          const skim::Span kinds[] = {{0, at},                               // causal
                                      {std::max<Position>(0, at - 40), at},  // a window
                                      {0, 290},
                                      {any, std::min<Position>(290, any + static_cast<Position>(generator() % 50))},
                                      // tiles that see one end, the other, or nothing: holes between tiles that see
                                      r / 12 % 3 == 0   ? skim::Span{0, 30}
                                      : r / 12 % 3 == 1 ? skim::Span{260, 290}
                                                        : skim::Span{},
                                      {}};
          head.runs.push_back(kinds[kind]);
        }
        head.p.soft_cap = kind % 2 == 1 ? 3 : 0;
        head.p.with_slopes = kind % 3 == 1;
        head.expect_right(stretch);
      }
    }
  }
}

TYPED_TEST(TilesOf, AnyRowLengths) {
  for (const std::size_t d : {1u, 15u, 16u, 17u, 32u, 33u, 96u, 192u}) {
    TiledHead<TypeParam> head(30, 140, d, 200 - d);
    for (std::size_t r = 0; r < 30; ++r) head.runs.push_back({0, static_cast<Position>(4 * r)});
    head.expect_right(140);
  }
}

}  // namespace
}  // namespace skim::test
