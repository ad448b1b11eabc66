// SPDX-License-Identifier: Apache-2.0
// Are the gradients of a query group over positions here and there right, for any group, row length and list?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/selections.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

template <class Real>
class ScatterOf : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ScatterOf, Reals);

/// to[t] += sum_h weights[h, t] rows[h], with nothing written beyond.
TYPED_TEST(ScatterOf, RowsOfAnyLengthAndNumber) {
  using HWY_NAMESPACE::kBlock;
  constexpr std::size_t kStep = HWY_NAMESPACE::kStep<TypeParam>;
  for (const std::size_t cols : {1u, 7u, 16u, 31u, 64u, 65u, 128u, 200u}) {
    for (std::size_t heads = 1; heads <= 8; ++heads) {
      for (const std::size_t count : {1u, 5u, 16u}) {
        const std::size_t padded = HWY_NAMESPACE::round_up(cols, kStep);
        Buffer<TypeParam> weights, rows;
        weights.resize(heads * kBlock);
        rows.resize(heads * padded);
        for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<TypeParam>(i * 7 % 5) - 2;
        for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<TypeParam>(i * 11 % 13) - 6;
        Guarded<TypeParam> memory(16 * (cols + 3));
        std::fill_n(memory.data(), memory.size(), TypeParam{4});
        TypeParam* to[kBlock];
        for (std::size_t t = 0; t < count; ++t) to[t] = memory.data() + (15 - t) * (cols + 3);
        HWY_NAMESPACE::scatter(weights.data(), rows.data(), padded, heads, count, cols, to);
        EXPECT_TRUE(memory.fences_stand());
        for (std::size_t t = 0; t < 16; ++t) {
          for (std::size_t c = 0; c < cols + 3; ++c) {
            TypeParam expected = 4;  // small whole numbers: sums are exact in any order
            for (std::size_t h = 0; h < heads && t < count && c < cols; ++h) {
              expected += weights[h * kBlock + t] * rows[h * padded + c];
            }
            ASSERT_EQ(memory.data()[(15 - t) * (cols + 3) + c], expected) << cols << ", " << heads << ", " << count;
          }
        }
      }
    }
  }
}

TYPED_TEST(ScatterOf, ListsOfAnyLength) {
  for (const std::size_t group : {1u, 2u, 3u, 4u, 7u}) {
    for (const Position step : {1, 3, 90}) {
      TrainingProblem<TypeParam> p({group, 1, 20, 12}, 1, 100, group);
      p.soft_cap = step == 3 ? 2 : 0;
      p.with_slopes = step != 1;
      TrainingStep<TypeParam> one(p);
      for (const Position last : {1, 15, 16, 17, 33, 100}) {
        const std::vector<Pick> picks = every(step, 0, last);
        begin_record(one.record, 1, 1, 1, 100, 1);
        write_down(one.record, 0, selection_of({}, picks), 0);
        BasicQuery<TypeParam> q;
        q.rows = p.query().rows.group(0, 0, group);
        q.logit = p.query().logit;
        Workspace ws;
        attend(selection_of({}, picks), q, one.views[0],
               BasicStateView<TypeParam>{{one.out.data(), group, 12}, one.lse.data()}, ws);
        one.backward_from_record();
        EXPECT_TRUE(one.all_written());
        EXPECT_TRUE(agrees(one, lists_of(one.record, p))) << "group " << group << ", " << picks.size() << " picks";
      }
    }
  }
}

}  // namespace
}  // namespace skim::test
