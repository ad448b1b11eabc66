// SPDX-License-Identifier: Apache-2.0
// What LSH sampling (MagicPIG, arXiv 2410.16179) is worth: where keys lie, how many are retrieved, whether the weights are
// right, and how it compares with top-k and with sampling from the softmax itself.
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "compare/figure.h"
#include "compare/indexed_head.h"
#include "crossing.h"
#include "data.h"
#include "generate/progress.h"
#include "geometry.h"
#include "weights.h"

namespace {

/// The correlation knob swept, then mean and sink as real keys have them.
std::vector<lsh::Curves> sweep(const lsh::DataSettings& data, const compare::Settings& how) {
  std::vector<std::pair<std::string, skim_bench::Workload>> subjects;
  for (const double correlation : lsh::kCorrelations) {
    subjects.emplace_back("correlation " + skim_bench::workload_detail::number(correlation),
                          skim_bench::parse_workload("corr=" + skim_bench::workload_detail::number(correlation)));
  }
  subjects.emplace_back("mixed", skim_bench::parse_workload("mixed"));
  engine::Progress progress("keys and values", subjects.size());
  std::vector<lsh::Curves> all;
  for (const auto& [title, workload] : subjects) {
    compare::Problem problem = data.synthetic(workload, 4, 1);
    compare::round_to_storage(problem);
    all.push_back(lsh::measure_curves(title, problem, how));
    progress.at(all.size());
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  lsh::DataSettings data;
  data.model.context = 1024;
  data.model.first = 512;
  data.model.queries = 4;
  std::size_t weight_seeds = 1000, bar_seeds = 200;
  compare::Settings how;
  how.indexed = true;
  how.seeds = 4;
  std::string figure;
  CLI::App app{"LSH sampling: geometry, budgets, weights, error bars, and the comparison with top-k and oracle sampling."};
  app.add_option("--n", data.n, "positions of synthetic heads")->check(CLI::Range(2048, 1 << 20))->capture_default_str();
  app.add_option("--d", data.d, "columns of synthetic heads")->check(CLI::Range(8, 1024))->capture_default_str();
  auto* model = app.add_option("--model", data.model.model, "a model (GGUF), whose heads are looked at too")->check(CLI::ExistingFile);
  app.add_option("--text", data.model.text, "the text it reads")->check(CLI::ExistingFile)->needs(model);
  app.add_option("--context", data.model.context, "tokens of a text: it is joined and cut")->check(CLI::Range(64, 1 << 20))->capture_default_str();
  app.add_option("--seeds", how.seeds, "seeds of an error, of the planes or the draws")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--weight-seeds", weight_seeds, "seeds of the planes that weights are checked by; 0: not at all")
      ->check(CLI::Range(0, 100000))->capture_default_str();
  app.add_option("--bar-seeds", bar_seeds, "seeds of the planes that error bars are judged by; 0: not at all")
      ->check(CLI::Range(0, 100000))->capture_default_str();
  app.add_option("--seed", how.seed, "of everything")->capture_default_str();
  app.add_option("--plot", figure, "draw the comparison: FILE.svg or FILE.png (needs gnuplot)");
  CLI11_PARSE(app, argc, argv);

  try {
    if (data.model.model.empty() != data.model.text.empty()) throw std::runtime_error("--model and --text belong together");
    if (weight_seeds == 1 || bar_seeds == 1) throw std::runtime_error("one seed has no standard error");
    if (!figure.empty()) plot::require_gnuplot(figure);
    data.model.first = data.model.context / 2;
    data.seed = how.seed;
    {
      const std::vector<lsh::Keys> all = lsh::read_data(data);
      std::printf("## Geometry\n\n");
      lsh::print_geometry(all, how.seed);
      std::printf("\n## Budgets\n\n");
      lsh::print_budgets(all, how.seed);
    }
    std::printf("\n## Top-k, sampling, LSH\n\n");
    const std::vector<lsh::Curves> curves = sweep(data, how);
    lsh::print_crossings(curves);
    if (!figure.empty()) {
      lsh::plot_crossings(figure, curves, "Top-k, sampling and LSH: n " + std::to_string(data.n) + ", spread 1.5");
      std::printf("\nwrote %s\n", figure.c_str());
    }
    if (weight_seeds > 0) {
      std::printf("\n## Weights\n\n");
      engine::Progress progress("set of planes", weight_seeds * std::size(lsh::kPublished));
      lsh::print_weights(data, weight_seeds, [&](std::size_t done) { progress.at(done); });
    }
    if (bar_seeds > 0) {
      std::printf("\n## Error bars\n\n");
      engine::Progress progress("set of planes", bar_seeds * std::size(lsh::kPublished));
      lsh::print_error_bars(data, bar_seeds, [&](std::size_t done) { progress.at(done); });
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lsh_study: %s\n", error.what());
    return 1;
  }
}
