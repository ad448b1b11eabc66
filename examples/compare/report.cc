// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <sstream>

#include "figure.h"
#include "table.h"

namespace compare {
namespace {

using table::short_number;

std::string percent(double share) { return short_number(100 * share) + " %"; }

/// ", the last-level cache holds N MB"; nothing where the system does not say.
std::string last_level_cache() {
#ifdef _SC_LEVEL3_CACHE_SIZE
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (bytes > 0)
    return ", the last-level cache holds " + short_number(1e-6 * static_cast<double>(bytes)) + " MB";
#endif
  return "";
}

/// Results of one method, in the order of its shares.
std::vector<std::vector<const Result*>> by_method(std::span<const Result> results) {
  std::vector<std::vector<const Result*>> groups;
  for (const Result& result : results) {
    if (!result.accuracy) continue;
    if (groups.empty() || groups.back()[0]->run.method != result.run.method) groups.emplace_back();
    groups.back().push_back(&result);
  }
  return groups;
}

/// One line a method, x_of(result) across and the median error up.
template <class XOf>
plot::Panel panel_of(std::span<const Result> results, const std::string& x_title, const XOf& x_of) {
  plot::Panel panel{.title = {},
                    .x_title = x_title,
                    .y_title = "relative l2 error, median over heads",
                    .settings = "set logscale xy",
                    .lines = {}};
  for (const auto& group : by_method(results)) {
    const bool reads_all = group[0]->accuracy->keys_read > 0.999;
    plot::Line line{
        group[0]->run.method->spec() + (reads_all ? "" : " (reads only these keys)"), {}, !reads_all};
    for (const Result* result : group) {
      // A log axis has no place for an exact answer.
      line.points.push_back({x_of(*result), std::max(result->accuracy->median_error(), 1e-8)});
    }
    panel.lines.push_back(std::move(line));
  }
  return panel;
}

}  // namespace

void print_results(std::span<const Result> results) {
  const bool is_timed =
      std::any_of(results.begin(), results.end(), [](const Result& r) { return r.speed.has_value(); });
  std::vector<std::string> head = {"method",          "share",     "error, median head", "worst head",
                                   "total variation", "keys read", "values read"};
  if (is_timed) head.insert(head.end(), {"µs", "speed vs dense"});
  table::Table out(head);
  for (const Result& result : results) {
    std::vector<std::string> row = {
        "`" + result.run.method->spec() + "`",
        result.run.share ? table::plain_number(100 * *result.run.share) + " %" : "-"};
    if (const auto& a = result.accuracy) {
      for (const double x : {a->median_error(), a->worst_error(), a->variation})
        row.push_back(short_number(x));
      for (const double x : {a->keys_read, a->values_read}) row.push_back(percent(x));
      if (result.speed) {
        row.push_back(short_number(result.speed->microseconds));
        row.push_back(short_number(result.speed->vs_dense));
      }
    }
    row.resize(head.size(), "-");
    out.add(row);
  }
  out.print(stdout);
}

void print_how_timed(std::span<const Speed> speeds) {
  if (speeds.empty()) return;
  double off_cpu = 0;
  for (const Speed& speed : speeds) off_cpu = std::max(off_cpu, speed.off_cpu);
  std::printf(
      "\nTime: of a query position and KV head, one thread, target %s. Method and dense in turn, "
      "median\n"
      "of %zu rounds; speed is dense time over this time, median of the ratios of each round. Nothing\n"
      "empties the caches: dense reads %s MB a round%s. Others ran in at most\n%s of the timed "
      "seconds%s.\n",
      target_name().c_str(), speeds[0].rounds, short_number(speeds[0].megabytes).c_str(),
      last_level_cache().c_str(), percent(off_cpu).c_str(),
      off_cpu > kLoaded ? "; where that is more than a tenth, speed is a ratio of processor times" : "");
}

std::string csv_head() {
  return "problem,method,share,rel_l2_median,rel_l2_worst,total_variation,keys_read,values_read,seeds,microseconds,"
         "vs_dense\n";
}

std::string csv_lines(const std::string& problem, std::span<const Result> results) {
  std::ostringstream out;
  out << std::setprecision(6);
  for (const Result& result : results) {
    if (!result.accuracy) continue;
    const Accuracy& a = *result.accuracy;
    out << std::quoted(problem, '"', '"') << ','
        << std::quoted(result.run.method->spec(), '"', '"') << ',';
    if (result.run.share) out << *result.run.share;
    out << ',' << a.median_error() << ',' << a.worst_error() << ',' << a.variation << ',' << a.keys_read
        << ',' << a.values_read << ',' << a.seeds << ',';
    if (result.speed)
      out << result.speed->microseconds << ',' << result.speed->vs_dense;
    else
      out << ',';
    out << '\n';
  }
  return out.str();
}

void plot_results(const std::filesystem::path& path, const Problem& problem,
                  std::span<const Result> results) {
  const bool is_timed =
      std::any_of(results.begin(), results.end(), [](const Result& r) { return r.speed.has_value(); });
  plot::Figure figure{
      .title = problem.name, .columns = is_timed ? 2u : 1u, .panel_height = 480, .panels = {}};
  figure.panels.push_back(panel_of(results, "positions attended to (values read), share of the visible",
                                   [](const Result& r) { return r.accuracy->values_read; }));
  // Labels are formats, so a percent sign is written twice.
  figure.panels[0].settings +=
      "\nset xtics ('1 %%' 0.01, '2 %%' 0.02, '5 %%' 0.05, '10 %%' 0.1, '20 %%' 0.2, '50 %%' 0.5, '100 "
      "%%' 1)";
  if (is_timed) {
    figure.panels.push_back(panel_of(results, "time, in times of dense attention",
                                     [](const Result& r) { return 1 / r.speed->vs_dense; }));
    figure.panels[1].settings += "\nset arrow from 1,graph 0 to 1,graph 1 nohead lc rgb '#999999' lw 2";
  }
  plot::draw(path, figure);
}

}  // namespace compare
