// SPDX-License-Identifier: Apache-2.0
// One decode step of a layer at long context: what does each estimator read, how long does it take beside dense
// attention, and how far is it from it? The data is synthetic (bench/workload.h): a sink, heavy hitters, and channels far
// from zero, as trained models have them.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "bench/workload.h"
#include "compare/figure.h"
#include "compare/table.h"
#include "generate/parallel.h"
#include "generate/whole_file.h"
#include "measure.h"
#include "skim/estimator/text.h"

namespace {

using decode_step::Result;

std::string error_text(const Result& result) {
  if (result.error == 0) return "0";
  const std::string mean = table::short_number(result.error, 2);
  return result.spread > 0 ? mean + " ± " + table::short_number(result.spread, 1) : mean;
}

void print(const std::vector<Result>& results, double cache) {
  table::Table table({"estimator", "ms", "times dense", "bytes read", "error"});
  for (const Result& r : results) {
    table.add({'`' + r.text + '`', table::short_number(r.milliseconds),
               table::short_number(r.speed_up, 2), table::short_number(100 * r.bytes / cache, 2) + " %",
               error_text(r)});
  }
  table.print(stdout);
}

std::string csv_of(const std::vector<Result>& results, double cache) {
  std::string csv =
      "estimator,milliseconds,times_dense,share_of_bytes,relative_l2,standard_deviation\n";
  for (const Result& r : results) {
    char numbers[160];
    std::snprintf(numbers, sizeof numbers, ",%.4g,%.4g,%.4g,%.4g,%.4g\n", r.milliseconds, r.speed_up,
                  r.bytes / cache, r.error, r.spread);
    csv += '"' + r.text + '"' + numbers;
  }
  return csv;
}

/// Error against time. Dense is on the floor of the picture: an error of 0 has no logarithm.
void draw_figure(const std::string& path, const std::vector<Result>& results,
                 const std::string& title) {
  double least = 1;
  for (const Result& r : results) {
    if (r.error > 0) least = std::min(least, r.error);
  }
  const double floor = least / 3;
  plot::Panel panel;
  panel.x_title = "times as fast as dense attention";
  panel.y_title = "relative l2 error (lower is better)";
  panel.settings = "set logscale xy\nset xtics (1, 2, 5, 10, 20, 50)\nset yrange [" +
                   std::to_string(floor) + ":2]\n";
  for (const Result& r : results) {
    panel.lines.push_back({r.error == 0 ? r.text + " (error 0: drawn at the lower edge)" : r.text,
                           {{r.speed_up, r.error == 0 ? floor : r.error, r.spread}}});
  }
  plot::Figure figure;
  figure.title = title;
  figure.panels = {panel};
  plot::draw(path, figure);
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app(
      "A decode step of 32 query heads on 8 KV heads of 128 channels in bfloat16: time, bytes and "
      "error.");
  std::size_t n = 131072, threads = engine::machine_threads(), rounds = 9;
  std::string workload = "mixed", csv, figure;
  std::vector<std::string> texts = {"sinks(4)+window(64)+topk(2048)",
                                    "sinks(4)+window(64)+topk(2048,by=sketch4)",
                                    "sinks(4)+window(64)+topk(2048,by=sketch1)",
                                    "sinks(4)+window(64)+priority(2048,by=sketch4)",
                                    "sinks(4)+window(64)+lsh(10,150)",
                                    "sinks(4)+window(2108)"};
  app.add_option("--n", n, "Positions of the cache")->check(CLI::Range(1024, 1 << 22));
  app.add_option("--threads", threads, "Threads")->check(CLI::Range(1, 1024));
  app.add_option("--rounds", rounds, "How often each is timed")->check(CLI::Range(1, 10000));
  app.add_option("--workload", workload, "Synthetic data, as in bench/workload.h");
  app.add_option("--estimator", texts, "Estimators beside dense attention");
  app.add_option("--csv", csv, "Write the table there, with all digits");
  app.add_option("--plot", figure, "Draw error against time there (.svg or .png)");
  CLI11_PARSE(app, argc, argv);
  if (!figure.empty()) plot::require_gnuplot(figure);
  if (!csv.empty()) engine::require_writable(csv);
  for (const std::string& text : texts) skim::parse(text);

  const double cache = decode_step::cache_bytes(n);
  std::printf(
      "A decode step over %zu positions: 32 query heads, 8 KV heads of 128 channels in bfloat16 (%.0f "
      "MB), %zu threads.\n",
      n, cache / 1e6, threads);
  std::fflush(stdout);
  texts.insert(texts.begin(), "dense");
  const auto results =
      decode_step::measure(skim_bench::parse_workload(workload), n, texts, threads, rounds);
  print(results, cache);
  if (!csv.empty()) engine::write_whole(csv, csv_of(results, cache));
  if (!figure.empty())
    draw_figure(figure, results, "A decode step at n = " + std::to_string(n) + ": error against time");
} catch (const std::exception& error) {
  std::fprintf(stderr, "decode_step: %s\n", error.what());
  return 1;
}
