// SPDX-License-Identifier: Apache-2.0
#include "crossing.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include <skim/skim.h>

#include "bench/rounds.h"
#include "compare/figure.h"
#include "compare/reference.h"
#include "compare/table.h"

namespace lsh {
namespace {

using table::short_number;

constexpr double kShares[] = {.004, .006, .01, .02, .04, .08, .16, .32, .5, .7, .85, .95, .98};
constexpr const char* kTopK = "topk(B)";
constexpr const char* kOracle = "multinomial(B)";  // oracle sampling
constexpr const char* kLsh = "sinks(4)+window(64)+lsh";  // as published

/// skim's LSH sampling with one pair of bits and tables.
Curves::Point measure_lsh(const compare::Problem& problem, const std::vector<std::vector<compare::Reference>>& exact,
                          const Budget& budget, const compare::Settings& how) {
  std::vector<double> squares(problem.query_heads());
  std::vector<std::size_t> answers(problem.query_heads());
  double read = 0;
  std::size_t sets = 0;
  skim::Workspace ws;
  for (std::size_t s = 0; s < how.seeds; ++s) {
    const auto planes = std::make_shared<const skim::LshPlanes>(problem.heads[0].d, budget.bits, budget.tables, how.seed + s);
    for (std::size_t k = 0; k < problem.heads.size(); ++k) {
      const compare::KvHead& head = problem.heads[k];
      skim::LshTables tables(planes);
      skim::append(tables, head.kv());
      const compare::Ask& ask = head.asks[0];
      const skim::Query query = head.query(ask, how.seed, how.grouping);
      skim::State state(query.heads(), head.d);
      ws.reads = {};
      skim::attend(skim::stack(skim::Sinks{4}, skim::Window{64}, skim::LshTail{budget.bits, budget.tables}), query, skim::with_index(head.kv(), tables), state.view(), ws);
      read += static_cast<double>(ws.reads.values) / static_cast<double>(head.size());
      ++sets;
      for (std::size_t h = 0; h < query.heads(); ++h) {
        const double error = exact[k][h].error({state.out(h), head.d});
        squares[problem.query_head(head, h)] += error * error;
        ++answers[problem.query_head(head, h)];
      }
    }
  }
  for (std::size_t h = 0; h < squares.size(); ++h) squares[h] = std::sqrt(squares[h] / static_cast<double>(answers[h]));
  const double share = read / static_cast<double>(sets);
  return {share, share, skim_bench::median(squares), budget.name()};
}

const Curves::Curve& curve_of(const Curves& curves, const std::string& method) {
  return *std::find_if(curves.curves.begin(), curves.curves.end(), [&](const Curves::Curve& c) { return c.method == method; });
}

/// What two methods are compared at equal amounts of.
using Amount = double Curves::Point::*;

/// The error at an amount, between points on logarithmic axes; nothing outside of them.
std::optional<double> error_at(const Curves::Curve& curve, double x, Amount amount) {
  for (std::size_t i = 1; i < curve.points.size(); ++i) {
    const Curves::Point &a = curve.points[i - 1], &b = curve.points[i];
    if (x < a.*amount || x > b.*amount) continue;
    const double part = std::log(x / (a.*amount)) / std::log(b.*amount / (a.*amount));
    return a.error * std::pow(b.error / a.error, part);
  }
  return {};
}

/// From where on top-k errs less than `other`: the first such point of a fine grid after which it stays so.
std::string crossing(const Curves& curves, const std::string& other, Amount amount) {
  std::optional<double> from;
  bool compared = false, always = true;
  for (double x = .003; x < 1; x *= 1.01) {
    const auto a = error_at(curve_of(curves, kTopK), x, amount), b = error_at(curve_of(curves, other), x, amount);
    if (!a || !b) continue;
    compared = true;
    if (*a >= *b) {
      from.reset();
      always = false;
    } else if (!from) {
      from = x;
    }
  }
  if (!compared) return "-";
  if (always) return "everywhere";
  return from ? short_number(100 * *from, 2) + " %" : "nowhere";
}

}  // namespace

Curves measure_curves(const std::string& title, const compare::Problem& problem, const compare::Settings& how) {
  Curves curves{title, {}};
  std::vector<compare::Method> methods;
  for (const char* spec : {kTopK, kOracle, "priority(B)", "priority(B,by=sketch4)", "uniform(B)"}) methods.emplace_back(spec);
  const std::vector<compare::Run> runs = compare::plan(methods, {std::begin(kShares), std::end(kShares)});
  const auto accuracies = compare::measure_accuracy(problem, runs, how, {});
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const std::string& method = runs[r].method->spec();
    if (curves.curves.empty() || curves.curves.back().method != method) curves.curves.push_back({method, {}});
    if (accuracies[r]) curves.curves.back().points.push_back(
          {runs[r].share.value_or(0), accuracies[r]->values_read, accuracies[r]->median_error(), {}});
  }
  std::vector<std::vector<compare::Reference>> exact;
  for (const compare::KvHead& head : problem.heads) {
    exact.emplace_back();
    for (std::size_t h = 0; h < head.group(); ++h) exact.back().emplace_back(head, head.asks[0], h);
  }
  Curves::Curve of_lsh{kLsh, {}};
  for (const Budget& budget : kLshCurve) of_lsh.points.push_back(measure_lsh(problem, exact, budget, how));
  curves.curves.push_back(std::move(of_lsh));
  return curves;
}

void print_crossings(std::span<const Curves> all) {
  std::printf("Where top-k errs less than what samples: from this share of the positions on, of positions attended to; and of the\n"
              "budget, as the source has it, where a position that is drawn twice counts twice (\"nowhere\": not below 98 %%, or below\n"
              "what the method can read)\n\n");
  table::Table crossings({"keys and values", "than oracle sampling, by budget", "than oracle sampling", "than priority sampling", "than LSH"});
  for (const Curves& curves : all) {
    constexpr Amount kRead = &Curves::Point::values_read;
    crossings.add({curves.title, crossing(curves, kOracle, &Curves::Point::budget), crossing(curves, kOracle, kRead),
                   crossing(curves, "priority(B)", kRead), crossing(curves, kLsh, kRead)});
  }
  crossings.print(stdout);

  std::printf("\nErrors where as many values are read as LSH reads:\n\n");
  std::vector<std::string> columns = {"keys and values", "bits, tables", "read", "`" + std::string(kLsh) + "`"};
  for (const Curves::Curve& curve : all.front().curves) {
    if (curve.method != kLsh) columns.push_back("`" + curve.method + "`");
  }
  table::Table errors(columns);
  for (const Curves& curves : all) {
    for (const Curves::Point& point : curve_of(curves, kLsh).points) {
      std::vector<std::string> row = {curves.title, point.setting, short_number(100 * point.values_read, 2) + " %", short_number(point.error)};
      for (const Curves::Curve& curve : curves.curves) {
        if (curve.method == kLsh) continue;
        const auto error = error_at(curve, point.values_read, &Curves::Point::values_read);
        row.push_back(error ? short_number(*error) : "-");
      }
      errors.add(row);
    }
  }
  errors.print(stdout);
}

void plot_crossings(const std::filesystem::path& path, std::span<const Curves> all, const std::string& title) {
  plot::Figure figure{.title = title, .columns = 2, .panel_width = 560, .panel_height = 380, .panels = {}};
  for (const Curves& curves : all) {
    plot::Panel panel{.title = curves.title,
                      .x_title = "positions attended to, share of n",
                      .y_title = "relative l2 error, median",
                      .settings = "set logscale xy\nset yrange [0.0005:3]\nset xrange [0.003:1.05]\n"
                                  "set xtics ('0.5 %%' 0.005, '2 %%' 0.02, '10 %%' 0.1, '50 %%' 0.5)",
                      .lines = {}};
    for (const Curves::Curve& curve : curves.curves) {
      plot::Line line{curve.method, {}};
      for (const Curves::Point& point : curve.points) line.points.push_back({point.values_read, point.error});
      panel.lines.push_back(std::move(line));
    }
    figure.panels.push_back(std::move(panel));
  }
  plot::draw(path, figure);
}

}  // namespace lsh
