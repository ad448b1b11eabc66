// SPDX-License-Identifier: Apache-2.0
// The list itself; what the kernels do with it is in kernel/select_test.cc.
#include "skim/core/selection.h"

#include <gtest/gtest.h>

namespace {

using skim::Selection;
using skim::SelectionAccess;
using skim::Span;

TEST(Selection, KeepsWhatIsAddedInOrder) {
  Selection s;
  s.add(Span{0, 4});
  s.add(17, 0.5);
  s.add(Span{100, 164});
  s.add(20);
  ASSERT_EQ(s.spans().size(), 2u);
  EXPECT_EQ(s.spans()[0], (Span{0, 4}));
  EXPECT_EQ(s.spans()[1], (Span{100, 164}));
  ASSERT_EQ(s.picks().size(), 2u);
  EXPECT_EQ(s.picks()[0].position, 17);
  EXPECT_EQ(s.picks()[0].log_weight, 0.5);
  EXPECT_EQ(s.picks()[1].position, 20);
  EXPECT_EQ(s.picks()[1].log_weight, 0.0) << "weight 1";
}

TEST(Selection, EmptySpansAreNotKept) {
  Selection s;
  s.add(Span{5, 5});
  s.add(Span{9, 3});
  EXPECT_TRUE(s.spans().empty());
}

TEST(Selection, ClearForgetsEverythingButItsMemory) {
  Selection s;
  for (int i = 0; i < 100; ++i) {
    s.add(i);
    s.add(Span{i, i + 1});
  }
  SelectionAccess::merged_spans(s) = 7;
  SelectionAccess::merged_picks(s) = 8;
  const auto* picks = s.picks().data();
  s.clear();
  EXPECT_TRUE(s.spans().empty());
  EXPECT_TRUE(s.picks().empty());
  EXPECT_EQ(SelectionAccess::merged_spans(s), 0u);
  EXPECT_EQ(SelectionAccess::merged_picks(s), 0u);
  s.add(1);
  EXPECT_EQ(s.picks().data(), picks);
}

TEST(Selection, CopiesAreIndependent) {
  Selection a;
  a.add(3, 1.0);
  Selection b = a;
  b.add(4);
  EXPECT_EQ(a.picks().size(), 1u);
  EXPECT_EQ(b.picks().size(), 2u);
  EXPECT_EQ(b.picks()[0].log_weight, 1.0);
}

}  // namespace
