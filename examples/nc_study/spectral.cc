// SPDX-License-Identifier: Apache-2.0
#include "spectral.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <stdexcept>

#include <skim/skim.h>

namespace nc {
namespace {

constexpr std::size_t kWidth = 16;        // one vector a rule, side by side
using Block = std::array<float, kWidth>;  // coordinate i of each of them
using Blocks = std::vector<Block>;

void add_multiple(Block& to, float factor, const Block& x) {
  for (std::size_t c = 0; c < kWidth; ++c) to[c] += factor * x[c];
}

/// The attention matrix by rows: row i has as many entries as it sees.
class Matrix {
 public:
  Matrix(const Layer& layer, bool is_causal) {
    const auto kv = layer.kv(Values::kTokens);
    skim::Workspace ws;
    for (std::size_t i = 0; i < layer.size(); ++i) {
      const float* s = skim::logits(layer.query(i, is_causal).resolved(kv.size()), kv, ws).data;
      std::vector<float> row(s, s + (is_causal ? i + 1 : layer.size()));
      const float largest = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (float& x : row) sum += x = std::exp(x - largest);
      for (float& x : row) x = static_cast<float>(x / sum);
      rows_.push_back(std::move(row));
    }
  }

  const std::vector<float>& row(std::size_t i) const { return rows_[i]; }

  /// out -= P v
  void subtract(const Blocks& v, Blocks& out) const {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      Block sum{};
      for (std::size_t j = 0; j < rows_[i].size(); ++j) add_multiple(sum, rows_[i][j], v[j]);
      add_multiple(out[i], -1, sum);
    }
  }

  /// out -= P^T u
  void subtract_transposed(const Blocks& u, Blocks& out) const {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      for (std::size_t j = 0; j < rows_[i].size(); ++j) add_multiple(out[j], -rows_[i][j], u[i]);
    }
  }

 private:
  std::vector<std::vector<float>> rows_;
};

/// The same matrix with only the entries a rule keeps, each row made to add up to 1.
class KeptMatrix {
 public:
  KeptMatrix(const Layer& layer, const Matrix& p, const Rule& rule, bool is_causal) {
    const auto kv = layer.kv(Values::kTokens);
    for (std::size_t i = 0; i < layer.size(); ++i) {
      const std::size_t k = rule.keys(static_cast<skim::Position>(p.row(i).size()));
      const skim::Selection kept = skim::select(skim::TopK{k}, layer.query(i, is_causal), kv);
      const std::size_t begin = entries_.size();
      double mass = 0;
      const auto add = [&](skim::Position at) {
        const auto column = static_cast<std::size_t>(at);
        entries_.push_back({column, p.row(i)[column]});
        mass += p.row(i)[column];
      };
      for (const skim::Span span : kept.spans()) {
        for (skim::Position at = span.first; at < span.last; ++at) add(at);
      }
      for (const skim::Pick& pick : kept.picks()) add(pick.position);
      for (std::size_t e = begin; e < entries_.size(); ++e) {
        entries_[e].weight = static_cast<float>(entries_[e].weight / mass);
      }
      ends_.push_back(entries_.size());
    }
  }

  /// out += P^ v, in vector `c` of the blocks
  void add(const Blocks& v, Blocks& out, std::size_t c) const {
    for_each([&](std::size_t row, const Entry& e) { out[row][c] += e.weight * v[e.column][c]; });
  }

  /// out += P^^T u, in vector `c` of the blocks
  void add_transposed(const Blocks& u, Blocks& out, std::size_t c) const {
    for_each([&](std::size_t row, const Entry& e) { out[e.column][c] += e.weight * u[row][c]; });
  }

 private:
  struct Entry {
    std::size_t column = 0;
    float weight = 0;
  };

  template <class Visit>
  void for_each(const Visit& visit) const {
    std::size_t e = 0;
    for (std::size_t row = 0; row < ends_.size(); ++row) {
      for (; e < ends_[row]; ++e) visit(row, entries_[e]);
    }
  }

  std::vector<Entry> entries_;
  std::vector<std::size_t> ends_;  // [n]
};

/// Makes every vector one of length 1 and returns the lengths they had.
std::array<double, kWidth> normalize(Blocks& v) {
  std::array<double, kWidth> lengths{};
  for (const Block& b : v) {
    for (std::size_t c = 0; c < kWidth; ++c) lengths[c] += static_cast<double>(b[c]) * b[c];
  }
  for (double& x : lengths) x = std::sqrt(x);
  for (Block& b : v) {
    for (std::size_t c = 0; c < kWidth; ++c) {
      if (lengths[c] > 0) b[c] = static_cast<float>(b[c] / lengths[c]);
    }
  }
  return lengths;
}

}  // namespace

std::vector<double> spectral_errors(const Layer& layer, std::span<const Rule> rules, bool is_causal) {
  constexpr int kSteps = 200;
  constexpr double kTolerance = 1e-4;
  if (rules.size() > kWidth) throw std::logic_error("spectral_errors: too many rules");
  const Matrix p(layer, is_causal);
  std::vector<KeptMatrix> kept;
  for (const Rule& rule : rules) kept.emplace_back(layer, p, rule, is_causal);

  // All rules at once: the dense matrix, which is large, is read for all of them together.
  Blocks v(layer.size());
  std::mt19937_64 random(1);
  for (Block& b : v) b.fill(static_cast<float>(random() >> 40) - 0x1p23f);
  normalize(v);

  std::vector<double> largest(rules.size(), 0);
  for (int step = 0; step < kSteps; ++step) {
    Blocks u(layer.size(), Block{}), next(layer.size(), Block{});
    p.subtract(v, u);
    for (std::size_t r = 0; r < kept.size(); ++r) kept[r].add(v, u, r);
    p.subtract_transposed(u, next);
    for (std::size_t r = 0; r < kept.size(); ++r) kept[r].add_transposed(u, next, r);
    const auto lengths = normalize(next);  // of E^T E v for a v of length 1
    v = std::move(next);
    bool is_settled = true;
    for (std::size_t r = 0; r < rules.size(); ++r) {
      const double before = largest[r];
      largest[r] = std::sqrt(lengths[r]);
      is_settled = is_settled && std::abs(largest[r] - before) <= kTolerance * largest[r];
    }
    if (is_settled) break;
  }
  for (double& x : largest) x /= static_cast<double>(layer.size());
  return largest;
}

}  // namespace nc
