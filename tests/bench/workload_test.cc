// SPDX-License-Identifier: Apache-2.0
// Do the knobs of the synthetic workloads do what they say?
#include "bench/workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "bench/synthetic.h"

namespace skim_bench {
namespace {

SyntheticHead head_of(const std::string& knobs, std::size_t n, std::size_t group = 1,
                      std::uint64_t seed = 1, std::size_t d = 128) {
  SyntheticHead head;
  make_head(parse_workload(knobs), n, d, group, seed, head);
  return head;
}

double dot(const float* a, const float* b, std::size_t d) {
  double sum = 0;
  for (std::size_t c = 0; c < d; ++c) sum += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  return sum;
}

double cosine(const float* a, const float* b, std::size_t d) {
  return dot(a, b, d) / std::sqrt(dot(a, a, d) * dot(b, b, d));
}

std::vector<double> logits(const SyntheticHead& head, std::size_t h) {
  std::vector<double> s(head.n);
  for (std::size_t i = 0; i < head.n; ++i) {
    s[i] = dot(head.query(h), head.key(i), head.d) / std::sqrt(static_cast<double>(head.d));
  }
  return s;
}

std::vector<double> softmax(std::vector<double> s) {
  const double most = *std::max_element(s.begin(), s.end());
  double sum = 0;
  for (double& x : s) sum += x = std::exp(x - most);
  for (double& x : s) x /= sum;
  return s;
}

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

double deviation(const std::vector<double>& x) {
  double squares = 0;
  const double centre = mean(x);
  for (const double v : x) squares += (v - centre) * (v - centre);
  return std::sqrt(squares / static_cast<double>(x.size()));
}

std::vector<float> mean_key(const SyntheticHead& head) {
  std::vector<double> sum(head.d);
  for (std::size_t i = 0; i < head.n; ++i) {
    for (std::size_t c = 0; c < head.d; ++c) sum[c] += static_cast<double>(head.key(i)[c]);
  }
  std::vector<float> row(head.d);
  for (std::size_t c = 0; c < head.d; ++c)
    row[c] = static_cast<float>(sum[c] / static_cast<double>(head.n));
  return row;
}

double mass(const std::vector<double>& weights, const std::vector<std::size_t>& positions) {
  double sum = 0;
  for (const std::size_t i : positions) sum += weights[i];
  return sum;
}

// The mass of the heaviest share of the keys.
double top_mass(std::vector<double> weights, double share) {
  std::sort(weights.rbegin(), weights.rend());
  const auto k = static_cast<std::ptrdiff_t>(share * static_cast<double>(weights.size()));
  return std::accumulate(weights.begin(), weights.begin() + k, 0.0);
}

// Relative l2 error of exact top-k.
double topk_error(const SyntheticHead& head, std::size_t k) {
  const std::vector<double> weights = softmax(logits(head, 0));
  std::vector<double> sorted = weights;
  std::sort(sorted.rbegin(), sorted.rend());
  std::vector<double> all(head.d), kept(head.d);
  double kept_mass = 0;
  for (std::size_t i = 0; i < head.n; ++i) {
    const bool keep = weights[i] >= sorted[k - 1];
    kept_mass += keep ? weights[i] : 0;
    for (std::size_t c = 0; c < head.d; ++c) {
      const double part = weights[i] * static_cast<double>(head.value(i)[c]);
      all[c] += part;
      kept[c] += keep ? part : 0;
    }
  }
  double squares = 0, norm = 0;
  for (std::size_t c = 0; c < head.d; ++c) {
    squares += std::pow(kept[c] / kept_mass - all[c], 2);
    norm += all[c] * all[c];
  }
  return std::sqrt(squares / norm);
}

TEST(WorkloadText, ReadsKnobsAndPresets) {
  const Workload w = parse_workload("spread=3,corr=1");
  EXPECT_EQ(w.spread, 3);
  EXPECT_EQ(w.corr, 1);
  EXPECT_EQ(parse_workload("spread3_corr1"), w);
  EXPECT_EQ(parse_workload(""), Workload{});
  EXPECT_EQ(parse_workload("iid"), Workload{});

  const Workload clustered = parse_workload("clustered05_runs");
  EXPECT_EQ(clustered.clusters, 128);
  EXPECT_EQ(clustered.noise, 0.05);
  EXPECT_EQ(clustered.runs, 1024);
  EXPECT_EQ(parse_workload("clustered05_noise0.3"), parse_workload("clustered30"));
  EXPECT_EQ(parse_workload("corr-0.5").corr, -0.5);
}

TEST(WorkloadText, TextAndNameReadBack) {
  for (const auto& preset : workload_detail::kPresets) {
    const Workload w = parse_workload(preset.name);
    EXPECT_EQ(parse_workload(to_text(w)), w) << preset.name;
    EXPECT_EQ(parse_workload(to_name(w)), w) << preset.name;
    EXPECT_EQ(to_name(w).find_first_of("=,"), std::string::npos);
  }
  EXPECT_EQ(to_text(Workload{}), "iid");
  EXPECT_EQ(to_name(parse_workload("spread=0.5,corr=1")), "spread0.5_corr1");
}

TEST(WorkloadText, NamesWhatItCannotRead) {
  for (const char* wrong :
       {"spred=1", "spread", "spread=", "spread=x", "spread=1x", "spread=1,,corr=1", "Spread=1"}) {
    EXPECT_THROW(parse_workload(wrong), std::invalid_argument) << wrong;
  }
  for (const char* wrong :
       {"spread=-1", "needles=1.5", "sink=0.5", "mean=1,sink=1", "alike=2", "spread=nan"}) {
    EXPECT_THROW(parse_workload(wrong), std::invalid_argument) << wrong;
  }
  EXPECT_THROW(parse_workload("sink_needles_heavy"), std::invalid_argument) << "shares of mass above 1";
  try {
    parse_workload("corr=1,spred=1");
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("'spred=1'"), std::string::npos) << e.what();
  }
}

TEST(Workload, EqualSeedsGiveEqualDataAndOthersDoNot) {
  const SyntheticHead a = head_of("mixed", 600, 3, 7), b = head_of("mixed", 600, 3, 7),
                      c = head_of("mixed", 600, 3, 8);
  EXPECT_EQ(a.keys, b.keys);
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.queries, b.queries);
  EXPECT_NE(a.keys, c.keys);
  EXPECT_NE(a.values, c.values);
  EXPECT_NE(a.queries, c.queries);
}

TEST(Workload, NoiseIsStandardAndIndependent) {
  std::vector<double> pool, products;
  float row[97], next[97];
  for (std::uint64_t r = 0; r < 2000; ++r) {
    gaussian_row(row_key(1, 2, r), 97, row);
    gaussian_row(row_key(1, 2, r + 1), 97, next);
    for (std::size_t c = 0; c < 97; ++c) {
      pool.push_back(row[c]);
      products.push_back(static_cast<double>(row[c]) * static_cast<double>(next[c]));
      if (c > 0) products.push_back(static_cast<double>(row[c]) * static_cast<double>(row[c - 1]));
    }
  }
  const double error = 5 / std::sqrt(static_cast<double>(pool.size()));  // five standard errors
  EXPECT_NEAR(mean(pool), 0, error);
  EXPECT_NEAR(deviation(pool), 1, error);
  EXPECT_NEAR(mean(products), 0, error);
}

TEST(Workload, SpreadIsExact) {
  for (const char* knobs :
       {"spread=0.5", "iid", "spread=3", "clustered30", "clustered05_runs", "outliers", "mean1"}) {
    const Workload w = parse_workload(knobs);
    const SyntheticHead head = head_of(knobs, 4096, 4);
    for (std::size_t h = 0; h < 4; ++h)
      EXPECT_NEAR(deviation(logits(head, h)), w.spread, 1e-4 * w.spread) << knobs;
  }
}

TEST(Workload, OddSizesWork) {
  for (const std::size_t d : {1u, 7u, 46u, 96u}) {
    const SyntheticHead head = head_of("iid", 300, 2, 1, d);
    EXPECT_EQ(head.keys.size(), 300 * d);
    EXPECT_NEAR(deviation(logits(head, 1)), 1.5, 1e-3);
  }
}

TEST(Workload, CorrelationIsWithTheGroupsMeanQuery) {
  for (const std::size_t group : {1u, 4u}) {
    for (const double corr : {0.0, 0.3, 1.0}) {
      const SyntheticHead head = head_of("corr=" + std::to_string(corr), 8192, group);
      std::vector<double> z(head.n);
      for (std::size_t h = 0; h < group; ++h) {
        const std::vector<double> s = logits(head, h);
        for (std::size_t i = 0; i < head.n; ++i) z[i] += s[i];
      }
      const double centre = mean(z), sd = deviation(z);
      double worst = 0;
      for (std::size_t c = 0; c < head.d; ++c) {
        std::vector<double> v(head.n);
        double product = 0;
        for (std::size_t i = 0; i < head.n; ++i) v[i] = static_cast<double>(head.value(i)[c]);
        for (std::size_t i = 0; i < head.n; ++i) product += v[i] * (z[i] - centre) / sd;
        const double slope = std::abs(product / static_cast<double>(head.n));
        worst = std::max(worst, std::abs(slope - corr));
        EXPECT_NEAR(deviation(v), std::sqrt(1 + corr * corr), 0.06);
      }
      EXPECT_LT(worst, 5 / std::sqrt(static_cast<double>(head.n)))
          << "group " << group << ", corr " << corr;
    }
  }
}

TEST(Workload, AlikeIsTheCosineOfQueriesOfAGroup) {
  for (const double alike : {0.0, 0.5, 0.9}) {
    std::vector<double> cosines;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const SyntheticHead head = head_of("alike=" + std::to_string(alike), 64, 4, seed);
      for (std::size_t h = 1; h < 4; ++h)
        cosines.push_back(cosine(head.query(0), head.query(h), head.d));
    }
    EXPECT_NEAR(mean(cosines), alike, 0.05);
  }
}

TEST(Workload, SinkLiesOppositeToTheKeyMeanAndHoldsItsShare) {
  for (const char* knobs : {"sink", "mean=0.5,sink=0.9", "outliers=4,sink=0.2", "mixed"}) {
    const double share = parse_workload(knobs).sink;
    const SyntheticHead head = head_of(knobs, 8192, 4);
    const std::vector<float> average = mean_key(head);
    const double angle = cosine(head.key(0), average.data(), head.d);
    EXPECT_GT(angle, -0.9) << knobs;
    EXPECT_LT(angle, -0.8) << knobs;
    for (std::size_t h = 0; h < 4; ++h) {
      EXPECT_NEAR(softmax(logits(head, h))[0], share, 1e-3) << knobs;
      EXPECT_LT(dot(head.query(h), average.data(), head.d), 0)
          << "queries point away from the key mean";
    }
    EXPECT_LT(dot(head.value(0), head.value(0), head.d),
              0.1 * dot(head.value(1), head.value(1), head.d));
  }
}

TEST(Workload, KeyMeanAndOutlierChannelsAreWhereTheyShouldBe) {
  const SyntheticHead shifted = head_of("mean=1", 4096);
  const std::vector<float> average = mean_key(shifted);
  EXPECT_NEAR(dot(average.data(), average.data(), 128) / 128, 1, 0.05);

  const SyntheticHead outliers = head_of("outliers", 4096);
  const std::vector<float> channels = mean_key(outliers);
  EXPECT_EQ(std::count_if(channels.begin(), channels.end(), [](float x) { return std::abs(x) > 11; }),
            4);
  EXPECT_EQ(std::count_if(channels.begin(), channels.end(), [](float x) { return std::abs(x) < 0.5f; }),
            124);
}

TEST(Workload, NeedlesAndHeavyHittersHoldTheirShares) {
  const SyntheticHead head =
      head_of("needles=3,needlemass=0.4,heavy=50,heavymass=0.3,alike=0.5", 4096, 4);
  ASSERT_EQ(head.needles.size(), 3u);
  ASSERT_EQ(head.heavy.size(), 50u);
  for (std::size_t h = 0; h < 4; ++h) {
    const std::vector<double> weights = softmax(logits(head, h));
    EXPECT_NEAR(mass(weights, head.needles), 0.4, 1e-3);
    EXPECT_NEAR(mass(weights, head.heavy), 0.3, 1e-3);
    EXPECT_NEAR(weights[head.needles[0]] / weights[head.needles[2]], 1, 1e-2);
    EXPECT_NEAR(weights[head.heavy[0]] / weights[head.heavy[9]], 10, 0.1);
  }
  std::vector<double> ordinary;
  const std::vector<double> s = logits(head, 2);
  for (std::size_t i = 0; i < head.n; ++i) {
    const bool special = std::count(head.needles.begin(), head.needles.end(), i) != 0 ||
                         std::count(head.heavy.begin(), head.heavy.end(), i) != 0;
    if (!special) ordinary.push_back(s[i]);
  }
  EXPECT_NEAR(deviation(ordinary), 1.5, 1e-3);
  EXPECT_THROW(head_of("needles=40", 64), std::invalid_argument);
}

TEST(Workload, ClustersAreRunsOrShuffled) {
  for (const char* knobs : {"clustered05_runs", "clustered05", "clustered30"}) {
    const Workload w = parse_workload(knobs);
    const SyntheticHead head = head_of(knobs, 8192);
    // The distance to the next key: noise within a cluster, two centres apart otherwise.
    std::size_t close = 0;
    for (std::size_t i = 1; i < head.n; ++i) {
      double squares = 0;
      for (std::size_t c = 0; c < head.d; ++c)
        squares += std::pow(head.key(i)[c] - head.key(i - 1)[c], 2);
      const double noise = std::sqrt(squares / 128 / 2);
      if (noise < 2 * w.noise) {
        ++close;
        EXPECT_NEAR(noise, w.noise, 0.35 * w.noise);
      } else {
        EXPECT_GT(noise, 0.7);
      }
    }
    if (w.runs > 0) {
      EXPECT_EQ(head.n - 1 - close, 7u) << "8 runs of 1024";
    } else {
      EXPECT_NEAR(static_cast<double>(close), 8192.0 / 128, 45) << knobs;
    }
  }
}

// MagicPIG §3.1: 20 % of the keys hold 70 to 80 % of the mass.
TEST(Workload, MagicPigPresetHasItsLongTail) {
  std::vector<double> shares;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    shares.push_back(top_mass(softmax(logits(head_of("magicpig", 8192, 1, seed), 0)), 0.2));
    EXPECT_GT(shares.back(), 0.7);
    EXPECT_LT(shares.back(), 0.8);
  }
  // Gaussian logits: the top fraction f holds Phi(sigma - Phi^-1(1 - f)) of the mass.
  EXPECT_NEAR(mean(shares), 0.754, 0.01);
}

// Why `corr` is swept (estimators.md §0.2): what top-k drops is a bias only if values depend on scores.
TEST(Workload, CorrelationDecidesHowBadTopKIs) {
  EXPECT_LT(topk_error(head_of("corr=0", 16384), 64), 0.2);
  EXPECT_GT(topk_error(head_of("corr=0.3", 16384), 64), 0.3);
  EXPECT_GT(topk_error(head_of("corr=0.3", 16384), 1024), 0.12);
  EXPECT_LT(topk_error(head_of("corr=0", 16384), 1024), 0.04);
}

}  // namespace
}  // namespace skim_bench
