// SPDX-License-Identifier: Apache-2.0
#include "spectral.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <Eigen/Core>
#include <skim/skim.h>

namespace nc {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Index = Eigen::Index;

/// The attention matrix: every row a softmax.
Matrix attention_matrix(const Layer& layer, bool is_causal) {
  const auto n = static_cast<Index>(layer.size()), d = static_cast<Index>(layer.dim());
  const Eigen::Map<const Matrix> x(layer.tokens().data(), n, d), q(layer.queries().data(), n, d);
  Matrix p = q * x.transpose();
  for (Index i = 0; i < n; ++i) {
    const Index visible = is_causal ? i + 1 : n;
    auto row = p.row(i).head(visible);
    row = (row.array() - row.maxCoeff()).exp();
    row /= row.sum();
    p.row(i).tail(n - visible).setZero();
  }
  return p;
}

/// The same matrix with only the entries a rule keeps, each row made to add up to 1.
struct Kept {
  std::vector<std::size_t> begin{0};  // [n + 1]
  std::vector<Index> columns;
  std::vector<float> weights;

  Kept(const Layer& layer, const Matrix& p, const Rule& rule, bool is_causal) {
    const auto kv = layer.kv(Values::kTokens);
    for (std::size_t i = 0; i < layer.size(); ++i) {
      const std::size_t k = rule.keys(static_cast<skim::Position>(is_causal ? i + 1 : layer.size()));
      const skim::Selection kept = skim::select(skim::TopK{k}, layer.query(i, is_causal), kv);
      for (const skim::Span span : kept.spans()) {
        for (skim::Position at = span.first; at < span.last; ++at) columns.push_back(at);
      }
      for (const skim::Pick& pick : kept.picks()) columns.push_back(pick.position);
      double mass = 0;
      for (std::size_t at = begin.back(); at < columns.size(); ++at) mass += p(static_cast<Index>(i), columns[at]);
      for (std::size_t at = begin.back(); at < columns.size(); ++at) {
        weights.push_back(static_cast<float>(p(static_cast<Index>(i), columns[at]) / mass));
      }
      begin.push_back(columns.size());
    }
  }

  /// out += A v
  template <class In, class Out>
  void multiply(const In& v, Out&& out) const {
    for (Index i = 0; i < out.size(); ++i) {
      float sum = 0;
      for (std::size_t at = begin[static_cast<std::size_t>(i)]; at < begin[static_cast<std::size_t>(i) + 1]; ++at) {
        sum += weights[at] * v[columns[at]];
      }
      out[i] += sum;
    }
  }

  /// out += A^T u
  template <class In, class Out>
  void multiply_transposed(const In& u, Out&& out) const {
    for (Index i = 0; i < u.size(); ++i) {
      for (std::size_t at = begin[static_cast<std::size_t>(i)]; at < begin[static_cast<std::size_t>(i) + 1]; ++at) {
        out[columns[at]] += weights[at] * u[i];
      }
    }
  }
};

}  // namespace

std::vector<double> spectral_errors(const Layer& layer, std::span<const Rule> rules, bool is_causal) {
  constexpr int kSteps = 200;
  constexpr double kTolerance = 1e-4;
  const Matrix p = attention_matrix(layer, is_causal);
  std::vector<Kept> kept;
  for (const Rule& rule : rules) kept.emplace_back(layer, p, rule, is_causal);

  // One column a rule: the dense matrix is read once for all of them.
  const auto n = static_cast<Index>(layer.size()), count = static_cast<Index>(rules.size());
  Eigen::MatrixXf v(n, count), u(n, count);
  std::mt19937_64 random(1);
  for (Index i = 0; i < n; ++i) v.row(i).setConstant(static_cast<float>(random() >> 40) - 0x1p23f);
  v.colwise().normalize();

  std::vector<double> largest(rules.size(), 0);
  for (int step = 0; step < kSteps; ++step) {
    u.noalias() = p * -v;
    for (Index r = 0; r < count; ++r) kept[static_cast<std::size_t>(r)].multiply(v.col(r), u.col(r));
    v.noalias() = p.transpose() * -u;
    bool is_settled = true;
    for (Index r = 0; r < count; ++r) {
      const auto at = static_cast<std::size_t>(r);
      kept[at].multiply_transposed(u.col(r), v.col(r));
      const double before = largest[at];
      largest[at] = std::sqrt(static_cast<double>(v.col(r).norm()));  // |E^T E v| for a v of norm 1
      if (v.col(r).norm() > 0) v.col(r).normalize();
      is_settled = is_settled && std::abs(largest[at] - before) <= kTolerance * largest[at];
    }
    if (is_settled) break;
  }
  for (double& x : largest) x /= static_cast<double>(n);
  return largest;
}

}  // namespace nc
