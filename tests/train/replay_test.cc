// SPDX-License-Identifier: Apache-2.0
// Law 8 in training: does a row select the same in the forward pass, when its gradients are made, and when it is
// decoded alone?
#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/indexes.h"
#include "support/threads.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

/// Whether an entry of a record is `selection`: the same spans and picks, the same weights to the last bit.
testing::AssertionResult is_selection(const SelectionRecord::View& entry, const Selection& selection) {
  const auto& spans = selection.spans();
  const auto& picks = selection.picks();
  if (!std::equal(entry.spans.begin(), entry.spans.end(), spans.begin(), spans.end())) {
    return testing::AssertionFailure() << "other spans: " << entry.spans.size() << " and " << spans.size();
  }
  if (entry.picks.size() != picks.size()) {
    return testing::AssertionFailure() << entry.picks.size() << " picks and " << picks.size();
  }
  for (std::size_t i = 0; i < picks.size(); ++i) {
    const double log_weight = entry.log_weights ? entry.log_weights[i] : 0;
    if (entry.picks[i] == picks[i].position && log_weight == picks[i].log_weight) continue;
    return testing::AssertionFailure() << "pick " << i << " is " << entry.picks[i] << ", weight " << log_weight
                                       << ", and " << picks[i].position << ", weight " << picks[i].log_weight;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult same_record(const SelectionRecord& a, const SelectionRecord& b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " and " << b.size() << " entries";
  for (std::size_t i = 0; i < a.size(); ++i) {
    Selection selection;
    for (const skim::Span& span : b[i].spans) selection.add(span);
    for (std::size_t p = 0; p < b[i].picks.size(); ++p) {
      selection.add(b[i].picks[p], b[i].log_weights ? b[i].log_weights[p] : 0);
    }
    if (const auto same = is_selection(a[i], selection); !same) {
      return testing::AssertionFailure() << "entry " << i << ": " << same.message();
    }
  }
  return testing::AssertionSuccess();
}

/// A row of the query heads of one KV head, as decode asks it.
template <class Real>
BasicQuery<Real> decoded(const TrainingProblem<Real>& p, std::size_t r, std::size_t kv_head) {
  const std::size_t group = p.shape.group(), first = kv_head * group;
  const BasicLayerQuery<Real> layer = p.query();
  BasicQuery<Real> q;
  q.rows = layer.rows.group(r, first, group);
  q.position = p.position(r);
  q.causal = layer.causal;
  q.logit = layer.logit;
  if (q.logit.alibi_slopes) q.logit.alibi_slopes += first;
  q.grouping = layer.grouping;
  q.stream = layer.stream;
  q.stream.head = static_cast<std::uint32_t>(kv_head);
  return q;
}

/// Forward, backward and decode, row by row.
template <class Real, class E>
void expect_one_selection(const E& estimator, const TrainingProblem<Real>& p) {
  TrainingStep<Real> step(p);
  step.forward(estimator);
  SelectionRecord again, in_backward;
  select(estimator, p.query(), step.kv(), again, {.executor = backwards(3)});
  EXPECT_TRUE(same_record(again, step.record));
  backward(estimator, p.query(), step.kv(), step.gradients(), {.record = &in_backward});
  EXPECT_TRUE(same_record(in_backward, step.record));
  const std::size_t per_unit = step.record.per_unit();
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t kv_head = 0; kv_head < p.shape.kv_heads; ++kv_head) {
      const BasicQuery<Real> q = decoded(p, r, kv_head);
      ContiguousKv<Real> kv = step.views[kv_head];
      if (q.position < 0) continue;  // nobody decodes that
      for (const bool newest : {false, true}) {  // is the cache as it is now, or as it was when the row was the newest?
        if (newest && !p.causal) continue;       // then it has seen later keys
        if (newest) kv.keys.rows = kv.values.rows = static_cast<std::size_t>(q.position + 1);
        for (std::size_t h = 0; h < per_unit; ++h) {
          const Selection alone = select(estimator, per_unit == 1 ? q : q.head(h), kv);
          ASSERT_TRUE(is_selection(step.record[(r * p.shape.kv_heads + kv_head) * per_unit + h], alone))
              << "row " << r << ", KV head " << kv_head << ", head " << h << (newest ? ", newest" : "");
        }
      }
    }
  }
}

template <class Real>
void expect_one_selection_of_all(const TrainingProblem<Real>& p) {
  for (const char* text : {"dense", "sinks(3)+window(9)", "topk(7)", "topk(fraction(0.05))",
                           "sinks(2)+window(5)+topk(4)", "topp(0.6)", "uniform(9)", "priority(9)", "systematic(9)",
                           "poisson(9)", "multinomial(9)", "topk(4)+priority(6)", "topk(3)+dense"}) {
    SCOPED_TRACE(text);
    expect_one_selection(parse(text), p);
  }
  expect_one_selection(Dense{}, p);
  expect_one_selection(TopK{5}, p);
  expect_one_selection(stack(Sinks{2}, TopK{9}), p);
}

TEST(Replay, SetsOfForwardBackwardAndDecode) {
  TrainingProblem<float> p({4, 2, 40, 8}, 150, 150, 1);
  expect_one_selection_of_all(p);
  p.grouping = Grouping::kPerHead;
  p.with_slopes = true;
  p.soft_cap = 4;
  expect_one_selection_of_all(p);
}

TEST(Replay, OfMoreRowsThanPositionsAndOfFewRows) {
  TrainingProblem<float> more_rows({2, 1, 8, 8}, 9, 5, 2);
  const TrainingProblem<float> few({6, 2, 8, 8}, 3, 70, 3);
  more_rows.causal = false;
  expect_one_selection_of_all(more_rows);
  expect_one_selection_of_all(few);
}

TEST(Replay, InDouble) { expect_one_selection_of_all(TrainingProblem<double>({3, 1, 12, 8}, 60, 60, 4)); }

// One row against many keys on several threads goes another way: the record is the same.
TEST(Replay, OfOneRowOnManyThreads) {
  const TrainingProblem<float> p({2, 1, 16, 8}, 1, 9000, 5);
  TrainingStep<float> serial(p), threaded(p);
  const auto estimator = stack(Sinks{2}, TopK{100}, PriorityTail{50});
  serial.forward(estimator);
  threaded.forward(estimator, {.executor = real_threads(4)});
  EXPECT_TRUE(same_record(threaded.record, serial.record));
}

// Ties are cut alike: nine kinds of keys, all their copies with one logit.
TEST(Replay, OfTies) {
  TrainingProblem<float> p({4, 2, 40, 8}, 200, 200, 6);
  for (std::size_t i = 9; i < 200; ++i) std::copy_n(p.k.data() + i % 9 * 80, 80, p.k.data() + i * 80);
  for (const std::size_t k : {1u, 6u, 20u, 23u}) expect_one_selection(TopK{k}, p);
}

// With an index the selection depends on what the index is made of, at any time the same for equal contents.
TEST(Replay, ByAnIndex) {
  const TrainingProblem<float> p({4, 2, 40, 8}, 600, 600, 7);
  TrainingStep<float> step(p);
  std::vector<Sketch4> sketches(2);
  using Kv = decltype(with_index(step.views[0], sketches[0]));
  std::vector<Kv> views;
  for (std::size_t h = 0; h < 2; ++h) {
    append(sketches[h], step.views[h]);
    views.push_back(with_index(step.views[h], sketches[h]));
  }
  const LayerKv<Kv> kv{views, 2};
  for (const char* text :
       {"topk(9,by=sketch4)", "topk(9,by=sketch4,candidates=40)", "sinks(3)+systematic(20,by=sketch4)"}) {
    SelectionRecord forward, again;
    attend(parse(text), p.query(), kv, step.state(), {.record = &forward});
    select(parse(text), p.query(), kv, again);
    EXPECT_TRUE(same_record(again, forward)) << text;
    backward(forward, p.query(), kv, step.gradients());
    EXPECT_TRUE(agrees(step, lists_of(forward, p))) << text;
  }
}

TEST(Replay, ByHashTables) {
  const TrainingProblem<float> p({4, 2, 40, 8}, 300, 600, 9);
  TrainingStep<float> step(p);
  std::vector<LshTables> tables;
  for (std::size_t h = 0; h < 2; ++h) tables.push_back(lsh_tables_of(step.views[h], 4, 12));
  using Kv = decltype(with_index(step.views[0], tables[0]));
  std::vector<Kv> views;
  for (std::size_t h = 0; h < 2; ++h) views.push_back(with_index(step.views[h], tables[h]));
  const LayerKv<Kv> kv{views, 2};
  for (const char* text : {"lsh(4,12)", "sinks(3)+window(9)+lsh(4,12,collisions=1)"}) {
    SelectionRecord forward, again;
    attend(parse(text), p.query(), kv, step.state(), {.record = &forward});
    select(parse(text), p.query(), kv, again);
    EXPECT_TRUE(same_record(again, forward)) << text;
    std::size_t weighted = 0;
    for (std::size_t i = 0; i < forward.size(); ++i) weighted += forward[i].log_weights != nullptr;
    EXPECT_GT(weighted, forward.size() / 2) << "it has sampled";
    backward(forward, p.query(), kv, step.gradients());
    EXPECT_TRUE(agrees(step, lists_of(forward, p))) << text;
  }
}

TEST(Replay, SummariesAreRefused) {
  const TrainingProblem<float> p({2, 1, 8, 8}, 200, 200, 8);
  TrainingStep<float> step(p);
  PageMeans means;
  append(means, step.views[0]);
  using Kv = decltype(with_index(step.views[0], means));
  const std::vector<Kv> views{with_index(step.views[0], means)};
  const LayerKv<Kv> kv{views, 1};
  const auto refused = [&](const auto& estimator) {
    expect_error([&] { attend(estimator, p.query(), kv, step.state(), {.record = &step.record}); },
                 {"record", "summaries"});
    expect_error([&] { select(estimator, p.query(), kv, step.record); }, {"record", "summaries"});
    expect_error([&] { backward(estimator, p.query(), kv, step.gradients()); }, {"record", "summaries"});
    EXPECT_TRUE(step.out.untouched() && step.dq.untouched());
  };
  refused(Summaries{});
  refused(stack(TopK{5}, Summaries{}));
  refused(parse("topk(5)+summaries"));
  attend(parse("topk(5,by=means)"), p.query(), kv, step.state(), {.record = &step.record});  // ranks only
  EXPECT_TRUE(step.out.all_written());
}

}  // namespace
}  // namespace skim::test
