// SPDX-License-Identifier: Apache-2.0
// Does the mean of a page stand for what nobody has read of it, and is nothing lost or counted twice?
#include "skim/estimator/summaries.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/layouts.h"
#include "support/problem.h"
#include "support/threads.h"

namespace skim::test {
namespace {

template <class Kv>
PageMeans means_of(const Kv& kv, std::size_t page) {
  PageMeans means(page);
  append(means, kv);
  return means;
}

/// The queries that select on their own.
std::vector<Query> selecting(const Query& q) {
  if (q.grouping == Grouping::kPerGroup) return {q};
  std::vector<Query> heads;
  for (std::size_t h = 0; h < q.heads(); ++h) heads.push_back(q.head(h));
  return heads;
}

/// A problem whose positions n, n + 1, ... are the rows of `means`: what a selection with summaries is about, for the
/// plain reference.
template <class K>
Problem<float> with_rows(const Problem<K>& p, const PageMeans& means) {
  Problem<float> all;
  all.shape = p.shape;
  all.shape.n += means.pages();
  all.q = p.q;
  const MeanRows rows = means.rows();
  for (const double x : numbers_of(p.keys, p.shape.n, p.shape.d).numbers) all.keys.push_back(static_cast<float>(x));
  for (const double x : numbers_of(p.values, p.shape.n, p.shape.d_v).numbers) all.values.push_back(static_cast<float>(x));
  for (std::size_t j = 0; j < means.pages(); ++j) {
    for (std::size_t c = 0; c < p.shape.d; ++c) all.keys.push_back(to_float(rows.keys.row(j)[c]));
    for (std::size_t c = 0; c < p.shape.d_v; ++c) all.values.push_back(to_float(rows.values.row(j)[c]));
  }
  return all;
}

std::vector<Weighted> list_with_rows(const Selection& selection, std::size_t n) {
  std::vector<Weighted> list = list_of(selection);
  for (const Pick& s : selection.summaries()) {
    list.push_back({static_cast<Position>(n) + s.position, std::exp(s.log_weight)});
  }
  return list;
}

/// What must be: page by page, in words. `taken`: by earlier stages.
struct Left {
  std::vector<Position> read;
  std::map<Position, Position> summaries;  // row, positions it stands for
};
Left by_hand(skim::Span visible, Position n, Position page, const std::vector<bool>& taken,
                 const std::vector<Position>& odd = {}) {
  Left e;
  for (Position first = 0; first < n; first += page) {
    const bool whole = first >= visible.first && first + page <= visible.last;  // so it is complete as well
    std::vector<Position> left;
    for (Position i = std::max(first, visible.first); i < std::min(first + page, visible.last); ++i) {
      if (taken[static_cast<std::size_t>(i)]) continue;
      if (std::find(odd.begin(), odd.end(), i) != odd.end()) {
        e.read.push_back(i);
      } else {
        left.push_back(i);
      }
    }
    if (!whole || left.size() == 1) {
      e.read.insert(e.read.end(), left.begin(), left.end());
    } else if (!left.empty()) {
      e.summaries[first / page] = static_cast<Position>(left.size());
    }
  }
  std::sort(e.read.begin(), e.read.end());
  return e;
}

/// What `estimator` selects beyond what `earlier` does.
void expect_by_hand(const Selection& all, const Selection& earlier, skim::Span visible, Position n, Position page,
                    const std::vector<Position>& odd = {}) {
  std::vector<bool> taken(static_cast<std::size_t>(n));
  for (const Weighted& w : list_of(earlier)) taken[static_cast<std::size_t>(w.position)] = true;
  const Left expected = by_hand(visible, n, page, taken, odd);
  std::vector<Position> read;
  for (const Weighted& w : list_of(all)) {
    if (!taken[static_cast<std::size_t>(w.position)]) {
      EXPECT_EQ(w.weight, 1.0);
      read.push_back(w.position);
    }
  }
  std::sort(read.begin(), read.end());
  EXPECT_EQ(read, expected.read);
  std::map<Position, Position> summaries;
  for (const Pick& s : all.summaries()) {
    summaries[s.position] = static_cast<Position>(std::lround(std::exp(s.log_weight)));
    EXPECT_EQ(s.log_weight, std::log(static_cast<double>(summaries[s.position])));
  }
  EXPECT_EQ(summaries, expected.summaries);
}

constexpr std::size_t kPages[] = {1, 2, 7, 16, 64};
constexpr std::size_t kSizes[] = {0, 1, 2, 15, 16, 17, 63, 64, 65, 100, 300};

/// Calls visit(problem, query, means) for problems of all sizes, groups and groupings, seeing all or a part.
template <class K, class Visit>
void for_each_problem(const Visit& visit) {
  for (const std::size_t group : {1u, 3u, 4u}) {
    for (const std::size_t n : kSizes) {
      const auto p = random_problem<K>({n, 16, 8, group}, 100 * n + group);
      for (const std::size_t page : kPages) {
        const PageMeans means = means_of(p.kv(), page);
        for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
          for (const bool part : {false, true}) {
            SCOPED_TRACE(testing::Message() << n << " keys in pages of " << page << ", group of " << group
                                            << (part ? ", part visible" : "")
                                            << (grouping == Grouping::kPerHead ? ", per head" : ""));
            Query q = p.query();
            q.grouping = grouping;
            q.stream = {n, 1, 2, 3};
            if (part) {
              q.visible.first = 3;
              q.position = static_cast<Position>(n * 3 / 4);
            }
            visit(p, q, means);
          }
        }
      }
    }
  }
}

const auto kEarlier = stack(Sinks{2}, Window{5}, TopK{fraction(.1, 1)});
const auto kStack = stack(Sinks{2}, Window{5}, TopK{fraction(.1, 1)}, Summaries{});

// ---- what is selected ---------------------------------------------------------------------------------------

TEST(Summaries, StandForEveryPositionThatNobodyReads) {
  for_each_problem<float>([](const Problem<float>& p, const Query& q, const PageMeans& means) {
    const auto n = static_cast<Position>(p.shape.n), page = static_cast<Position>(means.page());
    const auto kv = with_index(p.kv(), means);
    const skim::Span visible = q.resolved(n).visible;
    for (const Query& one : selecting(q)) {
      const Selection alone = select(Summaries{}, one, kv), all = select(kStack, one, kv);
      expect_by_hand(alone, Selection{}, visible, n, page);
      expect_by_hand(all, select(kEarlier, one, p.kv()), visible, n, page);
      // Law 1, and nothing twice: positions read and positions stood for are all that is visible.
      double count = 0;
      for (const Weighted& w : list_with_rows(all, p.shape.n)) count += w.weight;
      EXPECT_NEAR(count, static_cast<double>(visible.size()), 1e-9);
      EXPECT_LE(list_of(all).size(), kStack.max_picks(static_cast<std::size_t>(visible.size())));
    }
  });
}

// A position that is not finite is read, as dense attention would read it; the mean is that of the others.
TEST(Summaries, WhatIsNotFiniteIsRead) {
  constexpr std::size_t n = 100;
  auto p = random_problem<float>({n, 8, 4, 2}, 1);
  const std::vector<Position> odd = {4, 5, 31, 32, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62};
  for (const Position i : odd) {
    (i % 2 ? p.keys[static_cast<std::size_t>(i) * 8 + 3] : p.values[static_cast<std::size_t>(i) * 4 + 1]) =
        i % 3 ? INFINITY : NAN;
  }
  const PageMeans means = means_of(p.kv(), 16);
  const auto kv = with_index(p.kv(), means);
  const Selection all = select(Summaries{}, p.query(), kv);
  expect_by_hand(all, Selection{}, {0, n}, n, 16, odd);
  EXPECT_EQ(std::count_if(all.picks().begin(), all.picks().end(), [](const Pick& x) { return x.position == 63; }), 1)
      << "the only one left of its page";
  expect_by_hand(select(stack(Window{50}, Summaries{}), p.query(), kv), select(Window{50}, p.query(), kv), {0, n}, n, 16, odd);
}

// ---- what it makes of it -------------------------------------------------------------------------------------

template <class K>
struct SummariesOf : testing::Test {};
using SummaryStorages = testing::Types<float, BF16, I8>;
TYPED_TEST_SUITE(SummariesOf, SummaryStorages);

TYPED_TEST(SummariesOf, RowsCountAsTheReferenceSays) {
  for_each_problem<TypeParam>([](const Problem<TypeParam>& p, const Query& q, const PageMeans& means) {
    if (p.shape.group == 3) return;
    const auto kv = with_index(p.kv(), means);
    State fused = attend(kStack, q, kv);
    const auto parts = selecting(q);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Selection selection = select(kStack, parts[i], kv);
      State state = attend(selection, parts[i], kv);
      StateView of_part = fused.view();
      if (parts.size() > 1) of_part = of_part.head(i);
      // The three verbs, bit for bit.
      EXPECT_TRUE(same_bits(state.out(), of_part.out.data, parts[i].heads() * p.shape.d_v));
      EXPECT_TRUE(same_bits(state.view().lse, of_part.lse, parts[i].heads()));
      if constexpr (!std::is_same_v<TypeParam, I8>) {
        Query resolved = parts[i].resolved(static_cast<Position>(p.shape.n));
        resolved.visible = kEverything;
        EXPECT_TRUE(agrees(of_part, with_rows(p, means), resolved, list_with_rows(selection, p.shape.n)));
      }
    }
  });
}

// What the call does is attention over the positions merged with attention over the table's rows.
TYPED_TEST(SummariesOf, IsAMergeOfTwoStates) {
  const auto p = random_problem<TypeParam>({300, 24, 12, 4}, 2);
  const PageMeans means = means_of(p.kv(), 16);
  const auto kv = with_index(p.kv(), means);
  const float sinks[] = {0.5f, -1, 2, 0};
  Query q = p.query();
  const Selection selection = select(kStack, q, kv);
  Selection read, rows;
  for (const skim::Span& span : selection.spans()) read.add(span);
  for (const Pick& pick : selection.picks()) read.add(pick.position, pick.log_weight);
  for (const Pick& s : selection.summaries()) rows.add(s.position, s.log_weight);
  Query of_rows = q;
  of_rows.causal = false;
  State a = attend(read, q, p.kv());
  State b = attend(rows, of_rows, means.rows());
  merge(a.view(), b.view());
  State fused = attend(selection, q, kv);
  EXPECT_TRUE(same_bits(fused.out(), a.out(), 4 * 12));
  EXPECT_TRUE(same_bits(fused.view().lse, a.view().lse, 4));
  // A sink logit counts once.
  q.sink_logits = sinks;
  State with_sinks = attend(kStack, q, kv);
  for (std::size_t h = 0; h < 4; ++h) {
    EXPECT_NEAR(with_sinks.lse(h), std::log(std::exp(double{a.lse(h)}) + std::exp(double{sinks[h]})), 1e-5);
  }
}

// Scale, soft-cap and ALiBi, which sees a page at its middle: 7 of 0 to 15, 3 of 0 to 6.
TEST(Summaries, FollowTheLogitRule) {
  const float slopes[] = {0.3f, 0.05f};
  for (const std::size_t page : {7u, 16u}) {
    const auto p = random_problem<float>({200, 16, 8, 2}, 3);
    const PageMeans means = means_of(p.kv(), page);
    Query q = p.query();
    q.position = 180;
    q.logit = {.scale = 0.4, .soft_cap = 2, .alibi_slopes = slopes};
    const auto kv = with_index(p.kv(), means);
    State state = attend(kStack, q, kv);
    const Selection selection = select(kStack, q, kv);
    const Problem<float> all = with_rows(p, means);
    const Matrix keys = numbers_of(all.keys, all.shape.n, 16), values = numbers_of(all.values, all.shape.n, 8);
    const auto list = list_with_rows(selection, 200);
    for (std::size_t h = 0; h < 2; ++h) {
      ReferenceQuery row = reference_query(q, h, 200);
      std::vector<double> logits = reference_logits(row, keys);
      for (std::size_t j = 0; j < means.pages(); ++j) {
        ReferenceQuery no_slope = row;
        no_slope.alibi_slope = 0;
        const double middle = static_cast<double>(j * page + (page == 7 ? 3 : 7));
        logits[200 + j] = reference_logit(no_slope, keys, 200 + j) - row.alibi_slope * std::abs(180 - middle);
      }
      const ReferenceState reference = reference_attention(logits, values, list);
      EXPECT_TRUE(is_close(state.out(h), state.lse(h), reference, bound_of<float>(row, keys, list, reference))) << h;
    }
  }
}

TEST(Summaries, ValuesMayHaveAnotherTypeThanKeys) {
  const auto p = random_problem<I8, float>({150, 16, 8, 2}, 4);
  const PageMeans means = means_of(p.kv(), 16);
  const auto kv = with_index(p.kv(), means);
  State state = attend(parse("window(20)+summaries"), p.query(), kv);
  State parts = attend(select(parse("window(20)+summaries"), p.query(), kv), p.query(), kv);
  EXPECT_TRUE(same_bits(state.out(), parts.out(), 2 * 8));
  EXPECT_TRUE(std::isfinite(state.lse()));
}

// ---- what is known of it ---------------------------------------------------------------------------------

// Pages of one position are the keys themselves; so are pages of equal keys and values.
TEST(Summaries, OfEqualKeysIsDense) {
  auto p = random_problem<BF16>({192, 16, 8, 2}, 5);
  const PageMeans single = means_of(p.kv(), 1);
  State state = attend(Summaries{}, p.query(), with_index(p.kv(), single));
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
  for (std::size_t i = 0; i < 192; ++i) {
    std::copy_n(row_at(p.keys, i / 32 * 32, 16), 16, row_at(p.keys, i, 16));
    std::copy_n(row_at(p.values, i / 32 * 32, 8), 8, row_at(p.values, i, 8));
  }
  for (const std::size_t page : {2u, 16u, 32u}) {
    const PageMeans means = means_of(p.kv(), page);
    const auto kv = with_index(p.kv(), means);
    EXPECT_EQ(list_of(select(Summaries{}, p.query(), kv)).size(), 0u);
    State coarse = attend(Summaries{}, p.query(), kv), partly = attend(kStack, p.query(), kv);
    EXPECT_TRUE(agrees_with_dense(coarse.view(), p, p.query())) << page;
    EXPECT_TRUE(agrees_with_dense(partly.view(), p, p.query())) << page;
  }
}

// Jensen's inequality in its plainest case: logits of +a and -a, whose mean is 0. The denominator is too small by the
// factor cosh a, and the output has the plain mean of the values.
TEST(Summaries, UnderestimateTheDenominator) {
  for (const float a : {0.0f, 0.5f, 1.0f, 3.0f}) {
    std::vector<BF16> keys(64), values(64);
    for (std::size_t i = 0; i < 64; ++i) {
      keys[i] = from_float<BF16>(i % 2 ? a : -a);
      values[i] = from_float<BF16>(i % 2 ? 1.0f : 0.0f);
    }
    const ContiguousKv<BF16> kv{{keys.data(), 64, 1}, {values.data(), 64, 1}};
    const PageMeans means = means_of(kv, 16);
    const float one = 1;
    Query q;
    q.rows = {&one, 1, 1};
    State exact = attend(Dense{}, q, kv), coarse = attend(Summaries{}, q, with_index(kv, means));
    EXPECT_NEAR(coarse.lse(), std::log(64.0), 1e-6);
    EXPECT_NEAR(exact.lse() - coarse.lse(), std::log(std::cosh(double{a})), 1e-6);
    EXPECT_NEAR(coarse.out()[0], 0.5, 1e-6);
    EXPECT_NEAR(exact.out()[0], 1 / (1 + std::exp(-2 * double{a})), 1e-6);
  }
}

// With normal logits the factor is e^{v (1 - 1 / page) / 2}: v / page of the variance is that of the means themselves.
TEST(Summaries, UnderestimateByHalfTheVarianceWithinAPage) {
  for (const std::size_t page : {16u, 64u}) {
    const auto p = random_problem<float>({65536, 32, 1, 1}, 6, 1);
    const PageMeans means = means_of(p.kv(), page);
    State exact = attend(Dense{}, p.query(), p.kv()), coarse = attend(Summaries{}, p.query(), with_index(p.kv(), means));
    double variance = 0;
    for (const float x : p.q) variance += double{x} * x / 32;
    EXPECT_NEAR(exact.lse() - coarse.lse(), variance * (1 - 1 / static_cast<double>(page)) / 2, 0.05) << variance;
  }
}

// ---- laws --------------------------------------------------------------------------------------------------

// Law 4: nothing left, nothing summarised, and the bits of dense attention.
TEST(Summaries, OfNothingIsDense) {
  for_each_problem<float>([](const Problem<float>& p, const Query& q, const PageMeans& means) {
    State dense = attend(Dense{}, q, p.kv());
    State state = attend(stack(TopK{fraction(1)}, Summaries{}), q, with_index(p.kv(), means));
    EXPECT_TRUE(same_bits(state.out(), dense.out(), p.shape.group * p.shape.d_v));
    EXPECT_TRUE(same_bits(state.view().lse, dense.view().lse, p.shape.group));
  });
}

TEST(Summaries, PagesAndStridesOfTheCacheChangeNoBit) {
  const auto p = random_problem<BF16>({150, 16, 8, 4}, 7);
  const PageMeans means = means_of(p.kv(), 16);
  State flat = attend(kStack, p.query(), with_index(p.kv(), means));
  for (const std::size_t page_size : {1u, 3u, 16u, 256u}) {
    const InPages<BF16, BF16> pages(p, page_size, Adjacency::kAdjacent);
    const PageMeans of_pages = means_of(pages.kv(), 16);
    State state = attend(kStack, p.query(), with_index(pages.kv(), of_pages));
    EXPECT_TRUE(same_bits(state.out(), flat.out(), 4 * 8)) << page_size;
    EXPECT_TRUE(same_bits(state.view().lse, flat.view().lse, 4)) << page_size;
  }
}

/// A layer whose KV heads carry means.
struct LayerWithMeans {
  using Indexed = IndexedKv<ContiguousKv<BF16>, PageMeans>;

  const LayerProblem<BF16>& p;
  std::vector<std::unique_ptr<PageMeans>> means;
  std::vector<Indexed> views;

  LayerWithMeans(const LayerProblem<BF16>& problem, std::size_t page) : p(problem) {
    for (const auto& view : p.views) {
      means.push_back(std::make_unique<PageMeans>(means_of(view, page)));
      views.push_back(with_index(view, *means.back()));
    }
  }
  LayerKv<Indexed> kv() const { return {views, p.shape.kv_heads}; }
};

// Law 5.
TEST(Summaries, AnyNumberOfThreadsGivesTheSameBits) {
  const std::vector<std::vector<Sequence>> batches = {{{5, 60}, {1, 7}, {0, 9}, {9, 9}, {1, 300}}, {{1, 13000}}};
  for (const auto& batch : batches) {
    const LayerProblem<BF16> p({4, 2, 8, 8}, batch, batch.size());
    const LayerWithMeans layer(p, 2);  // so that their rows are more than a chunk of them
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      for (const bool alone : {false, true}) {
        LayerQuery query = p.query();
        query.grouping = grouping;
        const StageList e = alone ? parse("summaries") : parse("sinks(2)+topk(9)+summaries");
        LayerOutput serial(p);
        attend(e, query, layer.kv(), serial.state());
        for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
          for (const Executor& executor : {real_threads(threads), backwards(threads)}) {
            LayerOutput output(p);
            Options options;
            options.executor = executor;
            attend(e, query, layer.kv(), output.state(), options);
            EXPECT_TRUE(same_bits(serial, output)) << threads << " threads";
            EXPECT_TRUE(output.all_written());
          }
        }
      }
    }
  }
}

// A row of a chunk is stood for by pages that it could see when it was the newest.
TEST(Summaries, NoRowSeesWhatComesAfterIt) {
  const LayerProblem<BF16> p({4, 2, 16, 8}, {{20, 90}}, 8);
  const LayerWithMeans layer(p, 8);
  LayerOutput chunk(p);
  attend(kStack, p.query(), layer.kv(), chunk.state());
  for (std::size_t r = 0; r < 20; ++r) {
    for (std::size_t h = 0; h < 2; ++h) {
      ContiguousKv<BF16> early = p.views[h];
      early.keys.rows = early.values.rows = 71 + r;
      const PageMeans means = means_of(early, 8);
      Query q;
      q.rows = p.query().rows.group(r, 2 * h, 2);
      State state = attend(kStack, q, with_index(early, means));
      EXPECT_TRUE(same_bits(state.out(), chunk.row(r, 2 * h).out.data, 2 * 8)) << "row " << r;
    }
  }
}

TEST(Summaries, CountTheBytesTheyRead) {
  const auto p = random_problem<BF16>({128, 16, 8, 2}, 9);
  const PageMeans means = means_of(p.kv(), 16);
  Workspace ws;
  State state(2, 8);
  attend(stack(Window{16}, Summaries{}), p.query(), with_index(p.kv(), means), state.view(), ws);
  EXPECT_EQ(ws.reads.keys, 16u);
  EXPECT_EQ(ws.reads.values, 16u);
  EXPECT_EQ(ws.reads.index_bytes, 7u * (16 + 8) * 2);
}

// ---- errors --------------------------------------------------------------------------------------------------

TEST(Summaries, NeedTheTableOfMeans) {
  const auto p = random_problem<float>({40, 8, 4, 1}, 10);
  const PageMeans means = means_of(p.kv(), 16);
  expect_error([&] { attend(Summaries{}, p.query(), p.kv()); }, {"by means", "with_index"});
  expect_error([&] { attend(parse("window(3)+summaries"), p.query(), p.kv()); }, {"by means", "with_index"});
  const Selection selection = select(Summaries{}, p.query(), with_index(p.kv(), means));
  expect_error([&] { attend(selection, p.query(), p.kv()); }, {"summary 0", "row 0", "[0, 0)", "page means"});
  Selection wrong;
  wrong.add_summary(1, 0);
  wrong.add_summary(1, 0);
  expect_error([&] { attend(wrong, p.query(), with_index(p.kv(), means)); }, {"summary 1", "row 1", "[2, 2)"});
  Selection endless;
  endless.add_summary(0, INFINITY);
  expect_error([&] { attend(endless, p.query(), with_index(p.kv(), means)); }, {"summary 0", "log weight inf"});
  auto longer = random_problem<float>({41, 8, 4, 1}, 10);
  expect_error([&] { attend(Summaries{}, longer.query(), with_index(longer.kv(), means)); }, {"covers 40", "41 keys"});
  const auto wider = random_problem<float>({40, 8, 5, 1}, 10);
  expect_error([&] { attend(Summaries{}, wider.query(), with_index(wider.kv(), means)); }, {"4 columns", "values have 5"});
}

TEST(Summaries, AreTheLastOfAStack) {
  static_assert(!stack_detail::tail_is_last<Summaries, TopK>());
  static_assert(stack_detail::tail_is_last<TopK, Summaries>());
  EXPECT_EQ(to_text(parse(" sinks(4) + summaries ")), "sinks(4)+summaries");
  EXPECT_EQ(to_text(kStack), "sinks(2)+window(5)+topk(fraction(0.1,1))+summaries");
  expect_error([] { parse("summaries+topk(3)"); }, {"stands for every position left"});
}

}  // namespace
}  // namespace skim::test
