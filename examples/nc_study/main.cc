// SPDX-License-Identifier: Apache-2.0
// What "attention is n^C-sparse" (arXiv 2404.02690) means for a kernel: the error of top-k
// attention against the length n, for k that is constant or grows as ln n, sqrt n or alpha n^C, in
// every sense of "error".
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include <CLI/CLI.hpp>

#include "compare/figure.h"
#include "generate/progress.h"
#include "generate/whole_file.h"
#include "report.h"
#include "study.h"

namespace {

std::vector<std::size_t> powers(std::size_t first, std::size_t last, std::size_t factor) {
  std::vector<std::size_t> lengths;
  for (std::size_t n = first; n <= last; n *= factor) lengths.push_back(n);
  return lengths;
}

}  // namespace

int main(int argc, char** argv) {
  nc::Plan plan;
  std::size_t shortest = 1024, longest = 16384;
  std::string csv, figure;
  CLI::App app{
      "The error of top-k attention against n: constant k, ln n, sqrt n and alpha n^C, in five "
      "metrics."};
  app.add_option("--min-n", shortest, "the shortest length; alpha n^C agrees with k there")
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  app.add_option("--max-n", longest, "the longest length; every doubling between is measured")
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  app.add_option("--max-matrix", plan.longest_matrix,
                 "the longest length of the spectral norm, which needs n x n values")
      ->check(CLI::Range(0, 1 << 15))
      ->capture_default_str();
  app.add_option("--k", plan.k, "the constant k")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--d", plan.d, "head size")->check(CLI::Range(2, 1024))->capture_default_str();
  app.add_option("--spread", plan.r, "R = |W|_F, the standard deviation of a row's logits")
      ->check(CLI::Range(0.01, 20.0))
      ->capture_default_str();
  app.add_option("--draws", plan.draws, "independent draws of X and W")
      ->check(CLI::Range(2, 10000))
      ->capture_default_str();
  app.add_option("--matrix-draws", plan.matrix_draws, "the same for the spectral norm")
      ->check(CLI::Range(2, 10000))
      ->capture_default_str();
  app.add_option("--rows", plan.rows, "rows of a draw")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--seed", plan.seed, "of everything")->capture_default_str();
  app.add_option("--csv", csv, "also write every mean here");
  app.add_option("--plot", figure, "draw a figure: FILE.svg or FILE.png (needs gnuplot)");
  CLI11_PARSE(app, argc, argv);

  try {
    plan.lengths = powers(shortest, longest, 2);
    plan.effective_lengths = powers(shortest, 4 * longest, 4);
    if (plan.lengths.size() < 2) throw std::runtime_error("--max-n must be at least twice --min-n");
    if (!figure.empty()) plot::require_gnuplot(figure);
    if (!csv.empty()) engine::require_writable(csv);
    nc::Findings findings;
    {
      engine::Progress progress("part", nc::parts(plan));
      findings = nc::run_study(plan, [&](std::size_t done) { progress.at(done); });
    }
    nc::print_findings(plan, findings);
    if (!csv.empty()) nc::write_csv(csv, plan, findings);
    if (!figure.empty()) nc::plot_findings(figure, plan, findings);
    for (const std::string& path : {csv, figure}) {
      if (!path.empty()) std::printf("\nwrote %s\n", path.c_str());
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nc_study: %s\n", error.what());
    return 1;
  }
}
