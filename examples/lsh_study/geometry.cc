// SPDX-License-Identifier: Apache-2.0
#include "geometry.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "compare/reference.h"
#include "compare/table.h"
#include "hashing.h"

namespace lsh {
namespace {

using compare::Ask;
using compare::KvHead;
using table::short_number;

double length(std::span<const float> x) { return std::sqrt(dot(x, x)); }
double cosine(std::span<const float> a, std::span<const float> b) { return dot(a, b) / (length(a) * length(b)); }

std::string percent(double share) { return short_number(100 * share) + " %"; }

/// Mean over what was added.
struct Mean {
  double sum = 0;
  std::size_t count = 0;

  void add(double x) {
    sum += x;
    ++count;
  }
  double value() const { return sum / static_cast<double>(count); }
};

/// What a query retrieves.
struct Retrieved {
  Mean keys, mass, error;

  /// met: in how many tables it meets each key; cosine: between the two as they were hashed.
  void add(const KvHead& head, const compare::Reference& exact, const std::vector<std::uint16_t>& met,
           const std::vector<double>& cosine, const Budget& budget) {
    double count = 0, of_mass = 0, weights = 0;
    std::vector<double> out(head.d);
    for (std::size_t i = 0; i < met.size(); ++i) {
      if (met[i] < 2) continue;
      ++count;
      of_mass += exact.weights[i];
      const double weight = exact.weights[i] / inclusion(cosine[i], budget.bits, budget.tables);
      weights += weight;
      for (std::size_t c = 0; c < head.d; ++c) out[c] += weight * static_cast<double>(head.values[i * head.d + c]);
    }
    std::vector<float> answer(head.d);
    for (std::size_t c = 0; c < head.d && weights > 0; ++c) answer[c] = static_cast<float>(out[c] / weights);
    keys.add(count / static_cast<double>(met.size()));
    mass.add(of_mass);
    error.add(exact.error(answer));
  }
};

/// Calls visit(head, ask) for each query position.
template <class Visit>
void for_each_ask(const compare::Problem& problem, const Visit& visit) {
  for (const KvHead& head : problem.heads) {
    for (const Ask& ask : head.asks) visit(head, ask);
  }
}

void print_places(std::span<const Keys> all) {
  table::Table places({"keys", "length of the mean key / rms of the rest", "cosine of the means of either half",
                       "cosine of the first key and the mean of the others", "cosine of queries and the mean"});
  for (const Keys& keys : all) {
    Mean ratio, halves, sink, queries;
    for_each_ask(keys.problem, [&](const KvHead& head, const Ask& ask) {
      const std::span<const float> rows = seen(head, ask);
      const std::size_t n = rows.size() / head.d;
      const std::vector<float> mean = mean_row(rows, head.d, 1);
      double squares = 0;
      for (std::size_t i = 1; i < n; ++i) {
        for (std::size_t c = 0; c < head.d; ++c) {
          const double x = static_cast<double>(rows[i * head.d + c]) - static_cast<double>(mean[c]);
          squares += x * x;
        }
      }
      ratio.add(length(mean) / std::sqrt(squares / static_cast<double>(n - 1)));
      halves.add(cosine(mean_row(rows.first(n / 2 * head.d), head.d, 1), mean_row(rows, head.d, n / 2)));
      sink.add(cosine(rows.first(head.d), mean));
      for (std::size_t h = 0; h < head.group(); ++h) queries.add(cosine(row(head, ask, h), mean));
    });
    places.add({keys.name, short_number(ratio.value()), short_number(halves.value()), short_number(sink.value()),
                short_number(queries.value())});
  }
  places.print(stdout);
}

}  // namespace

void print_geometry(std::span<const Keys> all, std::uint64_t seed) {
  std::printf("Where keys lie (means over queries and heads):\n\n");
  print_places(all);

  const Budget budget{10, 150, 0};
  std::printf("\nWhat %s retrieves of keys as they are, and less their mean: share of keys, softmax mass on these, relative\n"
              "l2 error of the self-normalised answer (means over queries; an answer of no keys is 0, its error 1):\n\n",
              budget.name().c_str());
  table::Table retrieved({"keys", "as they are: keys", "mass", "error", "centred: keys", "mass", "error"});
  for (const Keys& keys : all) {
    Retrieved plain, centred;
    for_each_ask(keys.problem, [&](const KvHead& head, const Ask& ask) {
      const skim::LshPlanes planes(head.d, budget.bits, budget.tables, seed);
      const std::span<const float> rows = seen(head, ask);
      const std::vector<float> mean = mean_row(rows, head.d);
      const Codes as_they_are = hash(rows, {}, planes), less_mean = hash(rows, mean, planes);
      for (std::size_t h = 0; h < head.group(); ++h) {
        const std::span<const float> query = row(head, ask, h);
        const Codes code = hash(query, {}, planes);
        const compare::Reference exact(head, ask, h);
        plain.add(head, exact, meetings(as_they_are, code.row(0), 0, budget.tables), cosines(rows, {}, query), budget);
        centred.add(head, exact, meetings(less_mean, code.row(0), 0, budget.tables), cosines(rows, mean, query), budget);
      }
    });
    retrieved.add({keys.name, percent(plain.keys.value()), percent(plain.mass.value()), short_number(plain.error.value()),
                   percent(centred.keys.value()), percent(centred.mass.value()), short_number(centred.error.value())});
  }
  retrieved.print(stdout);
}

void print_budgets(std::span<const Keys> all, std::uint64_t seed) {
  std::vector<std::string> head_row = {"keys"};
  for (const Budget& budget : kPublished) head_row.push_back(budget.name());
  table::Table densities(head_row);
  const auto add = [&](const std::string& name, const auto& share_of) {
    std::vector<std::string> cells = {name};
    for (const Budget& budget : kPublished) cells.push_back(percent(share_of(budget)));
    densities.add(cells);
  };
  add("published", [](const Budget& budget) { return budget.published; });
  add("keys at a right angle", [](const Budget& budget) { return inclusion(0, budget.bits, budget.tables); });
  for (const Keys& keys : all) {
    std::vector<Mean> by_head(std::size(kPublished)), by_group(std::size(kPublished));
    for_each_ask(keys.problem, [&](const KvHead& head, const Ask& ask) {
      const std::span<const float> rows = seen(head, ask);
      const std::vector<float> mean = mean_row(rows, head.d);
      const std::vector<float> pool = pooled(head, ask);
      for (std::size_t b = 0; b < std::size(kPublished); ++b) {
        const skim::LshPlanes planes(head.d, kPublished[b].bits, kPublished[b].tables, seed);
        const Codes codes = hash(rows, mean, planes);
        const auto share = [&](std::span<const float> query) {
          const auto met = meetings(codes, hash(query, {}, planes).row(0), 0, planes.tables());
          return static_cast<double>(std::count_if(met.begin(), met.end(), [](std::uint16_t m) { return m >= 2; })) /
                 static_cast<double>(met.size());
        };
        for (std::size_t h = 0; h < head.group(); ++h) by_head[b].add(share(row(head, ask, h)));
        by_group[b].add(share(pool));
      }
    });
    add(keys.name + ", each head", [&](const Budget& b) { return by_head[static_cast<std::size_t>(&b - kPublished)].value(); });
    add(keys.name + ", a group", [&](const Budget& b) { return by_group[static_cast<std::size_t>(&b - kPublished)].value(); });
  }
  std::printf("Share of the keys that are retrieved, keys centred:\n\n");
  densities.print(stdout);
}

}  // namespace lsh
