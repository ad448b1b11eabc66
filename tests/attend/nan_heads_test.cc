// SPDX-License-Identifier: Apache-2.0
// Does NaN come out of a head whose row holds one, and out of no other?
#include "skim/skim.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <gtest/gtest.h>

#include "support/layer_problem.h"
#include "support/problem.h"
#include "support/threads.h"

namespace skim::test {
namespace {

const char* const kTexts[] = {"dense", "topk(5)", "sinks(1)+window(2)+topk(5)", "topp(0.3)", "uniform(5)", "priority(5)",
                              "multinomial(5)", "systematic(5)", "poisson(5)"};

// The others have the bits of a group without that head, whose selection it has no say in.
TEST(NanHeads, HaveNoSayAndGetNaN) {
  for (const std::size_t bad : {0u, 1u, 2u}) {
    auto p = random_problem<float>({60, 8, 4, 3}, 1);
    auto rest = p;
    rest.shape.group = 2;
    rest.q.erase(rest.q.begin() + static_cast<std::ptrdiff_t>(8 * bad), rest.q.begin() + static_cast<std::ptrdiff_t>(8 * bad + 8));
    p.q[8 * bad + 5] = NAN;
    for (const char* text : kTexts) {
      SCOPED_TRACE(testing::Message() << text << ", head " << bad);
      State state = attend(parse(text), p.query(), p.kv()), without = attend(parse(text), rest.query(), rest.kv());
      for (std::size_t h = 0, other = 0; h < 3; ++h) {
        if (h == bad) {
          EXPECT_TRUE(std::isnan(state.lse(h)));
          for (std::size_t c = 0; c < 4; ++c) EXPECT_TRUE(std::isnan(state.out(h)[c]));
        } else {
          EXPECT_TRUE(same_bits(state.out(h), without.out(other), 4));
          EXPECT_EQ(state.lse(h), without.lse(other));
          ++other;
        }
      }
    }
  }
}

TEST(NanHeads, AloneAndWithNothingVisible) {
  auto p = random_problem<float>({60, 8, 4, 1}, 1);
  p.q[0] = NAN;
  for (const char* text : kTexts) {
    EXPECT_TRUE(std::isnan(attend(parse(text), p.query(), p.kv()).lse())) << text;
    Query q = p.query();
    q.visible = {7, 7};
    const State nothing = attend(parse(text), q, p.kv());
    EXPECT_EQ(nothing.lse(), -INFINITY) << text;
    EXPECT_EQ(nothing.out()[0], 0) << text;
  }
}

// A row that several threads share has its logits computed before any stage asks. Of keys that are all NaN one is selected
// by a stage that looks for the largest, and none by one that may take nothing.
TEST(NanKeys, AreTheAnswerOnlyForWhoLooks) {
  LayerProblem<float> p({4, 2, 8, 4}, {{1, 90}}, 3);
  for (auto& head : p.heads) std::fill(head.keys.begin(), head.keys.end(), NAN);
  for (const auto& [text, is_nan] : {std::pair{"topk(0)", false}, {"sinks(0)+topk(0)", false}, {"topk(0)+uniform(0)", false},
                                     {"topk(5)", true}, {"topp(0.5)", true}, {"priority(3)", true}, {"systematic(3)", true},
                                     {"poisson(3)", true}, {"multinomial(3)", true}, {"topk(0)+priority(3)", true}, {"topk(0)+topk(5)", true}}) {
    for (const Executor& executor : {Executor{}, backwards(5)}) {
      SCOPED_TRACE(testing::Message() << text << " on " << executor.threads);
      LayerOutput output(p);
      Options options;
      options.executor = executor;
      attend(parse(text), p.query(), p.kv(), output.state(), options);
      for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(std::isnan(output.row(0, h).out.data[0]), is_nan);
    }
  }
}

}  // namespace
}  // namespace skim::test
