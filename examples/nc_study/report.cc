// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <optional>
#include <sstream>

#include "compare/figure.h"
#include "compare/table.h"
#include "generate/whole_file.h"
#include "stats.h"

namespace nc {
namespace {

using table::plain_number;
using table::short_number;

std::string text_of(const std::vector<double>& samples) {
  return samples.empty() ? "-" : nc::text_of(estimate(samples));
}

/// Measured exponent of error ~ n^slope, one sample a draw; empty when fewer than two lengths were
/// measured.
std::optional<Estimate> slope(const Plan& plan, const Curve& curve, Metric metric) {
  std::vector<double> lengths;
  std::size_t draws = 0;
  for (std::size_t at = 0; at < plan.lengths.size(); ++at) {
    if (curve.at[at][metric].empty()) continue;
    lengths.push_back(static_cast<double>(plan.lengths[at]));
    draws = curve.at[at][metric].size();
  }
  if (lengths.size() < 2) return {};
  std::vector<double> slopes;
  for (std::size_t draw = 0; draw < draws; ++draw) {
    std::vector<double> errors;
    for (const Samples& samples : curve.at) {
      if (!samples[metric].empty()) errors.push_back(samples[metric][draw]);
    }
    slopes.push_back(exponent(lengths, errors));
  }
  return estimate(slopes);
}

/// Percent by which a rule's error is above (+) or below (-) that of constant k, draw by draw.
std::vector<double> change(const Curve& rule, const Curve& constant, std::size_t at, Metric metric) {
  std::vector<double> percents;
  for (std::size_t draw = 0; draw < rule.at[at][metric].size(); ++draw) {
    percents.push_back(100 * (rule.at[at][metric][draw] / constant.at[at][metric][draw] - 1));
  }
  return percents;
}

void print_growth(const Plan& plan, const Findings& findings) {
  std::printf("\n### Error against n (full rows, mean ± 1.96 standard errors)\n\n");
  std::vector<std::string> head = {"metric", "keys kept"};
  for (const std::size_t n : plan.lengths) head.push_back("n = " + std::to_string(n));
  head.push_back("error ~ n^");
  table::Table out(head);
  for (std::size_t metric = 0; metric < kMetrics; ++metric) {
    for (const Curve& curve : findings.growth) {
      std::vector<std::string> row = {kMetricNames[metric], curve.rule.name};
      for (const Samples& samples : curve.at) row.push_back(text_of(samples[metric]));
      const auto exponent = slope(plan, curve, static_cast<Metric>(metric));
      row.push_back(exponent ? nc::text_of(*exponent) : "-");
      out.add(row);
    }
  }
  out.print(stdout);
}

void print_equal_cost(const Plan& plan, const Findings& findings, std::size_t at) {
  std::printf(
      "\n### alpha m^C against constant k = %zu at equal cost, causal pass of n = %zu rows\n\n"
      "Change of the error, percent, paired by draw (negative: the dynamic rule is better).\n\n",
      plan.k, plan.lengths[at]);
  std::vector<std::string> head = {"rule", "keys a row"};
  for (const char* name : kMetricNames) head.push_back(name);
  table::Table out(head);
  for (const Curve& curve : findings.equal_cost) {
    std::vector<std::string> row = {curve.rule.name, short_number(curve.keys[at])};
    for (std::size_t metric = 0; metric < kMetrics; ++metric) {
      row.push_back(!curve.rule.is_dynamic ? text_of(curve.at[at][metric])
                                           : text_of(change(curve, findings.equal_cost[0], at,
                                                            static_cast<Metric>(metric))));
    }
    out.add(row);
  }
  out.print(stdout);
}

std::string threshold_text(double epsilon) { return epsilon == 0 ? "1/n" : plain_number(epsilon); }

void print_effective(const Plan& plan, const Findings& findings) {
  std::printf(
      "\n### |S_eps| / n: share of a row's weights that are at most eps (and how many are above)\n\n");
  std::vector<std::string> head = {"R", "eps"};
  for (const std::size_t n : plan.effective_lengths) head.push_back("n = " + std::to_string(n));
  table::Table out(head);
  for (const auto& line : findings.effective) {
    std::vector<std::string> row = {plain_number(line.r), threshold_text(line.epsilon)};
    for (std::size_t at = 0; at < line.samples.size(); ++at) {
      const Estimate e = estimate(line.samples[at]);
      char text[64];
      std::snprintf(
          text, sizeof(text), "%.4f ± %.4f (%s)", e.mean, e.half_width,
          short_number((1 - e.mean) * static_cast<double>(plan.effective_lengths[at])).c_str());
      row.push_back(text);
    }
    out.add(row);
  }
  out.print(stdout);
}

/// What a measured exponent says about a claim that the error falls at least as n^-c.
std::string falls(const std::optional<Estimate>& e, double c) {
  if (!e) return "not measured";
  const std::string text = nc::text_of(*e) + ": ";
  if (e->mean - e->half_width > 0) return text + "no, grows";
  if (e->mean + e->half_width >= 0) return text + "no, flat";
  return text + (e->mean - e->half_width <= -c ? "yes" : "no, falls slower");
}

/// The same for a claim that it does not fall.
std::string stays(const std::optional<Estimate>& e) {
  if (!e) return "not measured";
  const std::string text = nc::text_of(*e) + ": ";
  return text + (e->mean + e->half_width >= 0 ? "yes" : "no, falls");
}

std::string is_better(const std::vector<double>& percents) {
  if (percents.empty()) return "not measured";
  const Estimate e = estimate(percents);
  const std::string text = nc::text_of(e) + " %: ";
  if (e.mean + e.half_width < 0) return text + "yes";
  return text + (e.mean - e.half_width > 0 ? "no, worse" : "no difference");
}

void print_claims(const Plan& plan, const Findings& findings) {
  std::printf(
      "\n### What holds\n\n"
      "Exponents of error ~ n^x over the lengths above; changes are those of the longest length\n"
      "measured.\n\n");
  std::vector<std::string> head = {"claim (arXiv 2404.02690, as our sources word it)"};
  for (const char* name : kMetricNames) head.push_back(name);
  table::Table out(head);
  const auto add = [&](const std::string& claim, const auto& verdict) {
    std::vector<std::string> row = {claim};
    for (std::size_t metric = 0; metric < kMetrics; ++metric)
      row.push_back(verdict(static_cast<Metric>(metric)));
    out.add(row);
  };
  for (const Curve& curve : findings.growth) {
    if (curve.rule.growth > 0.01) {
      add("Thm 6.1: k = " + curve.rule.name + ", error O(n^-" + plain_number(curve.rule.growth) + ")",
          [&](Metric m) { return falls(slope(plan, curve, m), curve.rule.growth); });
    } else if (!curve.rule.is_dynamic) {
      add("Thm 6.2: " + curve.rule.name + ", error does not vanish",
          [&](Metric m) { return stays(slope(plan, curve, m)); });
    }
  }
  const Curve& constant = findings.equal_cost[0];
  for (const Curve& curve : findings.equal_cost) {
    if (!curve.rule.is_dynamic) continue;
    add("§7: " + curve.rule.name + ", better than constant k", [&](Metric m) {
      std::size_t at = plan.lengths.size() - 1;
      while (at > 0 && curve.at[at][m].empty()) --at;
      return is_better(change(curve, constant, at, m));
    });
  }
  out.print(stdout);
  std::printf(
      "\nNotes. The spectral metric falls for every rule, a constant k included: (1/n) |E|_2 <=\n"
      "(1/n) |E|_F, which is the row l2 (root mean square) over sqrt n, so its factor 1/n alone\n"
      "makes it vanish. k = ln n is the edge of theorem 6.2 (k = o(log n)), not within it.\n"
      "power_matching_pass aligns alpha m^C before it is rounded up to a whole number of keys;\n"
      "\"same cost\" aligns what is really kept, so the difference between the two is what the\n"
      "rounding buys. Theorem 5.1 (collapse): for a fixed eps at most 1/eps weights of a row can\n"
      "exceed eps, whatever n and R; against eps = 1/n there is no collapse, the share tends to\n"
      "Phi(R/2), so the number above grows as n.\n");
}

}  // namespace

void print_findings(const Plan& plan, const Findings& findings) {
  std::printf(
      "## Top-k attention against n: constant k, ln n, sqrt n, alpha n^C\n\n"
      "Published: Gaussian X, metric (1/n) |D_spar^-1 A_spar - D^-1 A|_2, rules of k. Our choice,\n"
      "since the set-up is not published: logits X W X^T with Gaussian W, d = %zu, |W|_F = R = %s\n"
      "(X has unit variance, so R is also the standard deviation of a row's logits), k = %zu,\n"
      "alpha n^C equal to k at n = %zu, values, lengths. %zu independent draws of X and W with\n"
      "%zu rows each; the spectral norm, by power iteration on all n x n entries, %zu draws up to\n"
      "n = %zu. Sets and outputs are skim's, compared with double precision. Seed %llu.\n",
      plan.d, plain_number(plan.r).c_str(), plan.k, plan.lengths.front(), plan.draws, plan.rows,
      std::min(plan.draws, plan.matrix_draws), plan.longest_matrix,
      static_cast<unsigned long long>(plan.seed));
  print_growth(plan, findings);
  std::printf(
      "\nTotal variation against the theory of Gaussian logits, 1 - Phi(R - Phi^-1(1 - k/n)):\n"
      "within %s.\n",
      short_number(findings.worst_variation_gap).c_str());
  std::size_t longest_matrix_at = plan.lengths.size();
  for (std::size_t at = 0; at < plan.lengths.size(); ++at) {
    if (plan.lengths[at] <= plan.longest_matrix) longest_matrix_at = at;
  }
  if (longest_matrix_at + 1 < plan.lengths.size()) print_equal_cost(plan, findings, longest_matrix_at);
  print_equal_cost(plan, findings, plan.lengths.size() - 1);
  print_effective(plan, findings);
  print_claims(plan, findings);
}

void write_csv(const std::filesystem::path& path, const Plan& plan, const Findings& findings) {
  std::ostringstream out;
  out << "experiment,rule,metric,n,keys,mean,half_width,draws\n" << std::setprecision(8);
  const auto add = [&](const char* experiment, const std::vector<Curve>& curves) {
    for (const Curve& curve : curves) {
      for (std::size_t at = 0; at < plan.lengths.size(); ++at) {
        for (std::size_t metric = 0; metric < kMetrics; ++metric) {
          const auto& samples = curve.at[at][metric];
          if (samples.empty()) continue;
          const Estimate e = estimate(samples);
          out << experiment << ',' << std::quoted(curve.rule.name, '"', '"') << ','
              << std::quoted(kMetricNames[metric], '"', '"') << ',' << plan.lengths[at] << ','
              << curve.keys[at] << ',' << e.mean << ',' << e.half_width << ',' << samples.size()
              << '\n';
        }
      }
    }
  };
  add("growth, full rows", findings.growth);
  add("equal cost, causal rows", findings.equal_cost);
  for (const auto& line : findings.effective) {
    for (std::size_t at = 0; at < line.samples.size(); ++at) {
      const Estimate e = estimate(line.samples[at]);
      out << "ineffective share,R = " << line.r << ",eps = " << threshold_text(line.epsilon) << ','
          << plan.effective_lengths[at] << ",," << e.mean << ',' << e.half_width << ','
          << line.samples[at].size() << '\n';
    }
  }
  engine::write_whole(path, out.str());
}

void plot_findings(const std::filesystem::path& path, const Plan& plan, const Findings& findings) {
  plot::Figure figure{
      .title = "Synthetic: top-k attention on Gaussian X, logits X W X^T, R = " + plain_number(plan.r) +
               ", d = " + std::to_string(plan.d) + "; bars: 95 % confidence",
      .columns = 3,
      .panel_width = 430,
      .panel_height = 360,
      .panels = {}};
  const std::string log_x = "set logscale x 2\nset logscale y";
  for (std::size_t metric = 0; metric < kMetrics; ++metric) {
    plot::Panel panel{.title = std::string(kMetricNames[metric]) + ", full rows",
                      .x_title = "n",
                      .y_title = "error",
                      .settings = metric == kVariation ? "set logscale x 2\nset yrange [0.6:1]" : log_x,
                      .lines = {}};
    for (const Curve& curve : findings.growth) {
      plot::Line line{curve.rule.name, {}};
      for (std::size_t at = 0; at < plan.lengths.size(); ++at) {
        if (curve.at[at][metric].empty()) continue;
        const Estimate e = estimate(curve.at[at][metric]);
        line.points.push_back({static_cast<double>(plan.lengths[at]), e.mean, e.half_width});
      }
      if (!line.points.empty()) panel.lines.push_back(std::move(line));
    }
    if (!panel.lines.empty()) figure.panels.push_back(std::move(panel));
  }
  plot::Panel effective{.title = "weights <= eps; eps 1e-4, dashed 1/n",
                        .x_title = "n",
                        .y_title = "|S_eps| / n",
                        .settings = "set logscale x 4\nset yrange [0:1.05]",
                        .lines = {},
                        .has_own_legend = true};
  for (const auto& findings_line : findings.effective) {
    if (findings_line.epsilon == 1e-3) continue;  // three curves a spread would be too many
    plot::Line line{"R = " + plain_number(findings_line.r), {}, findings_line.epsilon == 0};
    for (std::size_t at = 0; at < findings_line.samples.size(); ++at) {
      const Estimate e = estimate(findings_line.samples[at]);
      line.points.push_back({static_cast<double>(plan.effective_lengths[at]), e.mean, e.half_width});
    }
    effective.lines.push_back(std::move(line));
  }
  figure.panels.push_back(std::move(effective));
  for (const Metric metric : {kRowL2, kVariation, kOutputTokens}) {
    plot::Panel panel{
        .title = std::string(kMetricNames[metric]) + ", same cost",
        .x_title = "n",
        .y_title = "change against constant k, %",
        .settings =
            "set logscale x 2\nset arrow from graph 0,first 0 to graph 1,first 0 nohead lc rgb "
            "'#999999' lw 2",
        .lines = {},
        .has_own_legend = true};
    for (const Curve& curve : findings.equal_cost) {
      if (curve.rule.name.find("same cost") == std::string::npos) continue;
      plot::Line line{curve.rule.name.substr(0, curve.rule.name.find(',')), {}};
      for (std::size_t at = 0; at < plan.lengths.size(); ++at) {
        const Estimate e = estimate(change(curve, findings.equal_cost[0], at, metric));
        line.points.push_back({static_cast<double>(plan.lengths[at]), e.mean, e.half_width});
      }
      panel.lines.push_back(std::move(line));
    }
    figure.panels.push_back(std::move(panel));
  }
  plot::draw(path, figure);
}

}  // namespace nc
