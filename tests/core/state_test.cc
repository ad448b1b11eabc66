// SPDX-License-Identifier: Apache-2.0
#include "skim/core/state.h"

#include <gtest/gtest.h>

#include <vector>

namespace {

using skim::State;
using skim::StateView;

TEST(StateView, HeadIsOneRowOfEach) {
  std::vector<float> out(3 * 10), lse(6);
  const StateView view{{out.data(), 3, 8, 10}, lse.data(), 2};
  for (std::size_t h = 0; h < 3; ++h) {
    const StateView one = view.head(h);
    EXPECT_EQ(one.out.rows, 1u);
    EXPECT_EQ(one.out.cols, 8u);
    EXPECT_EQ(one.out.row(0), out.data() + 10 * h);
    EXPECT_EQ(&one.lse_of(0), lse.data() + 2 * h);
    EXPECT_EQ(&one.lse_of(0), &view.lse_of(h));
  }
}

TEST(State, ViewWritesWhatTheStateReads) {
  State state(2, 3);
  const StateView view = state.view();
  EXPECT_EQ(view.out.rows, 2u);
  EXPECT_EQ(view.out.cols, 3u);
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t c = 0; c < 3; ++c) view.out.row(h)[c] = static_cast<float>(10 * h + c);
    view.lse_of(h) = static_cast<float>(h) + 0.5f;
  }
  const State& read = state;
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(read.out(h)[c], static_cast<float>(10 * h + c));
    EXPECT_EQ(read.lse(h), static_cast<float>(h) + 0.5f);
  }
  EXPECT_EQ(state.heads(), 2u);
  EXPECT_EQ(state.value_dim(), 3u);
}

TEST(State, CopiesAreIndependent) {
  State a(1, 1);
  a.out()[0] = 1;
  State b = a;
  b.out()[0] = 2;
  EXPECT_EQ(a.out()[0], 1);
}

}  // namespace
