// SPDX-License-Identifier: Apache-2.0
// Are the gradients of a sampler those of dense attention in expectation? By every outcome of it, its selection and its
// weights held fixed in each: those of the numerator sum w e^s v and of the denominator sum w e^s exactly; that of their
// ratio up to a bias that goes with 1 / budget.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "estimator/inclusion.h"
#include "skim/skim.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

/// One row of two query heads, the newest, against n positions.
struct Row {
  TrainingProblem<double> p;
  TrainingStep<double> step{p};
  std::size_t n;
  std::vector<double> log_proposal;  // [n], the library's: ln of the mean over the heads of their probabilities

  explicit Row(std::size_t positions, std::uint64_t seed = 1) : p({2, 1, 3, 2}, 1, positions, seed), n(positions) {
    step.forward(Dense{});
    Workspace ws;
    BasicQuery<double> q;
    q.rows = p.query().rows.group(0, 0, 2);
    q = q.resolved(static_cast<Position>(n));
    const auto pooled = HWY_NAMESPACE::pool_log_share(logits(q, step.views[0], ws), 2, Selection{}, q.visible, ws);
    log_proposal.assign(pooled.scores, pooled.scores + pooled.count);
  }

  /// Gradients under an outcome, [dq, dk, dv] in a row. Of sum_h <dout_h, out_h> when `normalised`, else of the
  /// numerators in its place: an output is its numerator where lse is 0 and, since nothing is divided, <dout, out> too.
  std::vector<double> gradients(const Outcome& outcome, bool normalised) {
    Selection selection;
    for (const Chosen& c : outcome) selection.add(static_cast<Position>(c.rank), c.log_weight);
    begin_record(step.record, 1, 1, 1, static_cast<Position>(n), 1);
    write_down(step.record, 0, selection, 0);
    if (normalised) {
      for (std::size_t h = 0; h < 2; ++h) {
        BasicQuery<double> q;
        q.rows = p.query().rows.group(0, h, 1);
        Workspace ws;
        attend(selection, q, step.views[0],
               BasicStateView<double>{{step.out.data() + 2 * h, 1, 2}, step.lse.data() + h}, ws);
      }
    } else {
      std::fill_n(step.out.data(), step.out.size(), 0.0);
      std::fill_n(step.lse.data(), 2, 0.0);
    }
    step.backward_from_record();
    std::vector<double> all(step.dq.data(), step.dq.data() + step.dq.size());
    all.insert(all.end(), step.dk.data(), step.dk.data() + step.dk.size());
    all.insert(all.end(), step.dv.data(), step.dv.data() + step.dv.size());
    return all;
  }
  std::vector<double> dense(bool normalised) {
    Outcome everything;
    for (std::size_t i = 0; i < n; ++i) everything.push_back({i, 0.0});
    return gradients(everything, normalised);
  }
};

/// Calls visit(probability, outcome) for all outcomes of a sampler.
using Outcomes = std::function<void(const Row&, const std::function<void(double, const Outcome&)>&)>;

Outcome outcome_of(std::size_t count, const std::vector<std::size_t>& ranks, const std::vector<double>& log_weights) {
  Outcome outcome;
  for (std::size_t j = 0; j < count; ++j) outcome.push_back({ranks[j], log_weights[j]});
  return outcome;
}
HWY_NAMESPACE::Tail<double> tail_of(const std::vector<double>& log_proposal, std::size_t budget) {
  return {log_proposal.data(), log_proposal.size(), budget};
}

Outcomes multinomial(std::size_t budget, double flatness = 1) {
  return [=](const Row& row, const auto& visit) {
    const auto sample = [](const std::vector<double>& x, std::size_t draws, std::vector<double> u) {
      Workspace ws;
      std::vector<std::size_t> ranks(draws);
      std::vector<double> w(draws);
      return outcome_of(HWY_NAMESPACE::multinomial_sample(tail_of(x, draws), u.data(), ranks.data(), w.data(), ws),
                        ranks, w);
    };
    std::vector<double> proposal = row.log_proposal;
    for (double& x : proposal) x *= flatness;
    for_each_multinomial(proposal, budget, sample, visit);
  };
}
Outcomes systematic(std::size_t budget) {
  return [=](const Row& row, const auto& visit) {
    const auto sample = [](const std::vector<double>& x, std::size_t b, double u) {
      Workspace ws;
      std::vector<std::size_t> ranks(x.size());
      std::vector<double> w(x.size());
      return outcome_of(HWY_NAMESPACE::systematic_sample(tail_of(x, b), u, ranks.data(), w.data(), ws), ranks, w);
    };
    for_each_systematic(row.log_proposal, budget, sample, visit);
  };
}
Outcomes poisson(std::size_t budget) {
  return [=](const Row& row, const auto& visit) {
    const auto sample = [](const std::vector<double>& x, std::size_t b, std::vector<double> u) {
      Workspace ws;
      std::vector<std::size_t> ranks(x.size());
      std::vector<double> w(x.size());
      return outcome_of(HWY_NAMESPACE::poisson_sample(tail_of(x, b), u.data(), ranks.data(), w.data(), ws), ranks, w);
    };
    for_each_poisson(row.log_proposal, budget, sample, visit);
  };
}
/// Every way to draw, each as likely.
Outcomes uniform(std::size_t budget) {
  return [=](const Row& row, const auto& visit) {
    const std::size_t n = row.n;
    double ways = 1;
    for (std::size_t j = 0; j < budget; ++j) ways *= static_cast<double>(n - budget + 1 + j);
    std::vector<std::size_t> draws(budget, 0);
    std::map<std::uint64_t, double> times;  // of each subset
    for (std::size_t way = 0; way < static_cast<std::size_t>(ways); ++way) {
      for (std::size_t j = 0, rest = way; j < budget; ++j) {
        draws[j] = rest % (n - budget + 1 + j);
        rest /= n - budget + 1 + j;
      }
      std::uint64_t marked = 0;
      HWY_NAMESPACE::choose_subset(
          n, budget, [&](std::size_t j, std::size_t) { return draws[j]; }, &marked);
      ++times[marked];
    }
    const double log_weight = std::log(static_cast<double>(n) / static_cast<double>(budget));
    for (const auto& [marked, count] : times) {
      Outcome outcome;
      for (std::size_t i = 0; i < n; ++i) {
        if ((marked >> i & 1) != 0) outcome.push_back({i, log_weight});
      }
      visit(count / ways, outcome);
    }
  };
}
/// With the numbers of all others fixed, a rank is chosen below one breakpoint of its own: that is its probability.
/// What a position adds to a numerator does not depend on the others, so ranks may be taken one at a time.
Outcomes priority(std::size_t budget) {
  return [=](const Row& row, const auto& visit) {
    std::mt19937_64 generator(5);
    std::uniform_real_distribution<double> uniform_number(0x1p-20, 1);
    std::vector<double> u(row.n);
    for (double& x : u) x = uniform_number(generator);
    for (std::size_t i = 0; i < row.n; ++i) {
      double log_weight = 0;
      const auto chosen = [&](double x) {
        std::vector<double> all = u;
        all[i] = x;
        Workspace ws;
        const auto sample = HWY_NAMESPACE::priority_sample(row.log_proposal.data(), all.data(), row.n, budget, ws);
        const bool in = std::find(sample.ranks, sample.ranks + sample.count, i) != sample.ranks + sample.count;
        if (in) log_weight = sample.log_weight(row.log_proposal[i]);
        return in;
      };
      double low = 0x1p-60, high = 1;
      if (chosen(high)) {
        low = high;
      } else {
        for (double middle = 0.5; low < middle && middle < high; middle = low + (high - low) / 2) {
          (chosen(middle) ? low : high) = middle;
        }
      }
      EXPECT_TRUE(chosen(low / 2));
      visit(low, Outcome{{i, log_weight}});
    }
  };
}

/// The expectation of the gradients under a sampler. change(outcome): a mistake that is made on purpose.
std::vector<double> expected(
    Row& row, const Outcomes& outcomes, bool normalised,
    const std::function<void(Outcome&)>& change = [](Outcome&) {}) {
  std::vector<double> sum(row.step.dq.size() + row.step.dk.size() + row.step.dv.size(), 0.0);
  outcomes(row, [&](double probability, const Outcome& outcome) {
    Outcome changed = outcome;
    change(changed);
    const std::vector<double> gradients = row.gradients(changed, normalised);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += probability * gradients[i];
  });
  return sum;
}

/// The largest difference, relative to the largest number.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b[i]));
    size = std::max(size, std::abs(b[i]));
  }
  return most / size;
}

/// Values and dout of 1: then numerators are denominators.
void become_denominator(Row& row) {
  std::fill(row.p.v.begin(), row.p.v.end(), 1.0);
  std::fill(row.p.dout.begin(), row.p.dout.end(), 1.0);
}

struct Sampler {
  const char* name;
  std::function<Outcomes(std::size_t)> with_budget;
  std::size_t most;  // budget: n^budget outcomes of the multinomial one
};
const std::vector<Sampler>& samplers() {
  static const std::vector<Sampler> all = {
      {"uniform", uniform, 9},
      {"multinomial", [](std::size_t b) { return multinomial(b); }, 3},
      {"multinomial, another proposal", [](std::size_t b) { return multinomial(b, 0.4); }, 3},
      {"systematic", systematic, 9},
      {"poisson", poisson, 9},
      {"priority", priority, 9}};
  return all;
}

TEST(SamplersBackward, NumeratorsAndDenominatorsAreUnbiased) {
  for (const std::size_t n : {2u, 5u, 10u}) {
    for (const bool denominator : {false, true}) {
      Row row(n, n);
      if (denominator) become_denominator(row);
      const std::vector<double> dense = row.dense(false);
      for (const Sampler& sampler : samplers()) {
        for (std::size_t budget = 1; budget < n && budget <= sampler.most; budget += 1 + n / 6) {
          SCOPED_TRACE(testing::Message() << sampler.name << ", " << budget << " of " << n);
          EXPECT_LE(distance(expected(row, sampler.with_budget(budget), false), dense), 1e-12);
        }
      }
    }
  }
}

// A mistake that the test above would not forgive.
TEST(SamplersBackward, WithoutWeightsTheyAreBiased) {
  Row row(6);
  const std::vector<double> dense = row.dense(false);
  for (const Sampler& sampler : samplers()) {
    const auto without = expected(row, sampler.with_budget(2), false, [](Outcome& outcome) {
      for (Chosen& c : outcome) c.log_weight = 0;
    });
    EXPECT_GT(distance(without, dense), 0.1) << sampler.name;
    const auto last_lost = expected(row, sampler.with_budget(2), false, [](Outcome& outcome) {
      if (!outcome.empty() && outcome.back().rank == 5) outcome.pop_back();
    });
    EXPECT_GT(distance(last_lost, dense), 1e-3) << sampler.name;
  }
}

// The gradient of the ratio: bias times budget tends to a constant, so each doubling halves the bias.
TEST(SamplersBackward, TheRatioIsBiasedByOneOverTheBudget) {
  Row row(3, 4);
  const std::vector<double> dense = row.dense(true);
  std::vector<double> bias;
  for (const std::size_t budget : {1u, 2u, 4u, 8u}) {
    bias.push_back(distance(expected(row, multinomial(budget, 0.4), true), dense));
  }
  EXPECT_GT(bias[0], 0.05);
  for (std::size_t i = 1; i < bias.size(); ++i) EXPECT_LT(bias[i], 0.8 * bias[i - 1]) << "of doubling " << i;
  EXPECT_LT(bias[3], 0.58 * bias[2]);
  EXPECT_GT(bias[3], 0.40 * bias[2]);
}

TEST(SamplersBackward, TheRatioIsLessBiasedTheMoreIsChosen) {
  Row row(8, 2);
  const std::vector<double> dense = row.dense(true);
  for (const Sampler& sampler : samplers()) {
    if (sampler.most < 9 || std::string(sampler.name) == "priority") continue;  // all outcomes of budgets up to 7
    const double few = distance(expected(row, sampler.with_budget(2), true), dense);
    const double many = distance(expected(row, sampler.with_budget(7), true), dense);
    EXPECT_GT(few, 1e-3) << sampler.name;
    EXPECT_LT(many, few / 2) << sampler.name;
  }
}

}  // namespace
}  // namespace skim::test
