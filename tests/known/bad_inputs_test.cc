// SPDX-License-Identifier: Apache-2.0
// What does each kind of bad input give? One test for each row of the table of bad inputs, for every estimator there
// is. What is in the numbers is never an error; what is in the shapes always is. tests/attend/bad_data_test.cc and
// check_test.cc go into each.
//
// Rows without a test here:
//   two threads that share a workspace    undefined, and said so; B27 of needs_test.cc has one each
//   corrupt model files                   tests/examples/gguf_test.cc
//   negative dimensions                   sizes have no sign
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "estimator/given_logits.h"
#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

/// One of each estimator, with a budget of k.
std::vector<StageList> every_estimator(int k) {
  std::vector<StageList> all = {parse("dense"), parse("topp(0.9)")};
  const std::string budget = "(" + std::to_string(k) + ")";
  for (const char* name :
       {"sinks", "window", "topk", "uniform", "priority", "multinomial", "systematic", "poisson"}) {
    all.push_back(parse(name + budget));
  }
  all.push_back(parse("sinks(2)+window(3)+topk" + budget + "+priority" + budget));
  return all;
}

std::size_t held_by(const Selection& selection) { return list_of(selection).size(); }

testing::AssertionResult is_empty(const State& state) {
  for (std::size_t h = 0; h < state.heads(); ++h) {
    if (state.lse(h) != -kInfF) return testing::AssertionFailure() << "lse is " << state.lse(h);
    for (std::size_t c = 0; c < state.value_dim(); ++c) {
      if (state.out(h)[c] != 0) return testing::AssertionFailure() << "out is " << state.out(h)[c];
    }
  }
  return testing::AssertionSuccess();
}

// n = 0; every key masked; empty page list; batch 0 -> success; o = 0, lse = -inf, rows written; batch 0 touches nothing
TEST(BadInputs, NothingThere) {
  const auto none = random_problem<float>({0, 8, 4, 2}, 1);
  const auto some = random_problem<float>({9, 8, 4, 2}, 1);
  const InPages<float, float> pages(none, 16, Adjacency::kApart);
  for (const StageList& e : every_estimator(3)) {
    SCOPED_TRACE(to_text(e));
    EXPECT_TRUE(is_empty(attend(e, none.query(), none.kv())));
    EXPECT_TRUE(is_empty(attend(e, none.query(), pages.kv())));
    Query q = some.query();
    q.visible = {5, 5};
    EXPECT_TRUE(is_empty(attend(e, q, some.kv())));
    const GivenLogits<float> masked({std::vector<float>(9, -kInfF)});
    EXPECT_TRUE(is_empty(attend(e, masked.query(), masked.kv())));
    LayerProblem<float> batch_of_none({}, {}, 1);
    LayerOutput output(batch_of_none);
    attend(e, batch_of_none.query(), batch_of_none.kv(), output.state());
    EXPECT_TRUE(output.out.untouched() && output.lse.untouched());
  }
}

// k = 0 -> as the empty set (plus sinks and window if there are any)
TEST(BadInputs, BudgetOfZero) {
  const auto p = random_problem<float>({40, 8, 4, 2}, 2);
  for (const char* tail : {"topk(0)", "topp(0)", "uniform(0)", "priority(0)", "multinomial(0)",
                           "systematic(0)", "poisson(0)", "topk(fraction(0))"}) {
    SCOPED_TRACE(tail);
    EXPECT_TRUE(is_empty(attend(parse(tail), p.query(), p.kv())));
    EXPECT_EQ(held_by(select(parse(std::string("sinks(2)+window(3)+") + tail), p.query(), p.kv())), 5u);
  }
}

// k > n, window > n -> clamped; the count is that of the selection
TEST(BadInputs, BudgetBeyondWhatIsThere) {
  const auto p = random_problem<float>({40, 8, 4, 2}, 3);
  for (const StageList& e : every_estimator(41)) {
    if (to_text(e).starts_with("topp")) continue;
    EXPECT_EQ(held_by(select(e, p.query(), p.kv())), 40u) << to_text(e);
  }
}

// NaN in a selected q, k or v -> NaN in that row's affected outputs only
TEST(BadInputs, NanInWhatIsSelected) {
  const auto clean = random_problem<float>({40, 8, 4, 3}, 4);
  const State expected = attend(Dense{}, clean.query(), clean.kv());
  auto p = clean;
  p.q[8 + 2] = NAN;  // of head 1
  const State of_q = attend(Dense{}, p.query(), p.kv());
  EXPECT_TRUE(same_bits(of_q.out(0), expected.out(0), 4));
  EXPECT_TRUE(std::isnan(of_q.out(1)[0]) && std::isnan(of_q.lse(1)));
  EXPECT_TRUE(same_bits(of_q.out(2), expected.out(2), 4));
  p = clean;
  p.keys[7 * 8] = NAN;
  const State of_key = attend(Dense{}, p.query(), p.kv());
  for (std::size_t h = 0; h < 3; ++h)
    EXPECT_TRUE(std::isnan(of_key.out(h)[3]) && std::isnan(of_key.lse(h)));
  p = clean;
  p.values[7 * 4 + 1] = NAN;
  const State of_value = attend(Dense{}, p.query(), p.kv());
  for (std::size_t h = 0; h < 3; ++h) {
    EXPECT_TRUE(std::isnan(of_value.out(h)[1]));
    EXPECT_EQ(of_value.out(h)[0], expected.out(h)[0]);
    EXPECT_EQ(of_value.lse(h), expected.lse(h));
  }
}

// NaN and infinities in what is not selected, or in padding -> no effect, bitwise
TEST(BadInputs, NanInWhatIsNotSelected) {
  const auto clean = random_problem<float>({60, 8, 4, 2}, 5);
  for (const StageList& e : every_estimator(6)) {
    const Selection set = select(e, clean.query(), clean.kv());
    const std::vector<Weighted> list = list_of(set);
    if (list.size() == 60) continue;
    const State expected = attend(e, clean.query(), clean.kv());
    for (const float bad : {NAN, kInfF, -kInfF}) {
      auto p = clean;
      for (std::int64_t i = 0; i < 60; ++i) {
        if (std::none_of(list.begin(), list.end(),
                         [i](const Weighted& w) { return w.position == i; })) {
          std::fill_n(p.values.begin() + i * 4, 4, bad);
        }
      }
      const State state = attend(e, p.query(), p.kv());
      EXPECT_TRUE(same_bits(state.out(), expected.out(), 8)) << to_text(e);
      EXPECT_EQ(state.lse(1), expected.lse(1));
    }
  }
}

// +inf logit: one -> o = its value; several -> NaN. -inf logit = masked
TEST(BadInputs, InfiniteLogits) {
  auto p = random_problem<float>({40, 1, 4, 1}, 6);
  p.q[0] = 1;
  Query q = p.query();
  q.logit.scale = 1;
  p.keys[17] = kInfF;
  p.keys[3] = -kInfF;
  for (const StageList& e : every_estimator(6)) {
    const std::vector<Weighted> list = list_of(select(e, q, p.kv()));
    if (std::none_of(list.begin(), list.end(), [](const Weighted& w) { return w.position == 17; }))
      continue;
    const State state = attend(e, q, p.kv());
    EXPECT_TRUE(same_bits(state.out(), p.values.data() + 17 * 4, 4)) << to_text(e);
    EXPECT_EQ(state.lse(), kInfF);
  }
  // Every stage that looks at logits finds it.
  for (const char* text :
       {"topk(6)", "topp(0.9)", "priority(6)", "multinomial(6)", "systematic(6)", "poisson(6)"}) {
    EXPECT_EQ(attend(parse(text), q, p.kv()).lse(), kInfF) << text;
  }
  p.keys[30] = kInfF;
  EXPECT_TRUE(std::isnan(attend(Dense{}, q, p.kv()).out()[0]));
  EXPECT_TRUE(std::isnan(attend(TopK{6}, q, p.kv()).out()[0]));
  EXPECT_TRUE(std::isnan(attend(TopP{0.9}, q, p.kv()).out()[0]));
  for (const StageList& e : every_estimator(2)) {
    for (std::size_t at = 0; at < 40; at += 2) p.keys[at] = kInfF;
    EXPECT_LE(held_by(select(e, q, p.kv())), e.max_picks(40)) << to_text(e);
  }
}

// logits of +-1e30, overflow in 16-bit storage -> finite, within the bound; what conversion does is documented
TEST(BadInputs, HugeNumbers) {
  for (const float size : {1e30f, -1e30f}) {
    auto p = random_problem<float>({40, 1, 4, 1}, 7);
    p.q[0] = 1;
    for (float& k : p.keys) k *= size;
    Query q = p.query();
    q.logit.scale = 1;
    State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
    EXPECT_TRUE(std::isfinite(state.out()[0]) && std::isfinite(state.lse()));
    for (const StageList& e : every_estimator(6)) {
      const State of_e = attend(e, q, p.kv());
      EXPECT_TRUE(std::isfinite(of_e.out()[0]) && std::isfinite(of_e.lse())) << to_text(e);
    }
  }
  EXPECT_EQ(to_float(from_float<F16>(65504)), 65504.0f);
  EXPECT_EQ(to_float(from_float<F16>(1e6f)), kInfF);
  EXPECT_EQ(to_float(from_float<BF16>(-std::numeric_limits<float>::max())), -kInfF);
}

// denormals -> the same when they are flushed to zero
#if defined(__SSE__)
TEST(BadInputs, Denormals) {
  auto p = random_problem<float>({60, 8, 4, 2}, 8);
  for (std::size_t i = 0; i < p.keys.size(); i += 2) p.keys[i] = 1e-40f;
  for (const StageList& e : every_estimator(6)) {
    const State kept = attend(e, p.query(), p.kv());
    const unsigned int saved = _mm_getcsr();
    _mm_setcsr(saved | 0x8040u);
    const State flushed = attend(e, p.query(), p.kv());
    _mm_setcsr(saved);
    for (std::size_t c = 0; c < 8; ++c)
      EXPECT_NEAR(flushed.out()[c], kept.out()[c], 1e-6) << to_text(e);
  }
}
#endif

// NaN scores in top-k -> ordered last, deterministic; never an index out of range
TEST(BadInputs, NanScores) {
  std::vector<float> s(50, NAN);
  for (std::size_t i = 5; i < 50; i += 5) s[i] = static_cast<float>(i % 3);
  const GivenLogits<float> p({s});
  for (const StageList& e : every_estimator(4)) {
    const Selection set = select(e, p.query(), p.kv());
    for (const Weighted& w : list_of(set))
      ASSERT_TRUE(w.position >= 0 && w.position < 50) << to_text(e);
    const auto& text = to_text(e);
    if (text.starts_with("dense") || text.starts_with("sinks") || text.starts_with("window") ||
        text.starts_with("uniform")) {
      continue;  // read no logits
    }
    for (const Pick& pick : set.picks())
      EXPECT_FALSE(std::isnan(s[static_cast<std::size_t>(pick.position)])) << text;
  }
}

// d = 0 -> invalid_argument; d not a multiple of lanes, pointers aligned to an element -> correct
TEST(BadInputs, RowLengthsAndAlignment) {
  auto none = random_problem<float>({10, 8, 4, 1}, 9);
  none.shape.d = 0;
  EXPECT_THROW(attend(Dense{}, none.query(), none.kv()), std::invalid_argument);
  none.shape = {10, 8, 0, 1};
  EXPECT_THROW(attend(Dense{}, none.query(), none.kv()), std::invalid_argument);
  for (const std::size_t d : {1u, 5u, 17u, 31u}) {
    const auto p = random_problem<F16>({40, d, d + 1, 2}, d);
    State state = attend(TopK{20}, p.query(), p.kv());
    EXPECT_TRUE(agrees(state.view(), p, p.query(), list_of(select(TopK{20}, p.query(), p.kv()))));
    // One element into an aligned buffer.
    std::vector<F16> keys(1), values(1);
    keys.insert(keys.end(), p.keys.begin(), p.keys.end());
    values.insert(values.end(), p.values.begin(), p.values.end());
    const ContiguousKv<F16> shifted{{keys.data() + 1, 40, d}, {values.data() + 1, 40, d + 1}};
    const State same = attend(TopK{20}, p.query(), shifted);
    EXPECT_TRUE(same_bits(same.out(), state.out(), 2 * (d + 1)));
  }
}

// stride 0, negative -> correct for what is read, invalid_argument for what is written; inner stride is 1 by type
TEST(BadInputs, Strides) {
  const auto p = random_problem<float>({10, 8, 4, 2}, 10);
  auto reversed = p;
  for (std::size_t i = 0; i < 10; ++i) {
    std::copy_n(p.keys.begin() + static_cast<std::ptrdiff_t>(i * 8), 8,
                reversed.keys.begin() + static_cast<std::ptrdiff_t>((9 - i) * 8));
    std::copy_n(p.values.begin() + static_cast<std::ptrdiff_t>(i * 4), 4,
                reversed.values.begin() + static_cast<std::ptrdiff_t>((9 - i) * 4));
  }
  const ContiguousKv<float> backwards{{reversed.keys.data() + 72, 10, 8, -8},
                                      {reversed.values.data() + 36, 10, 4, -4}};
  const State expected = attend(Dense{}, p.query(), p.kv()),
              state = attend(Dense{}, p.query(), backwards);
  EXPECT_TRUE(same_bits(state.out(), expected.out(), 8));
  Workspace ws;
  std::vector<float> out(8), lse(2);
  for (const std::ptrdiff_t stride : {0, 3, -3}) {
    const StateView overlapping{{out.data() + 4, 2, 4, stride}, lse.data()};
    EXPECT_THROW(attend(Dense{}, p.query(), p.kv(), overlapping, ws), std::invalid_argument) << stride;
  }
  EXPECT_NO_THROW(attend(Dense{}, p.query(), p.kv(), {{out.data() + 4, 2, 4, -4}, lse.data()}, ws));
}

// Hq % Hkv != 0, products that overflow -> invalid_argument before any access
TEST(BadInputs, Sizes) {
  LayerProblem<float> p({6, 4, 8, 4}, {{1, 12}}, 11);
  LayerOutput output(p);
  EXPECT_THROW(attend(Dense{}, p.query(), p.kv(), output.state()), std::invalid_argument);
  EXPECT_TRUE(output.out.untouched());
  const auto head = random_problem<float>({10, 8, 4, 1}, 11);
  ContiguousKv<float> kv = head.kv();
  kv.keys.rows = kv.values.rows = std::numeric_limits<std::size_t>::max() / 3;
  EXPECT_THROW(attend(Dense{}, head.query(), kv), std::invalid_argument);
  kv = head.kv();
  kv.values.stride = std::numeric_limits<std::ptrdiff_t>::max() / 3;
  EXPECT_THROW(attend(Dense{}, head.query(), kv), std::invalid_argument);
}

// output aliases input -> invalid_argument
TEST(BadInputs, OutIsQ) {
  auto p = random_problem<float>({10, 8, 8, 2}, 12);
  float lse[2];
  Workspace ws;
  EXPECT_THROW(attend(Dense{}, p.query(), p.kv(), {{p.q.data(), 2, 8}, lse}, ws),
               std::invalid_argument);
}

// page index out of range, negative, duplicate; a user's list unsorted, duplicated, out of range -> invalid_argument
TEST(BadInputs, PageTablesAndLists) {
  const auto p = random_problem<float>({40, 8, 4, 1}, 13);
  for (const std::int32_t bad : {-1, 1000}) {
    InPages<float, float> pages(p, 8, Adjacency::kApart);
    pages.table()[2] = bad;
    EXPECT_THROW(attend(Dense{}, p.query(), pages.kv()), std::invalid_argument);
  }
  InPages<float, float> pages(p, 8, Adjacency::kApart);
  pages.table()[2] = pages.table()[0];
  EXPECT_THROW(attend(Dense{}, p.query(), pages.kv()), std::invalid_argument);
  for (const std::vector<Position>& list : {std::vector<Position>{5, 3}, {4, 4}, {0, 40}, {-1, 3}}) {
    Selection selection;
    for (const Position i : list) selection.add(i);
    EXPECT_THROW(attend(selection, p.query(), p.kv()), std::invalid_argument)
        << list[0] << ", " << list[1];
  }
}

// weights <= 0, NaN -> invalid_argument. A list holds ln w: 0 is -inf, and below 0 there is none. Parameters of
// estimators out of range as well. A list does not know probabilities, so pi > 1 is w < 1, and that is right: a key
// drawn once by B independent draws has 1 / (B pi), which may be small.
TEST(BadInputs, Weights) {
  const auto p = random_problem<float>({40, 8, 4, 1}, 14);
  for (const double weight : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(kInfF)}) {
    Selection selection;
    selection.add(3, std::log(weight));
    EXPECT_THROW(attend(selection, p.query(), p.kv()), std::invalid_argument) << weight;
  }
  Selection full, half;
  full.add(3);
  half.add(3, std::log(0.5));
  const State one = attend(full, p.query(), p.kv()), less = attend(half, p.query(), p.kv());
  EXPECT_TRUE(same_bits(less.out(), one.out(), 4));
  EXPECT_NEAR(less.lse(), one.lse() - std::log(2.0f), 1e-6);
  EXPECT_THROW(attend(TopP{1.5}, p.query(), p.kv()), std::invalid_argument);
  EXPECT_THROW(attend(TopP{static_cast<double>(NAN)}, p.query(), p.kv()), std::invalid_argument);
  EXPECT_THROW(attend(TopK{-1}, p.query(), p.kv()), std::invalid_argument);
  EXPECT_THROW(attend(PoissonTail{fraction(2)}, p.query(), p.kv()), std::invalid_argument);
  EXPECT_THROW(attend(SystematicTail{power(-1, 0.5)}, p.query(), p.kv()), std::invalid_argument);
  EXPECT_THROW(attend(MultinomialTail{power(1, 2)}, p.query(), p.kv()), std::invalid_argument);
  EXPECT_THROW(attend(stack(Sinks{4}, Window{-1}), p.query(), p.kv()), std::invalid_argument);
}

}  // namespace
}  // namespace skim::test
