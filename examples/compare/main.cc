// SPDX-License-Identifier: Apache-2.0
// Compares methods of attention: error, what is read, time; on synthetic workloads or on the real
// queries, keys and values of a language model.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "evaluate.h"
#include "figure.h"
#include "generate/progress.h"
#include "generate/whole_file.h"
#include "indexed.h"
#include "method.h"
#include "model_problem.h"
#include "report.h"
#include "streams/streams.h"
#include "sweep.h"
#include "synthetic_problem.h"
#include "table.h"
#include "verdict.h"

namespace compare {
namespace {

struct Arguments {
  std::vector<std::string> estimators;
  std::vector<double> percents = {2, 5, 10, 20, 50};
  std::string workload = "spread=1.5,corr=0.3";
  SyntheticSettings synthetic;
  ModelSettings model;
  Settings how;
  std::size_t rounds = 9;
  bool per_head = false;
  bool sweep = false;
  bool indexed = false;
  std::string csv, plot;
};

std::vector<Method> methods_of(const Arguments& arguments) {
  if (arguments.estimators.empty()) return arguments.indexed ? indexed_methods() : default_methods();
  std::vector<Method> methods;
  for (const std::string& spec : arguments.estimators) methods.emplace_back(spec);
  return methods;
}

void print_head(const std::string& what, const Settings& how) {
  std::printf("%s\n", what.c_str());
  std::printf(
      "B = key budget: the share of the visible positions, less fixed sinks and windows. Errors\n"
      "are relative l2 against double precision, of each query head the rms over its queries and,\n"
      "for methods that draw, %zu seeds. The total variation of a method that draws is that of\n"
      "one draw, not of its mean. Keys and values read are shares of the visible rows; a method\n"
      "that scores reads every key. Seed %llu, selection %s, %s.\n\n",
      how.seeds, static_cast<unsigned long long>(how.seed),
      how.grouping == skim::Grouping::kPerHead ? "per head" : "per group", how.indexed ? "bfloat16" : "f32");
  streams::require_written();
}

void compare_once(const Problem& problem, const std::vector<Method>& methods,
                  const std::vector<double>& shares, const Arguments& arguments) {
  print_head(problem.name, arguments.how);
  const std::vector<Run> runs = plan(methods, shares);
  std::vector<Result> results;
  {
    engine::Progress progress("measuring errors, query", problem.asks());
    const auto accuracies =
        measure_accuracy(problem, runs, arguments.how, [&](std::size_t done) { progress.at(done); });
    for (std::size_t r = 0; r < runs.size(); ++r) results.push_back({runs[r], accuracies[r], {}});
  }
  {
    engine::Progress progress("measuring time, method", arguments.rounds > 0 ? runs.size() : 0);
    const auto speeds = measure_speed(problem, runs, arguments.how, arguments.rounds,
                                      [&](std::size_t done) { progress.at(done); });
    for (std::size_t r = 0; r < runs.size(); ++r) results[r].speed = speeds[r];
  }
  print_results(results);
  std::printf("\n%s\n\n", kVerdictTitle);
  table::Table winners({"share", "winner"});
  for (const double share : shares)
    winners.add({table::plain_number(100 * share) + " %", verdict(results, share)});
  winners.print(stdout);
  std::vector<Speed> speeds;
  for (const Result& result : results) {
    if (result.speed) speeds.push_back(*result.speed);
  }
  print_how_timed(speeds);
  if (!arguments.csv.empty()) engine::write_whole(arguments.csv, csv_head() + csv_lines(problem.name, results));
  if (!arguments.plot.empty()) plot_results(arguments.plot, problem, results);
}

void compare_workloads(const std::vector<Method>& methods, const std::vector<double>& shares,
                       const Arguments& arguments) {
  const std::vector<Run> runs = plan(methods, shares);
  const auto points = run_sweep(arguments.synthetic, runs, arguments.how, arguments.rounds);
  const std::string what = "Synthetic workloads: n " + std::to_string(arguments.synthetic.n) + ", d " +
                           std::to_string(arguments.synthetic.d) + ", " +
                           std::to_string(arguments.synthetic.kv_heads) + " independent KV heads";
  print_head(what, arguments.how);
  print_sweep(points, shares);
  if (!arguments.csv.empty()) {
    std::string csv = csv_head();
    for (const SweepPoint& point : points) csv += csv_lines(point.problem.name, point.results);
    engine::write_whole(arguments.csv, csv);
  }
  if (!arguments.plot.empty()) plot_sweep(arguments.plot, points, what);
}

void compare_indexed(const std::vector<Method>& methods, const std::vector<double>& shares,
                     const Arguments& arguments) {
  const std::vector<Run> runs = plan(methods, shares);
  std::vector<IndexedPoint> points;
  std::string what;
  if (!arguments.model.model.empty()) {
    Problem problem = read_model_problem(arguments.model);
    what = problem.name;
    // Heads of a few channels and keys: a time would say nothing.
    points.push_back(measure_indexed("Real heads", std::move(problem), runs, arguments.how, 0,
                                     {arguments.how.segment, 4 * arguments.how.segment}));
  } else {
    const auto workloads = indexed_workloads();
    what = "Synthetic workloads: n " + std::to_string(arguments.synthetic.n) + ", d " +
           std::to_string(arguments.synthetic.d) + ", " + std::to_string(arguments.synthetic.kv_heads) +
           " KV heads x " + std::to_string(arguments.synthetic.group) + ", keys and values in bfloat16";
    engine::Progress progress("workload", workloads.size());
    for (const skim_bench::Workload& workload : workloads) {
      SyntheticSettings here = arguments.synthetic;
      here.workload = workload;
      // Neither spread nor correlation changes which keys are first.
      const bool is_new = points.empty() || !(workload == skim_bench::Workload{.spread = workload.spread,
                                                                              .corr = workload.corr});
      const std::vector<std::size_t> segments(is_new ? 1 : 0, arguments.how.segment);
      points.push_back(measure_indexed(describe(workload), make_synthetic_problem(here), runs, arguments.how,
                                       arguments.rounds, segments));
      progress.at(points.size());
    }
  }
  print_head(what, arguments.how);
  print_indexed(points, shares);
  if (!arguments.csv.empty()) {
    std::string csv = csv_head();
    for (const IndexedPoint& point : points) csv += csv_lines(point.title, point.results);
    engine::write_whole(arguments.csv, csv);
  }
  if (!arguments.plot.empty()) plot_indexed(arguments.plot, points, what);
}

int run(const Arguments& arguments) {
  std::vector<double> shares;
  for (const double percent : arguments.percents) shares.push_back(percent / 100);
  const std::vector<Method> methods = methods_of(arguments);
  for (const Method& method : methods) {
    if (arguments.sweep && !method.has_budget()) {
      throw std::invalid_argument("--sweep compares at equal budgets, but " + method.spec() +
                                  " has no B");
    }
  }
  if (!arguments.plot.empty()) plot::require_gnuplot(arguments.plot);
  if (!arguments.csv.empty()) engine::require_writable(arguments.csv);
  if (arguments.indexed) {
    compare_indexed(methods, shares, arguments);
  } else if (arguments.sweep) {
    compare_workloads(methods, shares, arguments);
  } else if (!arguments.model.model.empty()) {
    compare_once(read_model_problem(arguments.model), methods, shares, arguments);
  } else {
    compare_once(make_synthetic_problem(arguments.synthetic), methods, shares, arguments);
  }
  for (const std::string& path : {arguments.csv, arguments.plot}) {
    if (!path.empty()) std::printf("\nwrote %s\n", path.c_str());
  }
  return 0;
}

}  // namespace
}  // namespace compare

int main(int argc, char** argv) {
  using namespace compare;
  Arguments a;
  CLI::App app{"Compares methods of attention: error, total variation, what is read, time."};

  app.add_option(
         "--estimator", a.estimators,
         "a method in skim's text form, B for the key budget: 'topk(B/2)+priority(B/2)'; repeatable")
      ->take_all()
      ->expected(1);
  auto* share = app.add_option("--share", a.percents, "key budgets, percent of the visible positions")
      ->delimiter(',')
      ->check(CLI::Range(0.001, 100.0))
      ->capture_default_str();
  app.add_option("--seeds", a.how.seeds, "draws of a method that draws")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--seed", a.how.seed, "of the data and of the methods")->capture_default_str();
  app.add_flag("--per-head", a.per_head,
               "every query head selects for itself (default: the group together)");
  app.add_option("--rounds", a.rounds, "of timing; 0: none")
      ->check(CLI::Range(0, 10000))
      ->capture_default_str();
  app.add_option("--csv", a.csv, "also write the table here");
  app.add_option("--plot", a.plot, "draw a figure: FILE.svg or FILE.png (needs gnuplot)");

  const char* kSynthetic = "Synthetic workload";
  auto* workload =
      app.add_option("--workload", a.workload, "knobs, see bench/workload.h: spread=3,corr=1")
          ->group(kSynthetic)
          ->capture_default_str();
  auto* n = app.add_option("--n", a.synthetic.n, "positions")
                ->check(CLI::Range(2, 1 << 22))
                ->group(kSynthetic)
                ->capture_default_str();
  auto* d = app.add_option("--d", a.synthetic.d, "head size")
                ->check(CLI::Range(1, 4096))
                ->group(kSynthetic)
                ->capture_default_str();
  auto* heads = app.add_option("--heads", a.synthetic.kv_heads, "KV heads, independent of each other")
                    ->check(CLI::Range(1, 1024))
                    ->group(kSynthetic)
                    ->capture_default_str();
  auto* group = app.add_option("--group", a.synthetic.group, "query heads that share a KV head")
                    ->check(CLI::Range(1, 64))
                    ->group(kSynthetic)
                    ->capture_default_str();
  auto* sweep =
      app.add_flag("--sweep", a.sweep, "spread 0.5, 1.5, 3 x correlation 0, 0.3, 1: who wins where")
          ->group(kSynthetic);

  auto* indexed = app.add_flag("--indexed", a.indexed,
                               "what indexes buy: error against time and bytes read, and recall, in bfloat16; on a set "
                               "of workloads or, with --model, on real heads");
  indexed->excludes(workload)->excludes(sweep);
  app.add_option("--segment", a.how.segment, "positions that a sketch takes in at a time, a multiple of 64")
      ->needs(indexed)
      ->capture_default_str();

  const char* kModel = "Real queries, keys and values";
  auto* model = app.add_option("--model", a.model.model, "GGUF file, Llama architecture")
                    ->check(CLI::ExistingFile)
                    ->group(kModel);
  auto* text = app.add_option("--text", a.model.text, "what the model reads")
                   ->check(CLI::ExistingFile)
                   ->group(kModel);
  app.add_option("--context", a.model.context, "join the documents and cut them in texts of so many tokens; 0: no")
      ->needs(model)
      ->group(kModel)
      ->capture_default_str();
  app.add_option("--tokens", a.model.tokens,
                 "the most of a text; 0: as many as the model was trained on")
      ->needs(model)
      ->group(kModel)
      ->capture_default_str();
  app.add_option("--first-query", a.model.first, "the first position that asks")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(model)
      ->group(kModel)
      ->capture_default_str();
  app.add_option("--queries", a.model.queries, "positions of a text that ask")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(model)
      ->group(kModel)
      ->capture_default_str();
  model->needs(text);
  text->needs(model);
  for (auto* option : {workload, n, d, heads, group}) model->excludes(option);
  model->excludes(sweep);
  CLI11_PARSE(app, argc, argv);

  try {
    a.synthetic.workload = skim_bench::parse_workload(a.workload);
    a.synthetic.seed = a.how.seed;
    if (a.indexed && share->empty()) a.percents = {0.5, 1, 2, 5, 10, 20};
    a.how.indexed = a.indexed;
    if (a.indexed && n->empty()) a.synthetic.n = 32768;
    if (a.per_head) a.how.grouping = skim::Grouping::kPerHead;
    return run(a);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "compare: %s\n", error.what());
    return 1;
  }
}
