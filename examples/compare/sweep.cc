// SPDX-License-Identifier: Apache-2.0
#include "sweep.h"

#include <algorithm>
#include <map>

#include "generate/progress.h"
#include "figure.h"
#include "table.h"
#include "verdict.h"

namespace compare {
namespace {

using table::plain_number;
using table::short_number;

std::vector<std::string> head_of(std::vector<std::string> first, std::span<const double> shares) {
  for (const double share : shares) first.push_back(plain_number(100 * share) + " %");
  return first;
}

void print_speeds(std::span<const SweepPoint> points, std::span<const double> shares) {
  table::Table speeds(head_of({"spread", "method"}, shares));
  std::vector<Speed> all;
  for (const SweepPoint& point : points) {
    const Method* last = nullptr;
    std::vector<std::string> row;
    for (const Result& result : point.results) {
      if (!result.speed) continue;
      all.push_back(*result.speed);
      if (result.run.method != last) {
        if (last != nullptr) speeds.add(row);
        last = result.run.method;
        row = {plain_number(point.spread), "`" + last->spec() + "`"};
        row.resize(2 + shares.size(), "-");
      }
      const auto at = std::find(shares.begin(), shares.end(), result.run.share);
      if (at != shares.end())
        row[2 + static_cast<std::size_t>(at - shares.begin())] = short_number(result.speed->vs_dense);
    }
    if (last != nullptr) speeds.add(row);
  }
  if (all.empty()) return;
  std::printf(
      "\nSpeed: dense time over this time, at correlation %s (time does not depend on the values):\n\n",
      plain_number(kTimedCorrelation).c_str());
  speeds.print(stdout);
  print_how_timed(all);
}

}  // namespace

std::vector<SweepPoint> run_sweep(const SyntheticSettings& settings, std::span<const Run> runs,
                                  const Settings& how, std::size_t rounds) {
  std::vector<SweepPoint> points;
  engine::Progress progress("workload", std::size(kSpreads) * std::size(kCorrelations));
  for (const double spread : kSpreads) {
    for (const double correlation : kCorrelations) {
      SyntheticSettings here = settings;
      here.workload.spread = spread;
      here.workload.corr = correlation;
      Problem problem = make_synthetic_problem(here);
      const auto accuracies = measure_accuracy(problem, runs, how, {});
      const auto speeds =
          measure_speed(problem, runs, how, correlation == kTimedCorrelation ? rounds : 0, {});
      SweepPoint point{spread, correlation, {}, {}};
      for (std::size_t r = 0; r < runs.size(); ++r)
        point.results.push_back({runs[r], accuracies[r], speeds[r]});
      problem.heads.clear();
      point.problem = std::move(problem);
      points.push_back(std::move(point));
      progress.at(points.size());
    }
  }
  return points;
}

void print_sweep(std::span<const SweepPoint> points, std::span<const double> shares) {
  std::printf("%s\n\n", kVerdictTitle);
  table::Table winners(head_of({"spread", "corr"}, shares));
  for (const SweepPoint& point : points) {
    std::vector<std::string> row = {plain_number(point.spread), plain_number(point.correlation)};
    for (const double share : shares) row.push_back(verdict(point.results, share));
    winners.add(row);
  }
  winners.print(stdout);

  std::printf(
      "\nMedian over heads of the relative l2 error, all methods (bold: the smallest of its column and "
      "workload):\n\n");
  table::Table errors(head_of({"spread", "corr", "method"}, shares));
  for (const SweepPoint& point : points) {
    std::map<const Method*, std::vector<std::string>> rows;
    for (std::size_t s = 0; s < shares.size(); ++s) {
      const Result* drawn = best_at(point.results, shares[s], true);
      const Result* kept = best_at(point.results, shares[s], false);
      for (const Result& result : point.results) {
        if (result.run.share != shares[s]) continue;
        auto& row = rows[result.run.method];
        row.resize(3 + shares.size(), "-");
        if (!result.accuracy) continue;
        const double error = result.accuracy->median_error();
        const bool is_best = (!drawn || error <= drawn->accuracy->median_error()) &&
                             (!kept || error <= kept->accuracy->median_error());
        row[3 + s] = is_best ? "**" + short_number(error) + "**" : short_number(error);
      }
    }
    const Method* last = nullptr;
    for (const Result& result : point.results) {
      if (result.run.method == last || !rows.contains(result.run.method)) continue;
      last = result.run.method;
      auto& row = rows[last];
      row[0] = plain_number(point.spread);
      row[1] = plain_number(point.correlation);
      row[2] = "`" + last->spec() + "`";
      errors.add(row);
    }
  }
  errors.print(stdout);
  print_speeds(points, shares);
}

void plot_sweep(const std::filesystem::path& path, std::span<const SweepPoint> points,
                const std::string& title) {
  plot::Figure figure{.title = title,
                      .columns = std::size(kCorrelations),
                      .panel_width = 430,
                      .panel_height = 340,
                      .panels = {}};
  for (const SweepPoint& point : points) {
    plot::Panel panel{.title = "spread " + plain_number(point.spread) + ", correlation " +
                               plain_number(point.correlation),
                      .x_title = "positions attended to, share of n",
                      .y_title = "relative l2 error, median",
                      .settings =
                          "set logscale xy\nset yrange [0.00001:3]\nset xrange [0.013:0.6]\n"
                          // Labels are formats, so a percent sign is written twice.
                          "set xtics ('2 %%' 0.02, '5 %%' 0.05, '10 %%' 0.1, '20 %%' 0.2, '50 %%' 0.5)",
                      .lines = {}};
    const Method* last = nullptr;
    for (const Result& result : point.results) {
      if (!result.accuracy || !result.run.share) continue;
      if (result.run.method != last) panel.lines.push_back({result.run.method->spec(), {}});
      last = result.run.method;
      panel.lines.back().points.push_back(
          {result.accuracy->values_read, result.accuracy->median_error()});
    }
    figure.panels.push_back(std::move(panel));
  }
  plot::draw(path, figure);
}

}  // namespace compare
