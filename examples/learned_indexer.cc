// SPDX-License-Identifier: Apache-2.0
// Scores from outside: a learned indexer says which positions matter, and attention goes by what it says.
#include <skim/skim.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

constexpr std::size_t kN = 4096, kHeads = 4, kDim = 64, kIndexerDim = 16;

int main() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> q(kHeads * kDim), keys(kN * kDim), values(kN * kDim);
  for (float& x : q) x = 5 * normal(random);
  for (float& x : keys) x = normal(random);
  for (std::size_t i = 0; i < kN * kDim; ++i) values[i] = keys[i] + normal(random);
  for (std::size_t h = 0; h < kHeads; ++h) {  // what the heads look for is mostly in some of the channels
    for (std::size_t c = kIndexerDim; c < kDim; ++c) q[h * kDim + c] *= 0.25f;
  }

  // In place of a trained one: an indexer that sees the first channels of queries and keys.
  const skim::Rows<const float> indexer_q{q.data(), kHeads, kIndexerDim, kDim};
  const skim::Rows<const float> indexer_keys{keys.data(), kN, kIndexerDim, kDim};
  const std::vector<float> weights(kHeads, 1 / std::sqrt(static_cast<float>(kDim)));
  std::vector<float> scores(kN);
  skim::Workspace workspace;
  skim::lightning_scores({indexer_q, weights}, indexer_keys, scores, workspace);

  // One row of scores, for the query at the newest position. All heads of the group share it.
  const skim::ExternalScores external{{scores.data(), 1, kN}, kN - 1};
  const auto kv = skim::with_index(
      skim::ContiguousKv<float>{{keys.data(), kN, kDim}, {values.data(), kN, kDim}}, external);
  skim::Query query;
  query.rows = {q.data(), kHeads, kDim};
  const skim::State exact = skim::attend(skim::Dense{}, query, kv);
  // The indexer has the last word, or names 1024 candidates among which the keys decide.
  for (const char* text : {"topk(256)", "topk(256,by=external)", "topk(256,by=external,candidates=1024)"}) {
    const skim::State out = skim::attend(skim::parse(text), query, kv);
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < kHeads * kDim; ++i) {
      difference += std::pow(out.out()[i] - exact.out()[i], 2);
      size += std::pow(exact.out()[i], 2);
    }
    std::printf("%-40s error %.3f\n", text, std::sqrt(difference / size));
  }
}
