// SPDX-License-Identifier: Apache-2.0
#include "indexed.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "figure.h"
#include "indexed_head.h"
#include "table.h"

namespace compare {
namespace {

using table::plain_number;
using table::short_number;

constexpr double kLimits[] = {0.5, 0.25, 0.125};  // of dense attention's time, and of all bytes

double time_of(const Result& result) { return 1 / result.speed->vs_dense; }
double bytes_of(const Result& result) { return result.accuracy->bytes_read; }

bool is_timed(std::span<const IndexedPoint> points) {
  for (const IndexedPoint& point : points) {
    for (const Result& result : point.results) {
      if (result.speed) return true;
    }
  }
  return false;
}

/// "`topk(B,by=sketch1)` at 2 %: 0.0312", of all results whose cost is within the limit; "-" when there is none.
template <class CostOf>
std::string best_within(const IndexedPoint& point, double limit, const CostOf& cost_of) {
  const Result* best = nullptr;
  for (const Result& result : point.results) {
    if (!result.accuracy || cost_of(result) > limit) continue;
    if (best == nullptr || result.accuracy->median_error() < best->accuracy->median_error()) best = &result;
  }
  if (best == nullptr) return "-";
  return "`" + best->run.method->spec() + "`, " + plain_number(100 * best->run.share.value_or(1)) + " %: " +
         short_number(best->accuracy->median_error(), 2);
}

template <class CostOf>
void print_best(std::span<const IndexedPoint> points, const char* what, const CostOf& cost_of) {
  std::printf("The least error within a limit of %s: method, B, error.\n\n", what);
  std::vector<std::string> head = {"workload"};
  for (const double limit : kLimits) head.push_back("1/" + plain_number(1 / limit));
  table::Table out(head);
  for (const IndexedPoint& point : points) {
    std::vector<std::string> row = {point.title};
    for (const double limit : kLimits) row.push_back(best_within(point, limit, cost_of));
    out.add(row);
  }
  out.print(stdout);
  std::printf("\n");
}

/// "0.0312, 4.5x, 7.1 %"
std::string cell_of(const Result& result) {
  if (!result.accuracy) return "-";
  std::string text = short_number(result.accuracy->median_error(), 2);
  if (result.speed) text += ", " + short_number(result.speed->vs_dense, 2) + "×";
  return text + ", " + short_number(100 * bytes_of(result), 2) + " %";
}

void print_point(const IndexedPoint& point, std::span<const double> shares) {
  std::vector<std::string> head = {"method"};
  for (const double share : shares) head.push_back("B = " + plain_number(100 * share) + " %");
  table::Table out(head);
  for (std::size_t i = 0; i < point.results.size();) {
    const Method* method = point.results[i].run.method;
    std::vector<std::string> row = {"`" + method->spec() + "`"};
    row.resize(head.size(), "-");
    for (; i < point.results.size() && point.results[i].run.method == method; ++i) {
      const auto& share = point.results[i].run.share;
      const auto at = share ? std::find(shares.begin(), shares.end(), *share) - shares.begin() : 0;
      row[1 + static_cast<std::size_t>(at)] = cell_of(point.results[i]);
    }
    out.add(row);
  }
  out.print(stdout);
}

template <class CostOf>
plot::Panel panel_of(const IndexedPoint& point, const char* x_title, const CostOf& cost_of) {
  plot::Panel panel{.title = point.title,
                    .x_title = x_title,
                    .y_title = "relative l2 error, median",
                    .settings = "set logscale xy\nset yrange [0.0001:3]\nset xrange [0.005:2]\n"
                                // Labels are formats, so a percent sign is written twice.
                                "set xtics ('1 %%' 0.01, '2 %%' 0.02, '5 %%' 0.05, '10 %%' 0.1, '20 %%' 0.2, "
                                "'50 %%' 0.5, '100 %%' 1)",
                    .lines = {}};
  const Method* last = nullptr;
  for (const Result& result : point.results) {
    if (!result.accuracy || !result.run.share) continue;
    const std::string& spec = result.run.method->spec();
    if (result.run.method != last) panel.lines.push_back({spec, {}, spec.find("by=") == std::string::npos});
    last = result.run.method;
    panel.lines.back().points.push_back({cost_of(result), result.accuracy->median_error()});
  }
  return panel;
}

}  // namespace

std::vector<Method> indexed_methods() {
  std::vector<Method> methods;
  for (const char* spec :
       {"dense", "topk(B)", "topk(B,by=sketch8,exact)", "topk(B,by=boxes,exact)", "topk(B,by=sketch8,candidates=2B)",
        "topk(B,by=sketch4,candidates=2B)", "topk(B,by=sketch1,candidates=5B)", "topk(B,by=sketch1)",
        "topk(B,by=sketch4)+summaries", "quest(B)", "priority(B)", "priority(B,by=sketch4)", "priority(B,by=sketch1)",
        "uniform(B)", "sinks(4)+window(B)"}) {
    methods.emplace_back(spec);
  }
  return methods;
}

std::vector<skim_bench::Workload> indexed_workloads() {
  std::vector<skim_bench::Workload> workloads;
  for (const char* text : {"spread=0.5,corr=0", "spread=0.5,corr=1", "spread=1.5,corr=0", "spread=1.5,corr=1",
                           "spread=3,corr=0", "spread=3,corr=1", "outliers", "clustered30"}) {
    workloads.push_back(skim_bench::parse_workload(text));
  }
  return workloads;
}

IndexedPoint measure_indexed(const std::string& title, Problem problem, std::span<const Run> runs, const Settings& how,
                             std::size_t rounds, const std::vector<std::size_t>& segments) {
  Settings indexed = how;
  indexed.indexed = true;
  round_to_storage(problem);
  IndexedPoint point{title, {}, {}};
  const auto accuracies = measure_accuracy(problem, runs, indexed, {});
  const auto speeds = measure_speed(problem, runs, indexed, rounds, {});
  for (std::size_t r = 0; r < runs.size(); ++r) point.results.push_back({runs[r], accuracies[r], speeds[r]});
  for (const std::size_t segment : segments) {
    indexed.segment = segment;
    point.recalls.push_back({title + ", segments of " + std::to_string(segment), measure_recall(problem, indexed)});
  }
  return point;
}

void print_indexed(std::span<const IndexedPoint> points, std::span<const double> shares) {
  std::vector<RecallOn> recalls;
  std::vector<Speed> speeds;
  for (const IndexedPoint& point : points) {
    recalls.insert(recalls.end(), point.recalls.begin(), point.recalls.end());
    for (const Result& result : point.results) {
      if (result.speed) speeds.push_back(*result.speed);
    }
  }
  if (!recalls.empty()) {
    std::printf(
        "Recall of the true top-k: \"1 %% in 5 %%\" is the share of the 1 %% of positions with the largest logits\n"
        "that is among the 5 %% an index ranks first; mean over queries (worst KV head).\n\n");
    print_recall(recalls);
    std::printf("\n");
  }
  if (!speeds.empty()) print_best(points, "time, a share of dense attention's", time_of);
  print_best(points, "bytes read, a share of those of all keys and values", bytes_of);
  for (const IndexedPoint& point : points) {
    std::printf("%s: error (relative l2, median head),%s bytes read (a share of all keys and values).\n\n",
                point.title.c_str(), speeds.empty() ? "" : " speed (dense time over this time),");
    print_point(point, shares);
    std::printf("\n");
  }
  print_how_timed(speeds);
}

void plot_indexed(const std::filesystem::path& path, std::span<const IndexedPoint> points, const std::string& title) {
  const bool timed = is_timed(points);
  plot::Figure figure{
      .title = title, .columns = timed ? 4u : 1u, .panel_width = timed ? 430 : 860, .panel_height = 360, .panels = {}};
  for (const IndexedPoint& point : points) {
    if (timed) figure.panels.push_back(panel_of(point, "time, a share of dense attention's", time_of));
    figure.panels.push_back(panel_of(point, "bytes read, a share of all keys and values", bytes_of));
  }
  plot::draw(path, figure);
}

}  // namespace compare
