// SPDX-License-Identifier: Apache-2.0
// The law of one scale: whatever ranks or proposes, nothing falls behind because its score is of another kind.
//
//   Error      top-k `by` an index has at most 1.5 times the relative l2 error of Quest on the same boxes or of exact
//              scores at the same budget, whichever is larger, in the mean over the queries of a data set.
//   Inclusion  a run of 8 positions that holds 1 % of the softmax mass or more is short if its summed inclusion
//              probability is below a tenth of what proportional sampling by exact scores gives it. No run is that holds a
//              position which the index does not cover. Of the others as many are as the data set allows: none by 8 bits;
//              by 1 bit, and where 16 positions share one score, the index itself may know no better.
#ifndef SKIM_TESTS_SUPPORT_ONE_SCALE_H_
#define SKIM_TESTS_SUPPORT_ONE_SCALE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"

namespace skim::test {

inline constexpr Source kProposals[] = {Source::kSketch1, Source::kSketch4, Source::kSketch8, Source::kBoxes, Source::kMeans};

/// The first n positions of a head with an index of every kind, in pages of 16 and segments of 64.
struct ScaledHead {
  ContiguousKv<float> plain;
  Sketch1 one{64};
  Sketch4 four{64};
  Sketch8 eight{64};
  PageBoxes boxes{16};
  PageMeans means{16};

  ScaledHead(const ContiguousKv<float>& head, std::size_t n) : plain(head) {
    plain.keys.rows = plain.values.rows = n;
    append(one, plain);
    append(four, plain);
    append(eight, plain);
    append(boxes, plain);
    append(means, plain);
  }
  auto kv() const { return with_index(plain, one, four, eight, boxes, means); }
};

/// What proportional sampling includes each visible position with: min(1, c e^s), and what is selected ahead of it 1.
template <class Kv>
std::vector<double> inclusion_of(const Budget& budget, Source by, const Query& query, const Kv& kv) {
  const Query q = query.resolved(kv.size());
  Workspace ws;
  Selection selection;
  const auto tail = HWY_NAMESPACE::tail_of<float>(budget, by, q, kv, selection, ws);
  std::vector<double> p(static_cast<std::size_t>(q.visible.size()), 1.0);
  if (tail.n == 0) return p;
  const std::vector<float> proposal(tail.log_proposal, tail.log_proposal + tail.n);
  const auto log_c = static_cast<double>(HWY_NAMESPACE::log_inclusion(tail, ws));
  std::size_t rank = 0;
  HWY_NAMESPACE::for_each_gap(selection, q.visible, [&](Span gap) {
    for (Position i = gap.first; i < gap.last; ++i) {
      const double log_p = static_cast<double>(proposal[rank++]) + log_c;
      p[static_cast<std::size_t>(i - q.visible.first)] = std::exp(std::min(0.0, log_p));
    }
  });
  return p;
}

/// The mean over the heads of the probability that each gives a visible position.
template <class Kv>
std::vector<double> mass_of(const Query& query, const Kv& kv) {
  const Query q = query.resolved(kv.size());
  Workspace ws;
  const auto s = logits(q, kv, ws);
  std::vector<double> mass(static_cast<std::size_t>(q.visible.size()), 0.0);
  for (std::size_t h = 0; h < q.heads(); ++h) {
    const float* row = s.of_head(h);
    const double most = static_cast<double>(*std::max_element(row, row + mass.size()));
    double sum = 0;
    for (std::size_t i = 0; i < mass.size(); ++i) sum += std::exp(static_cast<double>(row[i]) - most);
    for (std::size_t i = 0; i < mass.size(); ++i) {
      mass[i] += std::exp(static_cast<double>(row[i]) - most) / sum / static_cast<double>(q.heads());
    }
  }
  return mass;
}

/// What the queries of a data set say of one source.
struct SourceRecord {
  double error = 0;
  double least = 1;              // of what a run has of what exact scores give it
  double least_uncovered = 1;    // the same over runs with a position that pages do not cover
  std::size_t runs = 0, few = 0; // runs that hold a hundredth of the mass; those that are short

  double share() const { return runs == 0 ? 0 : static_cast<double>(few) / static_cast<double>(runs); }
};

/// The law over a data set, at one budget.
class OneScale {
 public:
  explicit OneScale(Budget budget) : budget_(budget) {}

  void ask(const ScaledHead& head, const Query& query) {
    ++queries_;
    const auto kv = head.kv();
    const State dense = attend(Dense{}, query, kv);
    const auto error = [&](const auto& estimator) {
      const State state = attend(estimator, query, kv);
      double off = 0, all = 0;
      for (std::size_t i = 0; i < query.heads() * kv.value_dim(); ++i) {
        const double due = static_cast<double>(dense.out()[i]);
        off += std::pow(static_cast<double>(state.out()[i]) - due, 2);
        all += due * due;
      }
      return std::sqrt(off / all);
    };
    of_quest_ += error(Quest{budget_});
    of_exact_ += error(TopK{budget_});
    for (const Source by : kProposals) of(by).error += error(TopK{budget_, by});
    if (query.grouping == Grouping::kPerGroup) return ask_samplers(query, kv);
    for (std::size_t h = 0; h < query.heads(); ++h) ask_samplers(query.head(h), kv);
  }

  /// most: the largest shares of short runs, in the order of kProposals.
  void expect(const std::string& name, const std::vector<double>& most) {
    const double allowed = 1.5 * std::max(of_quest_, of_exact_), queries = static_cast<double>(queries_);
    for (std::size_t i = 0; i < std::size(kProposals); ++i) {
      const SourceRecord& r = of(kProposals[i]);
      const std::string by = name + ", by " + std::string(name_of(kProposals[i]));
      EXPECT_LE(r.error, allowed) << by << ": mean error " << r.error / queries << ", allowed " << allowed / queries;
      EXPECT_GE(r.least_uncovered, 0.1) << by << ": a run that pages do not cover";
      EXPECT_LE(r.share(), most[i]) << by << ": " << r.few << " of " << r.runs << " runs are short, the worst has "
                                    << r.least << " of its due";
      if (r.few != 0) {
        std::printf("%s: %.2f %% of %zu runs are short, the worst has %.1e of its due\n", by.c_str(), 100 * r.share(),
                    r.runs, r.least);
      }
    }
  }

 private:
  static constexpr std::size_t kRun = 8, kPage = 16;

  SourceRecord& of(Source by) { return records_[static_cast<std::size_t>(by)]; }

  template <class Kv>
  void ask_samplers(const Query& query, const Kv& kv) {
    const std::vector<double> mass = mass_of(query, kv), due = inclusion_of(budget_, Source::kKeys, query, kv);
    const std::size_t covered = mass.size() / kPage * kPage;
    for (const Source by : kProposals) {
      const std::vector<double> given = inclusion_of(budget_, by, query, kv);
      SourceRecord& r = of(by);
      for (std::size_t i = 0; i + kRun <= mass.size(); ++i) {
        const auto sum = [i](const std::vector<double>& x) {
          double total = 0;
          for (std::size_t t = i; t < i + kRun; ++t) total += x[t];
          return total;
        };
        if (sum(mass) < 0.01) continue;
        const double ratio = sum(given) / sum(due);
        ++r.runs;
        r.few += ratio < 0.1 ? 1u : 0u;
        r.least = std::min(r.least, ratio);
        if (has_pages(by) && i + kRun > covered) r.least_uncovered = std::min(r.least_uncovered, ratio);
      }
    }
  }

  static constexpr bool has_pages(Source by) { return by == Source::kBoxes || by == Source::kMeans; }

  Budget budget_;
  std::size_t queries_ = 0;
  double of_quest_ = 0, of_exact_ = 0;
  SourceRecord records_[static_cast<std::size_t>(Source::kSources)];
};

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_ONE_SCALE_H_
