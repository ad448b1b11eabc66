// SPDX-License-Identifier: Apache-2.0
#include "weights.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

#include "compare/reference.h"
#include "compare/synthetic_problem.h"
#include "compare/table.h"
#include "data.h"
#include "hashing.h"

namespace lsh {
namespace {

using table::short_number;

/// A mean over seeds and its standard error.
class SeedMean {
 public:
  void add(double x) {
    ++count_;
    const double off = x - mean_;
    mean_ += off / static_cast<double>(count_);
    squares_ += off * (x - mean_);
  }
  double mean() const { return mean_; }
  double standard_error() const {
    return std::sqrt(squares_ / static_cast<double>(count_ - 1) / static_cast<double>(count_));
  }
  /// How many standard errors the mean is from `expected`.
  double z(double expected) const { return (mean_ - expected) / standard_error(); }

 private:
  std::size_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

/// One head and what its only query has of every key.
struct Subject {
  compare::KvHead head;
  compare::Reference exact;
  std::vector<float> centre;
  std::vector<double> cosine;

  explicit Subject(const DataSettings& data)
      : head(data.synthetic(skim_bench::parse_workload("mean=1"), 1, 1).heads[0]),
        exact(head, head.asks[0], 0),
        centre(mean_row(head.keys, head.d)),
        cosine(cosines(head.keys, centre, query())) {}

  std::span<const float> query() const { return row(head, head.asks[0], 0); }
  std::size_t size() const { return head.size(); }

  /// The tables of one seed.
  struct Tables {
    Codes keys, query;
  };
  Tables hashed(const Budget& budget, std::uint64_t seed) const {
    const skim::LshPlanes planes(head.d, budget.bits, budget.tables, seed);
    return {hash(head.keys, centre, planes), hash(query(), {}, planes)};
  }

  /// Of what is met twice: sums of weight and of weight times the first value channels, by inclusion probabilities u.
  struct Sums {
    double weight = 0;
    std::vector<double> values;
    std::vector<double> answer() const {
      std::vector<double> out = values;
      for (double& x : out) x /= weight;
      return out;
    }
  };
  Sums sums(const std::vector<std::uint16_t>& met, const std::vector<double>& u) const {
    Sums s{0, std::vector<double>(head.d)};
    for (std::size_t i = 0; i < size(); ++i) {
      if (met[i] < 2) continue;
      const double weight = exact.weights[i] / u[i];
      s.weight += weight;
      for (std::size_t c = 0; c < head.d; ++c) s.values[c] += weight * static_cast<double>(head.values[i * head.d + c]);
    }
    return s;
  }
  std::vector<double> inclusions(std::size_t bits, std::size_t tables) const {
    std::vector<double> u(size());
    for (std::size_t i = 0; i < size(); ++i) u[i] = inclusion(cosine[i], bits, tables);
    return u;
  }
};

constexpr std::size_t kBins = 6;
constexpr double kBinEdges[kBins - 1] = {-.15, -.05, .05, .15, .25};

std::size_t bin_of(double cosine) {
  return static_cast<std::size_t>(std::upper_bound(std::begin(kBinEdges), std::end(kBinEdges), cosine) - std::begin(kBinEdges));
}

std::string ratio_and_z(const SeedMean& mean, double expected) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.4f (%+.1f)", mean.mean() / expected, mean.z(expected));
  return text;
}

}  // namespace

void print_weights(const DataSettings& data, std::size_t seeds, const OnSeed& progress) {
  const Subject subject(data);
  std::vector<std::string> columns = {"", "keys"};
  for (const Budget& budget : kPublished) columns.push_back(budget.name());
  table::Table shown(columns);

  std::vector<std::vector<SeedMean>> bins(std::size(kPublished), std::vector<SeedMean>(kBins));
  std::vector<std::vector<double>> expected(std::size(kPublished), std::vector<double>(kBins));
  std::vector<SeedMean> denominators(std::size(kPublished)), numerators(std::size(kPublished));
  std::vector<std::size_t> sizes(kBins);
  for (const double cosine : subject.cosine) ++sizes[bin_of(cosine)];
  // The numerator along the exact answer: one number, the length of the answer in expectation.
  const double length = std::sqrt(std::inner_product(subject.exact.out.begin(), subject.exact.out.end(), subject.exact.out.begin(), 0.0));
  std::size_t done = 0;
  for (std::size_t b = 0; b < std::size(kPublished); ++b) {
    const Budget& budget = kPublished[b];
    const std::vector<double> u = subject.inclusions(budget.bits, budget.tables);
    for (std::size_t i = 0; i < u.size(); ++i) expected[b][bin_of(subject.cosine[i])] += u[i];
    for (std::size_t s = 0; s < seeds; ++s) {
      const Subject::Tables tables = subject.hashed(budget, data.seed + s);
      const auto met = meetings(tables.keys, tables.query.row(0), 0, budget.tables);
      std::vector<double> count(kBins);
      for (std::size_t i = 0; i < met.size(); ++i) count[bin_of(subject.cosine[i])] += met[i] >= 2 ? 1 : 0;
      for (std::size_t bin = 0; bin < kBins; ++bin) bins[b][bin].add(count[bin]);
      const Subject::Sums sums = subject.sums(met, u);
      denominators[b].add(sums.weight);
      numerators[b].add(std::inner_product(sums.values.begin(), sums.values.end(), subject.exact.out.begin(), 0.0) / length);
      if (progress) progress(++done);
    }
  }
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    const std::string below = bin + 1 < kBins ? short_number(kBinEdges[bin]) : "1", above = bin ? short_number(kBinEdges[bin - 1]) : "-1";
    std::vector<std::string> cells = {"cosine " + above + " to " + below, std::to_string(sizes[bin])};
    for (std::size_t b = 0; b < std::size(kPublished); ++b) cells.push_back(ratio_and_z(bins[b][bin], expected[b][bin]));
    if (sizes[bin] > 0) shown.add(cells);
  }
  const auto add = [&](const std::string& name, const std::vector<SeedMean>& means, double exact) {
    std::vector<std::string> cells = {name, std::to_string(subject.size())};
    for (const SeedMean& mean : means) cells.push_back(ratio_and_z(mean, exact));
    shown.add(cells);
  };
  add("denominator", denominators, 1);
  add("numerator", numerators, length);
  std::printf("Retrieved keys over expected ones, n = %zu, %zu seeds of the planes (in brackets: standard errors apart; of all these\n"
              "figures together one beyond 3.6 is expected in a hundred runs); and the sums of weights and of weighted values over\n"
              "the exact ones:\n\n",
              data.n, seeds);
  shown.print(stdout);
}

void print_error_bars(const DataSettings& data, std::size_t seeds, const OnSeed& progress) {
  constexpr std::size_t kGroups = 10;
  constexpr double kStudent = 2.262;  // 97.5 % of t with 9 degrees of freedom
  constexpr double kNormal = 1.960;
  const std::size_t n = data.n;
  const Subject subject(data);
  table::Table shown({"", "keys retrieved", "relative l2 error, rms", "jackknife: bar / error", "covers", "keys taken as independent: bar / error", "covers"});
  std::size_t done = 0;
  for (const Budget& budget : kPublished) {
    const std::size_t of_group = budget.tables / kGroups, used = of_group * kGroups;
    const std::vector<double> u = subject.inclusions(budget.bits, used), u_less = subject.inclusions(budget.bits, used - of_group);
    double squares = 0, jack = 0, naive = 0, keys = 0, jack_covers = 0, naive_covers = 0;
    for (std::size_t s = 0; s < seeds; ++s) {
      const Subject::Tables tables = subject.hashed(budget, data.seed + s);
      const auto met = meetings(tables.keys, tables.query.row(0), 0, used);
      const Subject::Sums sums = subject.sums(met, u);
      const std::vector<double> answer = sums.answer();
      std::vector<std::vector<double>> less;
      for (std::size_t g = 0; g < kGroups; ++g) {
        std::vector<std::uint16_t> rest = meetings(tables.keys, tables.query.row(0), g * of_group, (g + 1) * of_group);
        for (std::size_t i = 0; i < n; ++i) rest[i] = static_cast<std::uint16_t>(met[i] - rest[i]);
        less.push_back(subject.sums(rest, u_less).answer());
      }
      for (std::size_t i = 0; i < n; ++i) keys += met[i] >= 2 ? 1.0 : 0.0;
      for (std::size_t c = 0; c < subject.head.d; ++c) {
        double mean = 0, variance = 0, taken_as_independent = 0;
        for (const auto& out : less) mean += out[c] / kGroups;
        for (const auto& out : less) variance += (out[c] - mean) * (out[c] - mean) * (kGroups - 1) / kGroups;
        for (std::size_t i = 0; i < n; ++i) {
          if (met[i] < 2) continue;
          const double off = static_cast<double>(subject.head.values[i * subject.head.d + c]) - answer[c];
          const double part = subject.exact.weights[i] / u[i] * off / sums.weight;
          taken_as_independent += (1 - u[i]) * part * part;
        }
        const double error = answer[c] - subject.exact.out[c];
        squares += error * error;
        jack += variance;
        naive += taken_as_independent;
        jack_covers += std::abs(error) <= kStudent * std::sqrt(variance) ? 1 : 0;
        naive_covers += std::abs(error) <= kNormal * std::sqrt(taken_as_independent) ? 1 : 0;
      }
      if (progress) progress(++done);
    }
    const double all = static_cast<double>(seeds) * static_cast<double>(subject.head.d);
    double length = 0;
    for (const double x : subject.exact.out) length += x * x;
    shown.add({"(" + std::to_string(budget.bits) + "," + std::to_string(used) + ")", short_number(100 * keys / static_cast<double>(seeds) / static_cast<double>(n)) + " %",
               short_number(std::sqrt(squares / static_cast<double>(seeds) / length)), short_number(std::sqrt(jack / squares)),
               short_number(100 * jack_covers / all) + " %", short_number(std::sqrt(naive / squares)),
               short_number(100 * naive_covers / all) + " %"});
  }
  std::printf("Error bars of one answer, n = %zu, %zu seeds of the planes; how often the exact answer is within the 95 %% interval, over\n"
              "channels and seeds:\n\n",
              n, seeds);
  shown.print(stdout);
}

}  // namespace lsh
