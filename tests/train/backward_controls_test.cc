// SPDX-License-Identifier: Apache-2.0
// Would the tests notice? Mistakes that a backward pass can make, each made on purpose by what it is handed: central
// differences and the textbook's gradients must both reject them.
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/training_problem.h"
#include "train/differences.h"

namespace skim::test {
namespace {

/// A step of everything at once, with nothing wrong before `run`.
struct Controls : testing::Test {
  TrainingProblem<double> p{{4, 2, 3, 2}, 9, 21, 1};
  BasicLayerQuery<double> query;
  std::optional<TrainingStep<double>> step;
  Lists lists;

  Controls() {
    p.with_sinks = p.with_slopes = true;
    p.soft_cap = 2;
    query = p.query();
    step.emplace(p);
    step->forward(stack(Sinks{2}, TopK{3}, PriorityTail{5}));
    lists = lists_of(step->record, p);
  }

  void run() { backward(step->record, query, step->kv(), step->gradients()); }
  void expect_rejected() {
    run();
    EXPECT_FALSE(agrees(*step, lists));
    EXPECT_FALSE(agrees_with_differences(*step, lists));
  }
  /// The record again, each selection changed.
  template <class Change>
  void rewrite(const Change& change) {
    SelectionRecord fresh;
    begin_record(fresh, p.rows, 2, 1, static_cast<Position>(p.n), 1);
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      const auto view = step->record[i];
      Selection selection;
      for (const skim::Span& span : view.spans) selection.add(span);
      for (std::size_t j = 0; j < view.picks.size(); ++j) {
        change(selection, Pick{view.picks[j], view.log_weights ? view.log_weights[j] : 0}, j + 1 == view.picks.size());
      }
      write_down(fresh, i, selection, 0);
    }
    step->record = std::move(fresh);
  }
};

TEST_F(Controls, NothingWrongIsAccepted) {
  rewrite([](Selection& s, Pick pick, bool) { s.add(pick.position, pick.log_weight); });
  run();
  EXPECT_TRUE(agrees(*step, lists));
  EXPECT_TRUE(agrees_with_differences(*step, lists));
}
TEST_F(Controls, WeightsLeftOut) {
  rewrite([](Selection& s, Pick pick, bool) { s.add(pick.position); });
  expect_rejected();
}
TEST_F(Controls, WithoutMinusTheProductOfDoutAndOut) {
  std::fill_n(step->out.data(), step->out.size(), 0.0);
  expect_rejected();
}
TEST_F(Controls, TheLastPickForgotten) {
  rewrite([](Selection& s, Pick pick, bool last) {
    if (!last) s.add(pick.position, pick.log_weight);
  });
  expect_rejected();
}
TEST_F(Controls, SinkLogitsForgottenInTheDenominator) {
  const BasicLayerQuery<double> right = query;
  query.sink_logits = nullptr;
  attend(stack(Sinks{2}, TopK{3}, PriorityTail{5}), query, step->kv(), step->state());
  query = right;
  expect_rejected();
}
TEST_F(Controls, SoftCapForgotten) {
  query.logit.soft_cap = 0;
  expect_rejected();
}
TEST_F(Controls, SlopesForgotten) {
  query.logit.alibi_slopes = nullptr;
  expect_rejected();
}
TEST_F(Controls, OtherScale) {
  query.logit.scale = 1.001 / std::sqrt(3.0);
  expect_rejected();
}
TEST_F(Controls, LseToBaseTwo) {
  for (std::size_t i = 0; i < step->lse.size(); ++i) step->lse.data()[i] /= std::log(2.0);
  expect_rejected();
}
TEST_F(Controls, QueryHeadsThatShareAKvHeadByTurns) {
  // Heads 1 and 2 exchanged: what a mapping by h % kv_heads reads.
  std::vector<double> q = p.q;
  for (std::size_t r = 0; r < p.rows; ++r)
    std::swap_ranges(&q[(r * 4 + 1) * 3], &q[(r * 4 + 2) * 3], &q[(r * 4 + 2) * 3]);
  query.rows.data = q.data();
  expect_rejected();
}
TEST_F(Controls, OneHeadOfAGroupNotAdded) {
  run();
  TrainingProblem<double> without({4, 2, 3, 2}, 9, 21, 1);
  for (std::size_t r = 0; r < p.rows; ++r) std::fill_n(&without.dout[(r * 4 + 3) * 2], 2, 0.0);
  auto gradients = step->gradients();
  gradients.dout.data = without.dout.data();
  const std::vector<double> dq(step->dq.data(), step->dq.data() + step->dq.size());
  backward(step->record, query, step->kv(), gradients);
  std::copy(dq.begin(), dq.end(), step->dq.data());  // as if it were missing in keys and values alone
  EXPECT_FALSE(agrees(*step, lists));
  EXPECT_FALSE(agrees_with_differences(*step, lists));
}
TEST_F(Controls, SelectionsOfTheRowBelow) {
  SelectionRecord shifted;
  begin_record(shifted, p.rows, 2, 1, static_cast<Position>(p.n), 1);
  for (std::size_t i = 2; i < shifted.size(); ++i) {
    Selection selection;
    for (const skim::Span& span : step->record[i - 2].spans) selection.add(span);
    for (std::size_t j = 0; j < step->record[i - 2].picks.size(); ++j) {
      selection.add(step->record[i - 2].picks[j], step->record[i - 2].log_weights[j]);
    }
    write_down(shifted, i, selection, 0);
  }
  step->record = std::move(shifted);
  expect_rejected();
}

}  // namespace
}  // namespace skim::test
